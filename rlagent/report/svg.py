"""Line charts as SVG text, coloured by the page's CSS variables so that light and dark both work.

Pure: numbers in, text out. Pointing at a chart is handled by templates/script.js, from the data
that each chart carries in an attribute.
"""

import html
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from rlagent.base.stats import Series, smooth
from rlagent.report.hidden import points_under, stretches_under

MAX_POINTS = 400
"""More points than this are averaged in groups: a chart has no more pixels to show them."""


@dataclass(frozen=True)
class Line:
    """One curve of a chart; `colour` is a CSS variable's number (1 to 5)."""

    label: str
    series: Series
    colour: int = 1
    # A second, pale copy shows the values as they are while the line is smoothed.
    smoothed: bool = False
    dots: bool = False
    dashed: bool = False
    # Lower and upper bound at each step of the series.
    band: tuple[tuple[float, float], ...] = ()


@dataclass(frozen=True)
class Chart:
    """A drawing with its title and legend, and what pointing at it shows."""

    title: str
    legend: Sequence[Line]
    svg: Markup
    # Width in pixels, and pixel, step and texts of every point.
    points: dict[str, Any]


@dataclass(frozen=True)
class Axis:
    """How values are written and which range is shown at least."""

    percent: bool = False
    low: float | None = None
    high: float | None = None


def nice_ticks(low: float, high: float, count: int = 4) -> list[float]:
    """About `count` round numbers that cover low..high.

    >>> nice_ticks(0, 1)
    [0.0, 0.25, 0.5, 0.75, 1.0]
    >>> nice_ticks(3, 61, 4)
    [0.0, 20.0, 40.0, 60.0, 80.0]
    >>> nice_ticks(0, 2.7e-14)
    [0.0, 1e-14, 2e-14, 3e-14]
    """
    if not high > low:
        high = low + (abs(low) or 1.0)
    rough = (high - low) / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    # As digits of the step: a KL divergence may be as small as a rounding error.
    digits = 12 - math.floor(math.log10(step))
    return [round(index * step, digits) for index in range(first, last + 1)]


def thin(points: Series, most: int = MAX_POINTS) -> Series:
    """At most `most` points, averages of neighbours."""
    size = math.ceil(len(points.steps) / most)
    if size <= 1:
        return points
    steps, values = [], []
    for at in range(0, len(points.steps), size):
        chunk = points.values[at : at + size]
        steps.append(points.steps[min(at + size, len(points.steps)) - 1])
        values.append(sum(chunk) / len(chunk))
    return Series(points.name, tuple(steps), tuple(values))


def faint(lines: int) -> str:
    """Opacity, as a style, of lines that nobody tells apart: few may be seen, many make a cloud.

    >>> faint(4), faint(40), faint(400)
    ('--faint:0.8', '--faint:0.3', '--faint:0.13')
    """
    return f"--faint:{min(0.8, max(0.13, 12 / max(1, lines))):.2g}"


def value_text(value: float, percent: bool) -> str:
    """A value as an axis or a tooltip shows it."""
    if percent:
        return f"{100 * value:.3g}%"
    size = abs(value)
    if size >= 10_000:
        return f"{value / 1000:.4g}k"
    if size and size < 0.001:
        return f"{value:.1e}"
    return f"{value:.4g}"


class Frame:
    """Maps steps and values to pixels."""

    def __init__(
        self, width: int, height: int, steps: tuple[float, float], ticks: Sequence[float]
    ) -> None:
        self.width, self.height = width, height
        self.left, self.right, self.top, self.bottom = 48, 14, 12, 28
        self.steps = steps if steps[1] > steps[0] else (steps[0] - 1, steps[1] + 1)
        self.ticks = ticks

    def x(self, step: float) -> float:
        """Pixels from the left."""
        low, high = self.steps
        return self.left + (step - low) / (high - low) * (self.width - self.left - self.right)

    def y(self, value: float) -> float:
        """Pixels from the top."""
        low, high = self.ticks[0], self.ticks[-1]
        share = (min(max(value, low), high) - low) / (high - low)
        return self.height - self.bottom - share * (self.height - self.top - self.bottom)

    def path(self, steps: Sequence[float], values: Sequence[float]) -> str:
        """A polyline's `d`."""
        pairs = zip(steps, values, strict=True)
        return "M" + "L".join(f"{self.x(s):.1f} {self.y(v):.1f}" for s, v in pairs)


def chart(
    title: str,
    lines: Sequence[Line],
    axis: Axis = Axis(),
    width: int = 520,
    height: int = 230,
    behind: Sequence[Series] = (),
    best_first: bool = False,
) -> Chart | None:
    """A chart of curves over steps; None when there is nothing to draw.

    Args:
        title: Plain text.
        lines: The curves, each named in the legend.
        axis: The axis of the values.
        width: In pixels of the drawing.
        height: The same.
        behind: Curves without a name, pale behind the others.
        best_first: Draw the first on top, and the others wider where they lie under it.
    """
    lines = [line for line in lines if line.series]
    if not lines:
        return None
    pale = [Line("", points) for points in behind if points]
    frame = _frame([*lines, *pale], axis, width, height)
    body = [_grid(frame, axis)]
    body += [
        f'<path class="line behind" d="{frame.path(line.series.steps, line.series.values)}"/>'
        for line in pale
    ]
    body += [_band(line, frame) for line in lines if line.band]
    body += _best_on_top(lines, frame) if best_first else [_curve(line, frame) for line in lines]
    return _figure(title, lines, axis, frame, body)


def stacked(
    title: str, lines: Sequence[Line], axis: Axis = Axis(low=0), width: int = 520, height: int = 230
) -> Chart | None:
    """Areas on top of each other; the lines must share their steps."""
    lines = [line for line in lines if line.series]
    if not lines:
        return None
    steps = lines[0].series.steps
    floors, tops, below = [], [], [0.0] * len(steps)
    for line in lines:
        floors.append(below)
        below = [a + b for a, b in zip(below, line.series.values, strict=True)]
        tops.append(below)
    frame = Frame(width, height, (steps[0], steps[-1]), nice_ticks(0.0, max(below) or 1.0))
    body = [_grid(frame, axis)]
    for line, floor, top in zip(lines, floors, tops, strict=True):
        outline = frame.path([*steps, *reversed(steps)], [*top, *reversed(floor)])
        body.append(f'<path class="area c{line.colour}" d="{outline}Z"/>')
    return _figure(title, lines, axis, frame, body)


def _frame(lines: Sequence[Line], axis: Axis, width: int, height: int) -> Frame:
    values = [value for line in lines for value in line.series.values]
    values += [bound for line in lines for bounds in line.band for bound in bounds]
    low = min(values) if axis.low is None else min(axis.low, *values, axis.low)
    high = max(values) if axis.high is None else max(axis.high, *values, axis.high)
    steps = [step for line in lines for step in line.series.steps]
    return Frame(width, height, (min(steps), max(steps)), nice_ticks(low, high))


def _grid(frame: Frame, axis: Axis) -> str:
    parts = []
    end = frame.width - frame.right
    for tick in frame.ticks:
        y = frame.y(tick)
        text = value_text(tick, axis.percent)
        parts.append(f'<line class="grid" x1="{frame.left}" x2="{end}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(
            f'<text class="tick" x="{frame.left - 7}" y="{y + 3.5:.1f}" '
            f'text-anchor="end">{text}</text>'
        )
    low, high = frame.steps
    for tick in nice_ticks(low, high, 6):
        if low <= tick <= high and tick == int(tick):
            parts.append(
                f'<text class="tick" x="{frame.x(tick):.1f}" y="{frame.height - 9}" '
                f'text-anchor="middle">{int(tick)}</text>'
            )
    return "".join(parts)


def _band(line: Line, frame: Frame) -> str:
    steps = line.series.steps
    lows, highs = zip(*line.band, strict=True)
    # Between two far points a filled band would look like a measured course.
    if len(steps) < 3:
        return ""
    outline = frame.path([*steps, *reversed(steps)], [*highs, *reversed(lows)])
    return f'<path class="band c{line.colour}" d="{outline}Z"/>'


def _best_on_top(lines: Sequence[Line], frame: Frame) -> list[str]:
    curves = [_drawn(line) for line in lines]
    under = zip(lines, curves, stretches_under(curves), points_under(curves), strict=True)
    body = []
    for line, curve, stretches, points in under:
        wider = "".join(
            f'<path class="line c{line.colour}{_dash(line)}" '
            f'style="stroke-width:{2 + 3 * count}" '
            f'd="{frame.path(curve.steps[part], curve.values[part])}"/>'
            for part, count in stretches
        )
        body.append(wider + _curve(line, frame, points))
    return body[::-1]


def _dash(line: Line) -> str:
    return " dashed" if line.dashed or (line.band and len(line.series.steps) < 3) else ""


def _is_smoothed(line: Line) -> bool:
    return line.smoothed and len(thin(line.series).steps) > 4


def _drawn(line: Line) -> Series:
    shown = thin(line.series)
    if _is_smoothed(line):
        return Series(shown.name, shown.steps, tuple(smooth(shown.values)))
    return shown


def _curve(line: Line, frame: Frame, under: Sequence[int] = ()) -> str:
    """A curve and its dots, which are larger where `under` counts others that lie on them."""
    shown = _drawn(line)
    parts = []
    if _is_smoothed(line):
        pale = frame.path(shown.steps, thin(line.series).values)
        parts.append(f'<path class="line pale c{line.colour}" d="{pale}"/>')
    path = frame.path(shown.steps, shown.values)
    parts.append(f'<path class="line c{line.colour}{_dash(line)}" d="{path}"/>')
    if line.dots or len(shown.steps) == 1:
        for index, (step, value) in enumerate(zip(shown.steps, shown.values, strict=True)):
            x, y = frame.x(step), frame.y(value)
            if line.band:
                low, high = line.band[index]
                parts.append(
                    f'<line class="whisker c{line.colour}" x1="{x:.1f}" x2="{x:.1f}" '
                    f'y1="{frame.y(low):.1f}" y2="{frame.y(high):.1f}"/>'
                )
            size = 3.5 + 2.5 * (under[index] if under else 0)
            parts.append(
                f'<circle class="dot c{line.colour}" cx="{x:.1f}" cy="{y:.1f}" r="{size}"/>'
            )
    return "".join(parts)


def _figure(
    title: str, lines: Sequence[Line], axis: Axis, frame: Frame, body: Sequence[str]
) -> Chart:
    cursor = f'<line class="cursor" y1="{frame.top}" y2="{frame.height - frame.bottom}"/>'
    drawing = (
        f'<svg viewBox="0 0 {frame.width} {frame.height}" role="img" '
        f'aria-label="{html.escape(title)}">{"".join(body)}{cursor}</svg>'
    )
    # One curve needs no name beside the chart's, unless it says more.
    named = [line for line in lines if len(lines) > 1 or line.label != title]
    return Chart(title, named, Markup(drawing), _data(lines, axis, frame))


def _data(lines: Sequence[Line], axis: Axis, frame: Frame) -> dict[str, Any]:
    """What the tooltip needs: pixels and texts of every point."""
    points: dict[float, list[str]] = {}
    for line in lines:
        shown = thin(line.series)
        for index, (step, value) in enumerate(zip(shown.steps, shown.values, strict=True)):
            text = f"{line.label}: {value_text(value, axis.percent)}"
            if line.band and shown is line.series:
                low, high = (value_text(bound, axis.percent) for bound in line.band[index])
                text += f" [{low}, {high}]"
            points.setdefault(step, []).append(text)
    items = [[round(frame.x(step), 1), step, texts] for step, texts in sorted(points.items())]
    return {"width": frame.width, "points": items}
