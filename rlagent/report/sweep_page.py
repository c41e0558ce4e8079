"""Writes the page of a sweep: one file, no network; overrides, causes and names are escaped."""

import html
import math
from collections.abc import Sequence
from pathlib import PurePath
from urllib.parse import quote

from rlagent.base.stats import Series
from rlagent.base.words import duration, number, percent
from rlagent.records.objective import ranked
from rlagent.records.sweep_store import FAILED, FINISHED
from rlagent.report import sweep_assets
from rlagent.report.importance import all_parameters
from rlagent.report.page import document
from rlagent.report.parallel import parallel, top_lines
from rlagent.report.svg import Axis, Line, chart, faint, thin
from rlagent.report.sweep_data import BEST_NOTE, Group, SweepData, TrialData, in_order
from rlagent.report.sweep_names import log_keys, short_keys, shortened, sweep_command

COLOURS = 4
"""Groups with a colour and a name; the others are pale behind them."""

BEHIND, BEHIND_POINTS = 120, 60
"""Most pale curves, and points of each: more could not be told apart."""

STATE_STYLE = {FINISHED: "good", FAILED: "bad", "died": "bad"}

escape = html.escape


def sweep_page(data: SweepData) -> str:
    """The whole page."""
    parts = [
        _header(data), _tiles(data), _reproduce(data), _curves(data), _layouts(data),
        _parallel(data), _importance(data), _failures(data), _table(data), _command(data),
    ]  # fmt: skip
    foot = f"Made by rlagent from {escape(str(data.folder.path))}"
    return document(data.sweep.name, parts, foot, sweep_assets.STYLE, sweep_assets.SCRIPT)


def value_text(data: SweepData, value: float | None) -> str:
    """A value of the sweep's metric as people read it."""
    return percent(value) if data.percent else number(value)


def _state(state: str) -> str:
    return f'<span class="state {STATE_STYLE.get(state, "warn")}">{escape(state)}</span>'


def _header(data: SweepData) -> str:
    sweep = data.sweep
    about = " · ".join(
        text for text in (f"{sweep.sweeper}, {sweep.metric}, {sweep.direction}", sweep.machine)
        if text
    )  # fmt: skip
    stamp = f"<p><strong>{escape(data.stamp)}</strong></p>" if data.stamp else ""
    return (
        f"<header><h1>{escape(sweep.name)}{_state(data.state)}</h1>"
        f"<p>{escape(about)}</p>{stamp}</header>"
    )


def _tiles(data: SweepData) -> str:
    counts = ", ".join(f"{count} {state}" for state, count in data.counts)
    shown = [("Trials", str(len(data.trials)), counts, "")]
    best = data.best
    if best is not None:
        objective = value_text(data, best.objective)
        shown.append((f"Best {data.sweep.metric}", objective, f"trial {best.number + 1}", ""))
        keys = short_keys(data.sweep.parameters)
        words = " ".join(shortened(text, keys) for text in best.overrides)
        shown.append(("Best trial", _short(words, 200) or "-", "", "long"))
    spent = data.sweep.updated - data.sweep.started
    if data.sweep.started and spent > 0:
        shown.append(("Time", duration(spent), "from first start to last word", ""))
    cells = "".join(
        f'<div class="tile card"><span>{escape(label)}</span><b class="{kind}">{escape(value)}</b>'
        f"<small>{escape(note)}</small></div>"
        for label, value, note, kind in shown
    )
    return f'<section class="tiles">{cells}</section>'


def _reproduce(data: SweepData) -> str:
    if data.best_command is None:
        return (
            "<h2>The best trial</h2>"
            '<p class="card none">No finished trial has an objective yet.</p>'
        )
    return (
        f"<h2>The best trial's command</h2><p>{escape(BEST_NOTE)}</p>"
        f'<div class="card command"><code>{escape(data.best_command)}</code></div>'
    )


def _curves(data: SweepData) -> str:
    shown = [group for group in data.groups if group.mean]
    if not shown:
        return (
            "<h2>Learning curves</h2>"
            f'<p class="card none">No trial has recorded {escape(data.sweep.metric)}.</p>'
        )
    named, others = shown[:COLOURS], shown[COLOURS:]
    lines = [_line(group, index + 1) for index, group in enumerate(named)]
    # Every so-many-th of them, so that good and bad ones show alike.
    drawn = others[:: math.ceil(len(others) / BEHIND)] if others else []
    behind = [thin(group.mean, BEHIND_POINTS) for group in drawn]
    axis = Axis(percent=True, low=0.0, high=1.0) if data.percent else Axis()
    said = []
    if any(group.band for group in shown):
        said.append("Line: mean over seeds; band: least to most of the seeds.")
    if others:
        part = f"{len(drawn)} of the " if len(drawn) < len(others) else ""
        said.append(f"Named: the best {len(named)}; grey: {part}{len(others)} others.")
    note = f"<p>{escape(' '.join(said))}</p>" if said else ""
    metric = data.sweep.metric
    wide = chart(metric, lines, axis, 1080, 330, behind, best_first=True)
    narrow = chart(metric, lines, axis, 520, 300, behind[::4] or behind, best_first=True)
    rewards = [
        Line(_short(group.words), group.reward, colour=index + 1, smoothed=True)
        for index, group in enumerate(named)
    ]
    name = "Training reward of the named, mean over seeds"
    wide += chart(name, rewards, Axis(low=0.0), 1080, 260, best_first=True)
    narrow += chart(name, rewards, Axis(low=0.0), 520, 260, best_first=True)
    style = f'style="{faint(len(behind))}"'
    return (
        f'<h2>Learning curves</h2>{note}<div class="wide-only hero" {style}>{wide}</div>'
        f'<div class="narrow hero" {style}>{narrow}</div>'
    )


def _line(group: Group, colour: int) -> Line:
    mean, band = thin(group.mean), group.band
    if len(mean.steps) != len(group.mean.steps):
        lows, highs = zip(*band, strict=True) if band else ((), ())
        steps = group.mean.steps
        low, high = (thin(Series("", steps, tuple(bound))).values for bound in (lows, highs))
        band = tuple(zip(low, high, strict=True)) if band else ()
    return Line(_short(group.words), mean, colour=colour, dots=len(mean.steps) <= 30, band=band)


def _short(text: str, longest: int = 70) -> str:
    return text if len(text) <= longest else text[: longest - 1] + "…"


def _layouts(data: SweepData) -> str:
    if not data.layouts:
        return ""
    rows = [
        [
            (str(place), str(place), "n"), (row.layout, row.layout, "o"),
            (str(row.trials), str(row.trials), "n"), _cell(row.gpus), _cell(row.step_s),
            _cell(row.estimate_s), _cell(_ratio(row.step_s, row.estimate_s)),
            _cell(row.tokens_s), _cell(row.tokens_s_gpu),
        ]
        for place, row in enumerate(data.layouts, start=1)
    ]  # fmt: skip
    heads = [
        ("", "n"), ("layout", "o"), ("trials", "n"), ("GPUs", "n"), ("s/step", "n"),
        ("planned s/step", "n"), ("measured/planned", "n"), ("tokens/s", "n"),
        ("tokens/s/GPU", "n"),
    ]  # fmt: skip
    body = "".join(f"<tr>{''.join(_td(*cell) for cell in row)}</tr>" for row in rows)
    said = "Medians over steps and trials, the fastest first."
    stamp = f" <strong>{escape(data.stamp)}</strong>" if data.stamp else ""
    return f"<h2>Layouts</h2><p>{said}{stamp}</p>{_sortable(heads, body)}"


def _ratio(measured: float, estimate: float | None) -> float | None:
    return measured / estimate if estimate else None


def _parallel(data: SweepData) -> str:
    rows = [row for row in ranked(data.sweep) if row.state == FINISHED]
    order = [name for name, _ in data.importance.shares]
    known = all_parameters(data.sweep.trials, data.sweep.parameters)
    names = known if len(known) <= 8 else [*order, *(n for n in known if n not in order)]
    figure = parallel(rows, names, data.sweep.metric, log_keys(data.sweep.argv))
    if not figure:
        return ""
    blue = ", blue: the best tenth" if top_lines(len(rows)) > 1 else ""
    said = f"{len(rows)} finished trials; orange: the best{blue}."
    return f"<h2>Parameters and objective</h2><p>{said}</p>{figure}"


def _importance(data: SweepData) -> str:
    found = data.importance
    if not found.shares:
        return f'<h2>Importance of each parameter</h2><p class="card none">{escape(found.note)}</p>'
    bars = "".join(
        f'<span><code>{escape(name)}</code></span><span><i style="width:{100 * share:.1f}%"></i>'
        f"</span><span>{percent(share, 0)}</span>"
        for name, share in found.shares
    )
    return (
        f"<h2>Importance of each parameter</h2><p>{escape(found.note)}</p>"
        f'<div class="card bars">{bars}</div>'
    )


def _failures(data: SweepData) -> str:
    if not data.failures:
        return ""
    parts = []
    for name, members in data.failures:
        items = "".join(
            f"<li>trial {t.number} (<code>{escape(t.words)}</code>): {escape(t.row.cause)}</li>"
            for t in members
        )
        opened = " open" if len(members) <= 5 else ""
        parts.append(
            f'<details class="card"{opened}><summary>{escape(name)}: {len(members)}</summary>'
            f'<ul class="pad">{items}</ul></details>'
        )
    return f"<h2>Failures by class</h2>{''.join(parts)}"


def _table(data: SweepData) -> str:
    heads = [
        ("trial", "n"), ("overrides", "o"), ("state", ""), (data.sweep.metric, "n"),
        ("steps", "n"), ("s/step", "n"), ("tokens/s", "n"), ("GPUs", "n"), ("failure", ""),
        ("report", ""),
    ]  # fmt: skip
    best = data.best
    rows = [_row(data, trial, best is not None and trial.row is best) for trial in in_order(data)]
    body = "".join(rows)
    falling = data.sweep.metric if data.sweep.direction == "maximize" else ""
    return f"<h2>Trials</h2>{_sortable(heads, body, falling, ' trials')}"


def _row(data: SweepData, trial: TrialData, best: bool) -> str:
    row = trial.row
    note = row.cause if row.state == FAILED else row.waits_for
    note = f"not ranked: {row.unranked}" if row.unranked else note
    note = f"<small>{escape(_short(note, 300))}</small>" if note else ""
    words = escape(trial.words)
    cells = [
        _td(str(trial.number), str(trial.number), "n"),
        f'<td class="o" data-v="{words}">{words}{note}</td>',
        f'<td data-v="{escape(row.state)}">{_state(row.state)}</td>',
        _td(value_text(data, row.objective), _plain(row.objective), "n"),
        _td(str(trial.steps), str(trial.steps), "n"),
        _td(*_cell(trial.step_s)),
        _td(*_cell(trial.tokens_s)),
        _td(*_cell(trial.gpus)),
        _td(row.failure or "", row.failure or "", ""),
        f'<td data-v="{"1" if trial.page else ""}">{_link(trial)}</td>',
    ]
    return f"<tr{' class=best' if best else ''}>{''.join(cells)}</tr>"


def _link(trial: TrialData) -> str:
    if trial.page is None:
        return "-"
    # `./` so that a folder with a colon in its name is not read as a protocol.
    address = quote(PurePath(trial.page).as_posix())
    address = address if address.startswith(".") else f"./{address}"
    return f'<a href="{escape(address)}">{escape(trial.row.trial_id)}</a>'


def _plain(value: float | None) -> str:
    return "" if value is None else repr(float(value))


def _cell(value: float | None) -> tuple[str, str, str]:
    """Text, what it is sorted by, and class of a number's cell."""
    return number(value), _plain(value), "n"


def _td(text: str, by: str, kind: str) -> str:
    return f'<td class="{kind}" data-v="{escape(by)}">{escape(text)}</td>'


def _sortable(
    heads: Sequence[tuple[str, str]], body: str, falling: str = "", kind: str = ""
) -> str:
    """A table whose columns sort by click.

    Args:
        heads: Name and class of each column; one without a name is not sorted by.
        body: Its rows, HTML already.
        falling: The column whose largest value comes first.
        kind: A further class of the table, after a space.
    """
    cells = "".join(
        f'<th class="{kind}"{" data-first=descending" if name and name == falling else ""}>'
        + (f'<button type="button">{escape(name)}</button>' if name else "")
        + "</th>"
        for name, kind in heads
    )
    return (
        f'<div class="card scroll"><table class="sortable{kind}"><thead>'
        f"<tr>{cells}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _command(data: SweepData) -> str:
    return (
        "<h2>The sweep's command</h2><p>Again, it finishes what is unfinished.</p>"
        f'<div class="card command"><code>{escape(sweep_command(data.sweep))}</code></div>'
    )
