"""The pages of evaluations: those of a run, or of bare models, and what one measured."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rlagent.base.words import interval, number, percent
from rlagent.records.files import DamagedError, read_object
from rlagent.records.folder import RunFolder
from rlagent.report.evaluation_page import over_checkpoints
from rlagent.report.view.site import BARE, Asked, Crumb, Site, address

REMEDY = "measure again with evaluate.fresh=true"


@dataclass(frozen=True)
class Checkpoint:
    """What was measured of one checkpoint: a cell per column, and where its rollouts are."""

    name: str
    cells: dict[str, str]
    rollouts: str
    failures: list[str]


def evaluations(site: Site, asked: Asked) -> str:
    """The page of a run's evaluations, or of those of bare models."""
    of_run = asked.name != BARE
    rows, said = [], []
    for folder in site.evaluations(asked.name):
        try:
            measured = read_measured(folder)
        except DamagedError as error:
            said.append(str(error))
            continue
        rows.append((folder.name, _address(asked.name, folder), checkpoints(asked.name, measured)))
    return site.page(
        "view_evaluations.html.j2",
        f"Evaluations of {asked.name}" if of_run else "Evaluations of models without a run",
        [(asked.name, address("run", asked.name))] if of_run else [],
        rows=rows,
        said=said,
    )


def evaluation(site: Site, asked: Asked) -> str:
    """The page of one evaluation."""
    folder = site.evaluation(asked.name, asked.text("of"))
    measured = read_measured(folder)
    return site.page(
        "view_evaluation.html.j2",
        folder.name,
        crumbs(asked.name),
        rows=checkpoints(asked.name, measured, folder.name),
        figure=over_checkpoints(measured, 1080, 330),
        asked=_what_was_asked(measured),
        rollouts=address("run", asked.name, "rollouts", of=folder.name),
    )


def crumbs(run: str) -> list[Crumb]:
    """The pages above an evaluation's."""
    above = [] if run == BARE else [(run, address("run", run))]
    return [*above, ("Evaluations", address("run", run, "evaluations"))]


def _address(run: str, folder: RunFolder) -> str:
    return address("run", run, "evaluation", of=folder.name)


def read_measured(folder: RunFolder) -> list[dict[str, Any]]:
    """What was measured of each checkpoint, by step.

    Raises:
        DamagedError: results.json holds something else.
    """
    path = folder.path / "results.json"
    found = (read_object(path, REMEDY) or {}).get("measured", [])
    if not isinstance(found, list) or not all(isinstance(each, dict) for each in found):
        raise DamagedError(f"{path} is damaged (measured is no list of objects): {REMEDY}")
    return sorted(found, key=lambda each: each.get("step") or 0)


def checkpoints(run: str, measured: list[dict[str, Any]], of: str = "") -> list[Checkpoint]:
    """The measures of each checkpoint as text, the same columns for all.

    Args:
        run: Whose they are.
        measured: As of results.json.
        of: The evaluation's name, for links to its rollouts.
    """
    texts = [_cells(each) for each in measured]
    # A column that no checkpoint has says nothing.
    names = dict.fromkeys(name for cells in texts for name in cells)
    known = [name for name in names if any(cells.get(name, "-") != "-" for cells in texts)]
    found = []
    for each, cells in zip(measured, texts, strict=True):
        step = each.get("step") or 0
        rollouts = address("run", run, "rollouts", of=of, first=step, last=step) if of else ""
        failures = [_failure(one) for one in each.get("failures") or []]
        shown = {name: cells.get(name, "-") for name in known}
        found.append(Checkpoint(str(each.get("checkpoint", step)), shown, rollouts, failures))
    return found


def _cells(each: Mapping[str, Any]) -> dict[str, str]:
    """What was measured of a checkpoint, as text; `-` where it was not."""
    cells = {"success": percent(each.get("success")), "95 % interval": _interval(each)}
    for name, title in (("pass_at", "pass@"), ("majority_at", "maj@")):
        shares = each.get(name) or {}
        cells |= {f"{title}{k}": percent(share) for k, share in shares.items() if k != "1"}
    cells |= {
        "valid": percent(each.get("valid")),
        "failed": str(each.get("failed", "-")),
        "tokens": number(each.get("tokens")),
        "turns": number(each.get("turns")),
        "tasks": str(each.get("tasks", "-")),
        "samples": str(each.get("samples", "-")),
        "seconds": number(each.get("seconds")),
    }
    metrics = each.get("metrics") or {}
    cells |= {name: number(value) for name, value in metrics.items() if name not in cells}
    return cells


def _interval(each: Mapping[str, Any]) -> str:
    low, high = each.get("success_low"), each.get("success_high")
    return "-" if low is None or high is None else interval(low, high)


def _failure(one: Mapping[str, Any]) -> str:
    row = one.get("row") or {}
    return f"task {row.get('index', '?')}, rollout {one.get('run', '?')}: {one.get('error')}"


def _what_was_asked(measured: list[dict[str, Any]]) -> str:
    if not measured:
        return ""
    tasks, samples = measured[0].get("tasks"), measured[0].get("samples")
    each = f", {samples} rollouts of each" if samples and samples != 1 else ""
    return f"{tasks} held-out tasks{each}; 95 % intervals over tasks"
