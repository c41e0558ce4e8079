"""Reads the heads of rollouts for the pages, a batch at a time and each segment once."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from rlagent.records.rollouts import Batch, Head, Query, RolloutStore, place_of
from rlagent.report.view.site import Asked, BadRequestError, Site, address

PAGE = 50
"""Rollouts of one page."""

SECONDS = 0.6
"""That a page may look for rollouts; it then says how far it came, and goes on when asked."""

PHASES = ("train", "eval")
OUTCOMES = {"success": True, "no success": False, "failed": None}


@dataclass(frozen=True)
class Place:
    """Where rollouts are: a run's own, or those of one of its evaluations."""

    run: str
    # The evaluation's name, '' for the run's own.
    evaluation: str
    store: RolloutStore

    def address(self, head: Head) -> str:
        """Of a rollout's page."""
        return address("run", self.run, "rollout", **self.named(head))

    def named(self, head: Head) -> dict[str, Any]:
        """What a query names a rollout by."""
        return {
            "of": self.evaluation,
            "phase": head.phase,
            "step": head.step,
            "set": head.set,
            "group": head.group,
            "run": head.run,
        }

    def pick(self, head: Head) -> str:
        """The same in one word, for a list of rollouts to compare."""
        values = self.named(head).values()
        return "|".join(str(value).replace("|", "/") for value in (self.run, *values))


@dataclass(frozen=True)
class Found:
    """A page of rollouts."""

    heads: list[Head] = field(default_factory=list)
    # The query's `at` of the next page; '' where there are no more.
    later: str = ""
    # The last step that was looked at before the time was over; None where it was not.
    until: int | None = None


def place(site: Site, run: str, evaluation: str = "") -> Place:
    """Where the rollouts of a run, or of one of its evaluations, are.

    Raises:
        NotFoundError: There is no such run or evaluation.
    """
    folder = site.evaluation(run, evaluation) if evaluation else site.run(run)
    older = folder.rollouts.older
    # It remembers what an earlier version wrote, which is read as a whole.
    files = [older] if older is not None else []
    store = site.memory.get(("store", folder.path), files, lambda: folder.rollouts)
    return Place(run, evaluation, store)


def heads_of(site: Site, store: RolloutStore, batch: Batch, unpacked: set[Batch]) -> list[Head]:
    """The heads of a batch, remembered once it is packed.

    Args:
        unpacked: The batches that grow.
    """
    if batch in unpacked:
        return store.heads_of(batch)
    key, files = ("heads", store.path, batch), [store.segment_file(batch)]
    return site.heads.get(key, files, lambda: store.heads_of(batch))


def find(
    site: Site,
    store: RolloutStore,
    query: Query,
    at: str = "",
    oldest_first: bool = False,
    clock: Callable[[], float] = time.monotonic,
) -> Found:
    """A page of the rollouts that are asked for.

    Args:
        site: Remembers heads.
        store: Where they are.
        query: Which ones.
        at: Where to begin, as an earlier page's `later`; '' at the first.
        oldest_first: The order of steps.
        clock: Seconds.
    """
    unpacked = set(store.unpacked())
    batches = [batch for batch in store.batches() if query.wants(batch)]
    if not oldest_first:
        batches.reverse()
    began = clock()
    first, skip = _start(batches, at, oldest_first)
    shown: list[Head] = []
    for batch in batches[first:]:
        heads = [h for h in heads_of(site, store, batch, unpacked) if query.matches(h)]
        if query.text and heads:
            heads = _saying(store, query, batch, heads)
        for index, head in enumerate(heads[skip:], start=skip):
            if len(shown) == PAGE:
                return Found(shown, _at(batch, index))
            shown.append(head)
        skip = 0
        if clock() - began > SECONDS and batch != batches[-1]:
            following = batches[batches.index(batch) + 1]
            return Found(shown, _at(following, 0), batch.step)
    return Found(shown)


def _saying(store: RolloutStore, query: Query, batch: Batch, heads: list[Head]) -> list[Head]:
    """The heads whose rollouts hold the text that is asked for."""
    known = {place_of(row) for row in store.rows_of(batch, query)}
    return [head for head in heads if place_of(head._asdict()) in known]


def _at(batch: Batch, index: int) -> str:
    return f"{batch.step}.{batch.phase}.{index}"


def _start(batches: list[Batch], at: str, oldest_first: bool) -> tuple[int, int]:
    """Index of the batch to begin with, and how many of its rollouts to pass over."""
    if not at:
        return 0, 0
    step, _, rest = at.partition(".")
    phase, _, index = rest.partition(".")
    if not (step.isdecimal() and index.isdecimal()):
        raise BadRequestError(f"at={at}: begin at the first page.")
    wanted = Batch(int(step), phase)
    for number, batch in enumerate(batches):
        if batch == wanted:
            return number, int(index)
        if (batch > wanted) if oldest_first else (batch < wanted):
            return number, 0
    return len(batches), 0


def query_of(asked: Asked) -> Query:
    """What a form asks for.

    Raises:
        BadRequestError: A value is no number or none of those allowed.
    """
    phase, outcome = asked.text("phase"), asked.text("outcome")
    for name, value, allowed in (("phase", phase, PHASES), ("outcome", outcome, OUTCOMES)):
        if value and value not in allowed:
            raise BadRequestError(f"{name}={value}: must be one of {', '.join(allowed)}.")
    return Query(
        phase=phase or None,
        steps=(asked.integer("first"), asked.integer("last")),
        set=asked.text("set") or None,
        reward=(asked.number("least"), asked.number("most")),
        success=OUTCOMES.get(outcome),
        failed=True if outcome == "failed" else False if outcome == "no success" else None,
        error=asked.text("error"),
        task=asked.text("task"),
        text=asked.text("text"),
        tool=asked.text("tool"),
        longer_than=asked.integer("longer"),
        turns=asked.integer("turns"),
        lag=asked.integer("lag"),
    )
