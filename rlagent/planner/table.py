"""Weighed layouts as lines for a person: one table, and the refusals grouped by reason."""

import re
from collections.abc import Sequence

from rlagent.base.words import aligned
from rlagent.planner.candidates import Candidate
from rlagent.planner.constants import TELLS_APART
from rlagent.planner.layout import Layout
from rlagent.planner.time import step_words
from rlagent.planner.workload import Workload

SHOWN = 12
"""Layouts of the table beside the one that is taken."""
_NAMED = 8
"""Refused layouts named per reason."""
_HEAD = (
    "layout",
    "engine takes (needs)",
    "trainer",
    "rollout",
    "agent",
    "train",
    "old lp",
    "ref",
    "sync",
    "step",
)


def table(
    found: Sequence[Candidate],
    taken: Layout,
    gpu_gib: float,
    work: Workload,
    every: bool = False,
) -> list[str]:
    """Return the lines of a table of the layouts that fit, in their order.

    Args:
        found: Weighed layouts, the best first.
        taken: The layout that is taken; marked.
        gpu_gib: Memory of a GPU, GiB.
        work: What they were weighed for.
        every: Whether all are shown, not the first `SHOWN`.
    """
    fitting = [item for item in found if not item.reasons and item.time]
    if not fitting:
        return ["no layout of a known model fits"]
    most = len(fitting) if every else SHOWN
    shown = [item for place, item in enumerate(fitting) if place < most or item.layout == taken]
    lines = [
        f"estimates, per GPU of {gpu_gib:.0f} GiB and per step in seconds; > is taken; "
        "(o): the trainer's state in host memory",
        f"those within {TELLS_APART:.0%} of the fastest are not told apart: what is known to work "
        "comes first",
    ]
    lines += aligned([_HEAD, *(_row(item, taken) for item in shown)])
    if len(shown) < len(fitting):
        lines.append(f"and {len(fitting) - len(shown)} more that fit: --all shows them")
    chosen = next((item for item in fitting if item.layout == taken), None)
    example = chosen or fitting[0]
    assert example.time is not None
    lines += step_words(example.time, example.layout, work)
    if chosen and chosen.trainer:
        lines.append(f"{taken} trainer, GiB: {chosen.trainer.words()}")
    if chosen and chosen.needs:
        lines.append(
            f"{taken} engine, GiB: {chosen.needs.words()}; "
            f"its KV cache holds about {chosen.sequences:.0f} usual sequences"
        )
    return lines


def _row(item: Candidate, taken: Layout) -> tuple[str, ...]:
    time = item.time
    assert time is not None
    mark = "> " if item.layout == taken else "  "
    return (
        mark + str(item.layout) + (" (o)" if item.offload else ""),
        *memory_cells(item),
        f"{time.rollout:.1f}",
        f"{time.agent:.1f}",
        f"{time.train:.1f}",
        f"{time.old_logprobs:.1f}",
        f"{time.reference:.1f}",
        f"{time.sync:.1f}",
        f"{time.step:.1f}",
    )


def memory_cells(item: Candidate) -> tuple[str, str]:
    """Return what an engine's GPU takes and needs, and a trainer's; empty where it is unknown."""
    if item.trainer is None:
        return "", ""
    if item.needs is None:
        return "no engine", f"{item.trainer.gib:.0f} GiB"
    return f"{item.takes_gib:.0f} ({item.needs.gib:.0f}) GiB", f"{item.trainer.gib:.0f} GiB"


def refused(found: Sequence[Candidate], every: bool = False) -> list[str]:
    """Return a line per reason with the layouts that it refuses; the first reason of each counts.

    Reasons that differ in their numbers only are one: the numbers shown are of the first layout.

    Args:
        found: Weighed layouts.
        every: Whether all are named, not the first `_NAMED` of each reason.
    """
    groups: dict[str, tuple[str, list[str]]] = {}
    for item in found:
        if item.reasons:
            reason = item.reasons[0]
            key = re.sub(r"[\d.]+", "#", re.sub(r"\(.*?\)", "", reason))
            groups.setdefault(key, (reason, []))[1].append(str(item.layout))
    lines = []
    for reason, layouts in groups.values():
        most = len(layouts) if every else _NAMED
        names = ", ".join(layouts[:most])
        if len(layouts) > most:
            names += f" and {len(layouts) - most} more (--all)"
        example = f" ({layouts[0]})" if len(layouts) > 1 else ""
        lines.append(f"{names}: {reason}{example}")
    return lines
