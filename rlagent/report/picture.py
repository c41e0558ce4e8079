"""Draws reward.png: held-out success with its 95 % interval over the training curve.

Figure, axes and title are those of the pictures of a sweep and of an evaluation too.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rlagent.base.stats import Series, smooth
from rlagent.base.words import percent
from rlagent.report.curves import held_out_series
from rlagent.report.data import ReportData

BLUE, ORANGE, INK, SOFT, GRID = "#2463c4", "#c4600f", "#1b1f24", "#59636e", "#e3e7ec"


def draw(data: ReportData, path: Path) -> None:
    """Write the picture, 1200 x 600 pixels; an empty frame when nothing was measured yet."""
    figure = blank()
    axes = panel(figure, left=0.075, width=0.735)
    shares(axes)
    axes.set_yticks([0, 0.2, 0.4, 0.6, 0.8, 1.0])
    axes.xaxis.get_major_locator().set_params(integer=True)
    labels = [*_training(axes, data), *_held_out(axes, data)]
    last = max((row["step"] for row in data.rows), default=1)
    axes.set_xlim(0, max(last, 1))
    _name_curves(axes, labels, last)
    _title(figure, data)
    figure.savefig(path, format="png")


def blank() -> Any:
    """A figure of 1200 x 600 pixels."""
    # Without pyplot: no global state, and no display is looked for.
    from matplotlib.figure import Figure

    return Figure(figsize=(8, 4), dpi=150, facecolor="white")


def panel(
    figure: Any, left: float, width: float, bottom: float = 0.125, height: float = 0.70
) -> Any:
    """Axes over training steps.

    Args:
        figure: What they are drawn on, below its title.
        left: Where the axes begin, as a share of the figure's width.
        width: How wide they are, likewise.
        bottom: Where they begin, as a share of the figure's height.
        height: How high they are, likewise.
    """
    axes = figure.add_axes((left, bottom, width, height))
    axes.grid(axis="y", color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(GRID)
    axes.tick_params(colors=SOFT, labelsize=9, length=0, pad=6)
    axes.set_xlabel("training step", color=SOFT, fontsize=9.5)
    return axes


def shares(axes: Any) -> None:
    """Make the vertical axis one of shares, in percent."""
    axes.set_ylim(0, 1.02)
    axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f} %")


def with_intervals(axes: Any, success: Series, bounds: Sequence[tuple[float, float]]) -> None:
    """Draw success over steps with its intervals, and write the first and the last value beside it.

    Args:
        axes: Of shares.
        success: At least one value.
        bounds: Lower and upper bound of each.
    """
    # A straight line between two far points would look like a measured course.
    joined = len(success.steps) > 2
    lows = [value - low for value, (low, _) in zip(success.values, bounds, strict=True)]
    highs = [high - value for value, (_, high) in zip(success.values, bounds, strict=True)]
    if joined:
        axes.fill_between(
            success.steps, *zip(*bounds, strict=True), color=BLUE, alpha=0.13, linewidth=0
        )
    axes.errorbar(
        success.steps, success.values, yerr=[lows, highs], color=BLUE,
        linewidth=2.2 if joined else 1.2, linestyle="-" if joined else ":",
        marker="o", markersize=5.5, capsize=3, elinewidth=1.3, clip_on=False, zorder=5,
    )  # fmt: skip
    for index in {0, len(success.steps) - 1}:
        low, high = bounds[index]
        # Below the interval, or above it where below there is only the axis.
        under = low > 0.1
        axes.annotate(
            percent(success.values[index], 0),
            (success.steps[index], low if under else high),
            xytext=(8 if index == 0 else -8, -6 if under else 6),
            textcoords="offset points",
            color=BLUE,
            ha="left" if index == 0 else "right",
            va="top" if under else "bottom",
            fontsize=12,
            weight="bold",
        )


def title(figure: Any, name: str, about: str) -> None:
    """Write the name and a line about it above the axes."""
    figure.text(0.02, 0.935, plain(name), fontsize=14, weight="bold", color=INK)
    figure.text(0.02, 0.88, plain(about), fontsize=9.5, color=SOFT)


def plain(text: str) -> str:
    """Text as it stands: matplotlib reads $ as the start of a formula."""
    return text.replace("$", r"\$")


def _training(axes: Any, data: ReportData) -> list[tuple[float, str, str]]:
    """Success of training rollouts: pale as it is, thin when smoothed."""
    success = data.series("rollout/success/mean")
    name = "training success"
    if not success:
        success, name = data.series("rollout/reward/mean"), "training reward"
    if not success:
        return []
    axes.plot(success.steps, success.values, color=SOFT, alpha=0.22, linewidth=1)
    smoothed = smooth(success.values, 0.7)
    axes.plot(success.steps, smoothed, color=SOFT, alpha=0.75, linewidth=1.3)
    return [(smoothed[-1], name, SOFT)]


def _held_out(axes: Any, data: ReportData) -> list[tuple[float, str, str]]:
    success, bounds, valid = held_out_series(data)
    labels = []
    joined = len(success.steps) > 2
    if valid:
        axes.plot(
            valid.steps, valid.values, color=ORANGE, linewidth=1.5 if joined else 0,
            linestyle=(0, (4, 3)), marker="o", markersize=3.5, clip_on=False,
        )  # fmt: skip
        trained = data.series("rollout/valid/mean")
        if trained and not joined:
            axes.plot(
                trained.steps, smooth(trained.values), color=ORANGE, linewidth=1.2, alpha=0.75,
                linestyle=(0, (4, 3)),
            )  # fmt: skip
        labels.append((valid.values[-1], "valid answers", ORANGE))
    if success:
        with_intervals(axes, success, bounds)
        labels.append((success.values[-1], "held-out success", BLUE))
    return labels


def _name_curves(axes: Any, labels: list[tuple[float, str, str]], last: int) -> None:
    """Names at the right ends of the curves, moved apart where they would touch."""
    gap, at = 0.062, -1.0
    for value, name, colour in sorted(labels):
        at = max(value, at + gap)
        axes.annotate(
            name, (1.0, at), xycoords=("axes fraction", "data"), xytext=(10, 0),
            textcoords="offset points", color=colour, fontsize=9.5, va="center",
            annotation_clip=False, weight="bold" if name == "held-out success" else "normal",
        )  # fmt: skip


def _title(figure: Any, data: ReportData) -> None:
    status = data.status
    experiment = str(status.get("experiment") or data.title)
    about = " · ".join(str(status[key]) for key in ("model", "dataset") if status.get(key))
    line = about
    if len(data.evaluations) > 1:
        first, last = data.evaluations[0], data.evaluations[-1]
        line = f"{percent(first.success)} → {percent(last.success)} of {last.tasks} held-out tasks"
        line += f", 95 % intervals   ·   {about}" if about else ", 95 % intervals"
    title(figure, experiment, line)
