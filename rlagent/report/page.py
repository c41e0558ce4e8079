"""Writes report.html: one file, no network, everything from datasets and models escaped.

The page's own script is allowed by its hash alone, so that nothing else can run in it even if an
escape were missing.
"""

import base64
import hashlib
import html
import time
from collections.abc import Sequence
from typing import Any

from rlagent.base.stats import mean
from rlagent.base.words import duration, interval, number, percent
from rlagent.records.folder import DIED
from rlagent.records.summary import how_it_ended, seconds_spent
from rlagent.report.assets import SCRIPT, STYLE
from rlagent.report.conversation import Turn, content_text, conversations_of, split_opening
from rlagent.report.curves import all_charts
from rlagent.report.data import Pair, ReportData

LONGEST = 4000
"""Characters of one message that are shown; conversations can be arbitrarily long."""

STATE_STYLE = {
    "finished": "good",
    "failed": "bad",
    DIED: "bad",
    "interrupted": "warn",
    "stopped": "warn",
}
KIND_WORDS = {
    "learnt": ("good", "learnt"),
    "lost": ("bad", "lost"),
    "kept": ("good", "solved both times"),
    "unsolved": ("warn", "not solved"),
}

escape = html.escape


def page(data: ReportData) -> str:
    """The whole page."""
    parts = [header(data), tiles(data), curves(data), conversations(data), ending(data)]
    parts.append(configuration(data))
    return document(data.title, parts, footer(data))


def document(title: str, parts: Sequence[str], foot: str, style: str = "", script: str = "") -> str:
    """A page of its parts, which are HTML already.

    Args:
        title: Plain text.
        parts: In their order; empty ones are left out.
        foot: HTML of the footer.
        style: More CSS than every page has.
        script: More JavaScript than every page has.
    """
    code = SCRIPT + script
    digest = base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}{style}</style></head>\n"
        f"<body><main>\n{chr(10).join(part for part in parts if part)}\n"
        f"<footer>{foot}</footer>\n</main>\n<script>{code}</script></body></html>\n"
    )


def header(data: ReportData) -> str:
    """Name, state, what was trained on what, and the cause when it did not finish."""
    status = data.status
    state = str(status.get("state", "unknown"))
    style = STATE_STYLE.get(state, "warn")
    about = [
        f"{label} {status[key]}"
        for label, key in (("model", "model"), ("data", "dataset"), ("layout", "layout"))
        if status.get(key)
    ]
    lines = [
        f'<h1>{escape(data.title)}<span class="state {style}">{escape(state)}</span></h1>',
        f"<p>{escape(' · '.join(about))}</p>" if about else "",
    ]
    if status.get("stamp"):
        lines.append(f"<p><strong>{escape(str(status['stamp']))}</strong></p>")
    if status.get("cause") and state != "finished":
        lines.append(f'<p class="cause">{escape(str(status["cause"]))}</p>')
    return f"<header>{''.join(lines)}</header>"


def tiles(data: ReportData) -> str:
    """The headline numbers."""
    shown = []
    arrow = '<span class="arrow">→</span>'
    if data.evaluations:
        first, last = data.evaluations[0], data.evaluations[-1]
        if first.step == last.step:
            shown.append(("Held-out success", percent(first.success), f"at step {first.step}"))
        else:
            shown.append(
                (
                    "Held-out success",
                    f"{100 * first.success:.1f} {arrow} {percent(last.success)}",
                    f"95 % intervals {interval(first.low, first.high)}"
                    f" and {interval(last.low, last.high)}",
                )
            )
        if data.change:
            rise, low, high = (100 * value for value in data.change)
            shown.append(("Change, points", f"{rise:+.1f}", f"95 % [{low:+.1f}, {high:+.1f}]"))
        if first.valid is not None and last.valid is not None:
            tasks = f"of {last.tasks} held-out tasks" if last.tasks else ""
            valid = f"{100 * first.valid:.1f} {arrow} {percent(last.valid)}"
            shown.append(("Valid answers", valid, tasks))
    shown.append(("Steps trained", steps_text(data.status), time_text(data)))
    speed = mean(data.series("tokens/per_second").values)
    if speed is not None:
        shown.append(("Tokens per second", number(round(speed)), "mean over steps"))
    cells = "".join(
        f'<div class="tile card{" wide" if arrow in value and index == 0 else ""}">'
        f"<span>{label}</span><b>{value}</b><small>{note}</small></div>"
        for index, (label, value, note) in enumerate(shown)
    )
    return f'<section class="tiles">{cells}</section>'


def steps_text(status: dict[str, Any]) -> str:
    """Trained steps, and the asked ones where they are known."""
    trained, asked = status.get("steps_trained") or 0, status.get("steps_asked")
    return escape(f"{trained} of {asked}" if asked else str(trained))


def time_text(data: ReportData) -> str:
    """How long the last attempt took."""
    spent = seconds_spent(data.status)
    return f"in {duration(spent)}" if spent else ""


def curves(data: ReportData) -> str:
    """The large curve and the small ones."""
    hero, small = all_charts(data)
    if not any(hero) and not small:
        return '<h2>Curves</h2><p class="card none">No metrics were recorded.</p>'
    wide, narrow = hero
    large = f'<div class="wide-only hero">{wide}</div><div class="narrow hero">{narrow}</div>'
    return f'<h2>Curves</h2>{large if wide else ""}<div class="grid hero">{"".join(small)}</div>'


def conversations(data: ReportData) -> str:
    """The same held-out tasks before and after, side by side."""
    if not data.pairs:
        return ""
    counts = ", ".join(
        f"{count} {KIND_WORDS[kind][1]}" for kind, count in data.pair_counts.items() if count
    )
    total = sum(data.pair_counts.values())
    tasks = "".join(_task(pair, opened=index == 0) for index, pair in enumerate(data.pairs))
    return (
        "<h2>Conversations before and after</h2>"
        f"<p>Of {total} held-out tasks answered both times: {counts}. "
        f"Shown: the first of each kind.</p>{tasks}"
    )


def _task(pair: Pair, opened: bool) -> str:
    style, word = KIND_WORDS[pair.kind]
    said = [conversations_of(side) for side in (pair.before, pair.after)]
    given = next((split_opening(all_of[0][1])[0] for all_of in reversed(said) if all_of), [])
    sides = "".join(
        _side(name, row, own)
        for name, row, own in (
            ("Before", pair.before, said[0]),
            ("After", pair.after, said[1]),
        )
    )
    return (
        f'<details class="task card"{" open" if opened else ""}><summary>'
        f'<span class="badges"><span class="badge {style}">{word}</span></span>'
        f'<span class="question">{escape(_clip(question(pair, given), 300))}</span></summary>'
        f'{_given(pair, given)}<div class="sides">{sides}</div></details>'
    )


def question(pair: Pair, given: Sequence[Turn]) -> str:
    """What to call a task: its question, else the first thing a user says."""
    task = pair.after.get("task") or pair.before.get("task") or {}
    for key in ("question", "problem", "prompt", "instruction"):
        if task.get(key):
            return content_text(task[key])
    for turn in given:
        if turn.role == "user":
            return turn.blocks[0].text
    return f"Task {pair.after.get('group')}"


def _given(pair: Pair, given: Sequence[Turn]) -> str:
    """The expected answer and what the agent was told, folded away."""
    task = pair.after.get("task") or pair.before.get("task") or {}
    expected = task.get("answer", task.get("truth"))
    parts = []
    if expected is not None:
        parts.append(
            f'<div class="turn"><div class="role">expected</div>'
            f'<div class="text">{_clipped(content_text(expected))}</div></div>'
        )
    told = "".join(_turn(turn) for turn in given)
    if told:
        parts.append(f"<details><summary>What the agent was told</summary>{told}</details>")
    return f'<div class="given">{"".join(parts)}</div>' if parts else ""


def _side(name: str, row: dict[str, Any], said: Sequence[tuple[str, list[Turn]]]) -> str:
    reward = row.get("reward")
    style = "good" if row.get("success") else "bad"
    badge = "failed" if row.get("error") else f"reward {number(reward)}"
    body = ""
    for index, (title, turns) in enumerate(said):
        # The first prompt stands above both sides.
        shown = turns if index else split_opening(turns)[1]
        heading = f"<h4>{escape(title)}</h4>" if len(said) > 1 else ""
        body += heading + "".join(_turn(turn) for turn in shown)
    if row.get("error"):
        body += (
            f'<div class="turn"><div class="role">error</div>'
            f'<div class="text">{_clipped(str(row["error"]))}</div></div>'
        )
    return (
        f'<div class="side"><h3>{name}, step {escape(str(row.get("step")))}'
        f'<span class="badge {style}">{escape(badge)}</span></h3>'
        f"{body or '<p>No answer was recorded.</p>'}</div>"
    )


def _turn(turn: Turn) -> str:
    blocks = []
    for block in turn.blocks:
        text = _clipped(block.text)
        if block.kind == "call":
            text = f"<b>{escape(block.name)}</b>({text})" if block.name else text
        blocks.append(f'<div class="{block.kind}">{text}</div>')
    name = next((b.name for b in turn.blocks if b.kind == "result" and b.name), "")
    role = f"{turn.role}: {name}" if name else turn.role
    return f'<div class="turn"><div class="role">{escape(role)}</div>{"".join(blocks)}</div>'


def ending(data: ReportData) -> str:
    """How it ended, the attempts, and versions where they were recorded."""
    status = data.status
    facts = [("Ended", how_it_ended(status))]
    facts += [
        (label, str(status[key]))
        for label, key in (
            ("Experiment", "experiment"),
            ("Trial", "trial_id"),
            ("Exit status", "exit_code"),
            ("Attempts", "attempt"),
        )
        if status.get(key) is not None
    ]
    if isinstance(status.get("started"), (int, float)):
        when = time.strftime("%Y-%m-%d %H:%M:%S %Z", time.localtime(status["started"]))
        facts.append(("Last attempt began", when))
    facts += _versions(status.get("versions"))
    rows = "".join(f"<div><dt>{escape(k)}</dt><dd>{escape(v)}</dd></div>" for k, v in facts)
    return f'<h2>How it ended</h2><dl class="facts card">{rows}</dl>'


def _versions(versions: Any) -> list[tuple[str, str]]:
    if not isinstance(versions, dict) or not versions:
        return []
    found = (f"{name} {version or 'not installed'}" for name, version in versions.items())
    return [("Versions", ", ".join(found))]


def configuration(data: ReportData) -> str:
    """The configuration files, folded."""
    files = [("config.yaml", data.config_yaml), ("trinity.yaml", data.trinity_yaml)]
    folded = "".join(
        f'<details class="card"><summary>{name}</summary><pre>{escape(text)}</pre></details>'
        for name, text in files
        if text
    )
    return f"<h2>Configuration</h2>{folded}" if folded else ""


def footer(data: ReportData) -> str:
    """Where it was made from."""
    return f"Made by rlagent from {escape(str(data.folder.path))}"


def _clip(text: str, longest: int) -> str:
    return text if len(text) <= longest else text[: longest - 1] + "…"


def _clipped(text: str) -> str:
    """Escaped text, its end left out when it is very long."""
    if len(text) <= LONGEST:
        return escape(text)
    return f"{escape(text[:LONGEST])}… ({len(text) - LONGEST:,} more characters)"
