"""Draws a sweep's curves.png: the objective, and beside it the reward of every step."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rlagent.base.stats import smooth
from rlagent.report.data import Series
from rlagent.report.hidden import points_under, stretches_under
from rlagent.report.picture import BLUE, INK, ORANGE, SOFT, blank, panel, plain, shares, title
from rlagent.report.sweep_data import Group, SweepData

COLOURS = (BLUE, ORANGE, "#23834d", "#7b4bbf")


def draw_sweep(data: SweepData, path: Path) -> None:
    """Write the picture, 1200 x 600 pixels: the best four groups named."""
    figure = blank()
    objective = panel(figure, left=0.075, width=0.41, bottom=0.24, height=0.55)
    reward = panel(figure, left=0.565, width=0.41, bottom=0.24, height=0.55)
    _head(objective, data.sweep.metric)
    _head(reward, "training reward, smoothed")
    if data.percent:
        shares(objective)
    shown = [group for group in data.groups if group.mean]
    for group in shown[len(COLOURS) :]:
        objective.plot(group.mean.steps, group.mean.values, **_PALE)
        reward.plot(group.reward.steps, _smooth(group.reward).values, **_PALE)
    named = shown[: len(COLOURS)]
    for group, colour in zip(named, COLOURS, strict=False):
        _objective(objective, group, colour)
        _reward(reward, group.reward, colour)
    _best_on_top(objective, [group.mean for group in named], joined=3)
    _best_on_top(reward, [_smooth(group.reward) for group in named], joined=2)
    if all(min(group.reward.values, default=0.0) >= 0 for group in shown):
        reward.set_ylim(bottom=0)
    if shown:
        # Below both, where long names have room.
        figure.legend(loc="lower left", ncols=2, frameon=False, fontsize=8.5, labelcolor=INK)
    bands = "; bands: least to most of the seeds" if any(g.band for g in shown) else ""
    about = f"{len(data.trials)} trials{_named(len(shown))}{bands}"
    # What follows is about seconds, and there are none in the picture.
    about += f"; {data.stamp.partition(':')[0]}" if data.stamp else ""
    title(figure, data.sweep.name, about)
    figure.savefig(path, format="png")


def _named(curves: int) -> str:
    """Which curves have a name; '' when all of them have one.

    >>> _named(7), _named(4)
    ('; named: the best 4, grey: the others', '')
    """
    most = len(COLOURS)
    return f"; named: the best {most}, grey: the others" if curves > most else ""


_PALE: dict[str, Any] = {"color": SOFT, "alpha": 0.2, "linewidth": 1}


def _head(axes: Any, name: str) -> None:
    axes.set_title(plain(name), fontsize=9.5, color=INK, loc="left")
    axes.xaxis.get_major_locator().set_params(integer=True, steps=[1, 2, 5, 10])


def _objective(axes: Any, group: Group, colour: str) -> None:
    mean = group.mean
    # A straight line between two far points would look like a measured course.
    joined = len(mean.steps) > 2
    axes.plot(
        mean.steps, mean.values, color=colour, linewidth=2 if joined else 1.2,
        linestyle="-" if joined else ":", marker=None if joined else "o", markersize=5,
        # Matplotlib drops labels that begin with _.
        label=" " + plain(group.words[:60]),
    )  # fmt: skip
    if group.band and joined:
        low, high = zip(*group.band, strict=True)
        axes.fill_between(mean.steps, low, high, color=colour, alpha=0.13, linewidth=0)
    elif group.band:
        low, high = zip(*group.band, strict=True)
        axes.vlines(mean.steps, low, high, color=colour, linewidth=1.3)


def _reward(axes: Any, reward: Series, colour: str) -> None:
    axes.plot(reward.steps, reward.values, color=colour, alpha=0.22, linewidth=1)
    axes.plot(reward.steps, _smooth(reward).values, color=colour, linewidth=1.8)


def _best_on_top(axes: Any, curves: Sequence[Series], joined: int) -> None:
    """Draw the first curve on top, and the others wider where they lie under it.

    Args:
        axes: Where the curves are drawn already.
        curves: The best first.
        joined: Fewest points that have a line between them; fewer are dots.
    """
    under = zip(curves, COLOURS, stretches_under(curves), points_under(curves), strict=False)
    for place, (curve, colour, stretches, points) in enumerate(under):
        order = 3 - 0.1 * place
        for line in axes.lines:
            if line.get_color() == colour:
                line.set_zorder(order)
        for part, count in stretches if len(points) >= joined else []:
            axes.plot(
                curve.steps[part], curve.values[part], color=colour, linewidth=2 + 3 * count,
                zorder=order,
            )  # fmt: skip
        if len(points) < joined:
            sizes = [(5 + 4 * count) ** 2 for count in points]
            axes.scatter(curve.steps, curve.values, s=sizes, color=colour, zorder=order)


def _smooth(reward: Series) -> Series:
    return Series(reward.name, reward.steps, tuple(smooth(reward.values, 0.7)))
