"""The pages of rollouts: a list with filters, one rollout, and some side by side."""

import json
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from rlagent.base.words import number
from rlagent.records.rollouts import Batch, Head, Query, Rollout
from rlagent.report.conversation import Turn, content_text, conversations_of, split_opening
from rlagent.report.view.evaluations import crumbs as evaluation_crumbs
from rlagent.report.view.heads import (
    OUTCOMES,
    PHASES,
    Place,
    find,
    heads_of,
    place,
    query_of,
)
from rlagent.report.view.site import Asked, BadRequestError, Crumb, NotFoundError, Site, address
from rlagent.report.view.tokens import Sampled, sampled

MOST_SIDES = 4
"""Rollouts that are shown side by side."""

MOST_TURNS = 300
"""Turns of one conversation that are shown."""

MORE_FILTERS = ("least", "most", "error", "tool", "longer", "turns", "lag", "order")
"""Filters that are shown when one of them is used, or asked for."""

ELSEWHERE = 40
"""Evaluations that a held-out task is looked up in."""


Said = Sequence[tuple[str, Sequence[Turn]]]
"""Conversations, each with a title."""


def rollouts(site: Site, asked: Asked) -> str:
    """The page of the rollouts that are asked for, the newest step first."""
    where = place(site, asked.name, asked.text("of"))
    oldest_first = asked.text("order") == "oldest first"
    found = find(site, where.store, query_of(asked), asked.text("at"), oldest_first)
    return site.page(
        "view_rollouts.html.j2",
        f"Rollouts of {where.evaluation or where.run}",
        crumbs(where)[:-1],
        asked=asked,
        used=any(map(asked.text, MORE_FILTERS)),
        action=address("run", where.run, "rollouts"),
        place=where,
        rows=[(head, where.address(head), where.pick(head)) for head in found.heads],
        phases=PHASES,
        outcomes=list(OUTCOMES),
        later=asked.changed(at=found.later) if found.later else "",
        first=asked.changed(at="") if asked.text("at") else "",
        until=found.until,
        damaged=damaged(where),
        nothing=not where.store.batches(),
    )


def rollout(site: Site, asked: Asked) -> str:
    """The page of one rollout, with the others of its group and of its task."""
    where = place(site, asked.name, asked.text("of"))
    head = _named(site, where, asked.query)
    shown = _side(site, where, head)
    siblings = _siblings(site, where, head)
    return site.page(
        "view_rollout.html.j2",
        f"{head.phase} step {head.step}: {head.title or 'rollout'}",
        crumbs(where),
        side=shown,
        task=shown.row.get("task") or {},
        task_texts=[(key, content_text(value)) for key, value in _items(shown.row.get("task"))],
        metrics=sorted((shown.row.get("metrics") or {}).items()),
        pick=where.pick(head),
        siblings=[(each, where.address(each), where.pick(each)) for each in siblings],
        elsewhere=[(h, where.address(h), where.pick(h)) for h in _elsewhere(site, where, head)],
        of_task=address("run", where.run, "rollouts", of=where.evaluation, task=head.hash)
        if head.hash
        else "",
        raw=json.dumps(shown.row, ensure_ascii=False, indent=1, default=str),
    )


def sides(site: Site, asked: Asked) -> str:
    """The page of some rollouts side by side, of whichever runs."""
    picks = list(dict.fromkeys(asked.several.get("pick", [])))[:MOST_SIDES]
    if len(picks) < 2:
        raise BadRequestError("Choose two rollouts of a list, then press 'Side by side'.")
    shown = [_picked(site, pick) for pick in picks]
    given = split_opening(shown[0].said[0][1])[0] if shown[0].said else []
    same = all(side.said and split_opening(side.said[0][1])[0] == given for side in shown)
    if same:
        # What all of them were sent stands above, once.
        shown = [replace(side, said=_without_opening(side.said)) for side in shown]
    runs = dict.fromkeys(side.place.run for side in shown)
    return site.page(
        "view_sides.html.j2",
        "Side by side",
        crumbs(shown[0].place) if len(runs) == 1 else [],
        sides=shown,
        given=given if same else [],
        several_runs=len(runs) > 1,
    )


def _without_opening(said: Said) -> Said:
    (title, turns), *others = said
    return [(title, split_opening(turns)[1]), *others]


@dataclass(frozen=True)
class Side:
    """A rollout as shown."""

    place: Place
    head: Head
    row: Rollout
    said: Said
    # Turns of each conversation that are left out.
    left_out: Sequence[int]
    # Its reward above the mean of its group, in standard deviations; None where that is unknown.
    advantage: float | None
    # The tokens of each call, where they were recorded.
    sampled: Sequence[Sampled]

    @property
    def address(self) -> str:
        """Of its own page."""
        return self.place.address(self.head)

    @property
    def badge(self) -> tuple[str, str]:
        """Class and words of what it came to."""
        if self.head.error is not None:
            return "bad", "failed"
        return ("good" if self.head.success else "bad"), f"reward {number(self.head.reward)}"


def _side(site: Site, where: Place, head: Head) -> Side:
    query = Query(set=head.set, group=head.group, run=head.run)
    row = next(where.store.rows_of(Batch(head.step, head.phase), query), None)
    if row is None:
        raise NotFoundError("This rollout is not there any more; its file was thinned or damaged.")
    said = conversations_of(row)
    advantage = _advantage(head, _group(site, where, head))
    return Side(
        where,
        head,
        row,
        [(title, turns[:MOST_TURNS]) for title, turns in said],
        [max(0, len(turns) - MOST_TURNS) for _, turns in said],
        advantage,
        sampled(row, advantage),
    )


def _picked(site: Site, pick: str) -> Side:
    names = ("name", "of", "phase", "step", "set", "group", "run")
    values = pick.split("|")
    if len(values) != len(names):
        raise BadRequestError(f"pick={pick}: is no rollout; choose two of a list.")
    named = dict(zip(names, values, strict=True))
    where = place(site, named["name"], named["of"])
    return _side(site, where, _named(site, where, named))


def _named(site: Site, where: Place, named: Any) -> Head:
    """The head of the rollout that a query names."""
    wanted = {name: str(named.get(name, "")) for name in ("phase", "step", "set", "group", "run")}
    if wanted["step"].isdecimal() and len(wanted["step"]) < 16:
        batch = Batch(int(wanted["step"]), wanted["phase"])
        for head in _heads(site, where, batch) if batch in where.store.batches() else ():
            if all(str(getattr(head, name)) == value for name, value in wanted.items()):
                return head
    raise NotFoundError(
        f"There is no rollout {wanted['group']}/{wanted['run']} of {wanted['phase']} step "
        f"{wanted['step']} in {where.evaluation or where.run}."
    )


def _group(site: Site, where: Place, head: Head) -> list[Head]:
    """The rollouts of the same task in the same step, the one itself included."""
    heads = _heads(site, where, Batch(head.step, head.phase))
    return [each for each in heads if (each.set, each.group) == (head.set, head.group)]


def _heads(site: Site, where: Place, batch: Batch) -> list[Head]:
    return heads_of(site, where.store, batch, set(where.store.unpacked()))


def _siblings(site: Site, where: Place, head: Head) -> list[Head]:
    return [each for each in _group(site, where, head) if each.run != head.run]


def _elsewhere(site: Site, where: Place, head: Head) -> list[Head]:
    """A held-out task's first rollout in other evaluations, evenly taken where they are many."""
    if head.phase != "eval" or not head.hash:
        return []
    store = where.store
    batches = [batch for batch in store.batches("eval") if batch.step != head.step]
    unpacked = set(store.unpacked())
    found = []
    for batch in batches[:: math.ceil(len(batches) / ELSEWHERE) or 1]:
        heads = heads_of(site, store, batch, unpacked)
        same = (h for h in heads if h.hash == head.hash and h.set == head.set)
        found += list(same)[:1]
    return found


def _advantage(head: Head, group: Sequence[Head]) -> float | None:
    """How many standard deviations the reward is above the mean of the group's rewards.

    0 where all rewards are equal, None where there are none to compare with.
    """
    rewards = [each.reward for each in group if each.reward is not None]
    if head.phase != "train" or head.reward is None or len(rewards) < 2:
        return None
    spread = statistics.stdev(rewards)
    return (head.reward - statistics.fmean(rewards)) / spread if spread else 0.0


def _items(task: Any) -> list[tuple[str, Any]]:
    return list(task.items()) if isinstance(task, dict) else []


def damaged(where: Place) -> list[str]:
    """What could not be read of the rollouts."""
    return [f"{path.name} is damaged: {why}" for path, why in list(where.store.damaged.items())]


def crumbs(where: Place) -> list[Crumb]:
    """The pages above a rollout's."""
    found = [(where.run, address("run", where.run))]
    if where.evaluation:
        own = address("run", where.run, "evaluation", of=where.evaluation)
        found = [*evaluation_crumbs(where.run), (where.evaluation, own)]
    return [*found, ("Rollouts", address("run", where.run, "rollouts", of=where.evaluation))]
