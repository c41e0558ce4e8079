"""The page of a comparison: two or more runs or evaluations, as `rlagent compare` sees them."""

from pathlib import Path

from rlagent.records.evaluations import EVALUATIONS, EvaluationFolder, evaluations_in
from rlagent.records.folder import RunFolder
from rlagent.report.comparison import compare
from rlagent.report.comparison_page import comparison_values
from rlagent.report.view.site import Asked, BadRequestError, Site, address

MOST = 8
"""Sides of one comparison."""


def comparison(site: Site, asked: Asked) -> str:
    """The page of the runs, or evaluations as RUN/NAME, that `run` names."""
    names = list(dict.fromkeys(asked.several.get("run", [])))
    if not 2 <= len(names) <= MOST:
        raise BadRequestError(f"Choose two to {MOST} runs of the list, then press 'Compare'.")
    folders = [_folder(site, name) for name in names]

    def make() -> str:
        return site.page(
            "comparison.html.j2",
            " against ".join(names),
            [(name, address("run", name)) for name in names[:1] if "/" not in name],
            **comparison_values(compare(folders)),
        )

    files = [path for folder in folders for path in _files(folder)]
    return site.memory.get(("comparison", *(f.path for f in folders)), files, make)


def _folder(site: Site, name: str) -> RunFolder:
    run, _, evaluation = name.partition("/")
    return site.evaluation(run, evaluation) if evaluation else site.run(run)


def _files(folder: RunFolder) -> list[Path]:
    """What a side is made from; of rollouts the folders, which change with every batch."""
    run = RunFolder(folder.path.parents[1]) if folder.path.parent.name == EVALUATIONS else folder
    evaluated = evaluations_in(folder.path) if run is folder else [EvaluationFolder(folder.path)]
    return [
        *(folder.config_yaml, folder.rollouts.path, folder.rollouts.path / "open"),
        *(run.metrics_jsonl, run.config_yaml),
        *(each.results_json for each in evaluated),
    ]
