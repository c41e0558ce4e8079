"""Rollouts as a terminal shows them: conversations, a line each, or one task over the steps.

Nothing that a task, a model or a tool says acts on the terminal: no markup is read, and control
characters are written out. Which rollouts are shown is left to the command.
"""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from rlagent.base.texts import shown, visible
from rlagent.base.words import counted, number, percent
from rlagent.records.rollouts import Head, Rollout, head_of
from rlagent.report.conversation import Block, conversations_of

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

LONGEST = 2000
"""Characters of one piece of a conversation that are shown, unless all of it is asked for."""

_COLOURS = {
    "system": "dim",
    "user": "cyan",
    "assistant": "green",
    "tool": "magenta",
    "environment": "blue",
    "reward": "yellow",
}


def conversation(row: Rollout, whole: bool = False) -> Iterator["RenderableType"]:
    """What was said in a rollout, below a line that says which it is and one with its result.

    Args:
        row: The rollout.
        whole: Whether long texts are shown whole.
    """
    from rich.padding import Padding
    from rich.text import Text

    head = head_of(row)
    yield Text(f"-- {which(head)}", "bold")
    yield Text(outcome(head), "green" if head.success else "red" if head.error else "yellow")
    own = {k: v for k, v in (row.get("metrics") or {}).items() if k not in ("reward", "success")}
    if own:
        named = "  ".join(f"{shown(name)} {number(value)}" for name, value in own.items())
        yield Text(named, "dim")
    for title, turns in conversations_of(row):
        yield Text(f"\n{shown(title)}", "bold")
        for turn in turns:
            yield Text(shown(turn.title), _COLOURS.get(turn.role, ""))
            for block in turn.blocks:
                yield Padding(Text(_said(block, whole), _style(block)), (0, 0, 0, 2), expand=False)
    yield Text("")


def which(head: Head) -> str:
    """Where a rollout belongs: step, phase, task and number."""
    task = f"task {head.group}" if head.position is None else f"task {head.position}"
    known = f" ({shown(head.hash, 16)[:8]})" if head.hash else ""
    of_set = f" of {shown(head.set)}" if head.set else ""
    phase = "evaluation" if head.phase == "eval" else shown(head.phase)
    return f"step {head.step}, {phase}{of_set}, {task}{known}, rollout {head.run}"


def outcome(head: Head) -> str:
    """What a rollout came to, in one line."""
    if head.error is not None:
        said = f"failed: {shown(head.error)}"
    else:
        said = f"reward {number(head.reward)}, {'success' if head.success else 'no success'}"
    parts = [said, counted(head.turns, "turn"), counted(head.tokens, "token")]
    if head.model_version is not None:
        parts.append(f"weights of step {head.model_version}")
    if head.lag:
        parts.append(f"lag {head.lag}")
    return ", ".join(parts)


def table(heads: Iterable[Head]) -> "Table":
    """A line per rollout."""
    from rich.table import Table
    from rich.text import Text

    found = Table(box=None, header_style="bold", pad_edge=False)
    for name in ("step", "phase", "task", "run", "reward", "turns", "tokens", "lag"):
        found.add_column(name, justify="left" if name == "phase" else "right", no_wrap=True)
    found.add_column("result", no_wrap=True)
    found.add_column("tools, or the task", no_wrap=True, overflow="ellipsis")
    for head in heads:
        result = "failed" if head.error is not None else "success" if head.success else "-"
        about = head.error or ", ".join(head.tools) or head.title
        cells = [
            str(head.step),
            head.phase,
            str(head.group if head.position is None else head.position),
            str(head.run),
            number(head.reward),
            str(head.turns),
            str(head.tokens),
            "-" if head.lag is None else str(head.lag),
            result,
            about,
        ]
        found.add_row(*(Text(shown(cell)) for cell in cells))
    return found


def over_steps(heads: Iterable[Head]) -> Iterator["RenderableType"]:
    """Each task over the steps: a table of what its rollouts came to."""
    from rich.table import Table
    from rich.text import Text

    tasks: dict[tuple[str, str, str], dict[int, list[Head]]] = {}
    for head in heads:
        key = head.phase, head.set, head.hash or str(head.group)
        tasks.setdefault(key, {}).setdefault(head.step, []).append(head)
    for by_step in tasks.values():
        first = next(iter(by_step.values()))[0]
        yield Text(which(first).partition(", ")[2].rpartition(", ")[0], "bold")
        yield Text(first.title)
        found = Table(box=None, header_style="bold", pad_edge=False)
        for name in ("step", "rollouts", "success", "reward", "turns", "tokens", "failed"):
            found.add_column(name, justify="right")
        for step, group in by_step.items():
            rewards = [head.reward for head in group if head.reward is not None]
            found.add_row(
                str(step),
                str(len(group)),
                percent(sum(head.success for head in group) / len(group)),
                number(sum(rewards) / len(rewards) if rewards else None),
                number(sum(head.turns for head in group) / len(group)),
                number(sum(head.tokens for head in group) / len(group)),
                str(sum(head.error is not None for head in group)),
            )
        yield found
        yield Text("")


def _said(block: Block, whole: bool) -> str:
    text = f"{shown(block.name)}({block.text})" if block.kind == "call" else block.text
    if not whole and len(text) > LONGEST:
        text = f"{text[:LONGEST]} ... ({len(text) - LONGEST:,} more characters: --whole)"
    return visible(text)


def _style(block: Block) -> str:
    return {"thought": "dim italic", "call": "bold"}.get(block.kind, "")
