"""Creates the missing W&B runs of trials that failed before they started one.

A driver starts its mirror, also when it fails early; one whose process died before that did not.
Made beside the trials that still run, one after another, each in a process of the mirror's own.
"""

import dataclasses
from concurrent.futures import Future, ThreadPoolExecutor, wait

from rlagent.base.lock import locked
from rlagent.records.mirror import make_mirror
from rlagent.records.sweep_store import SweepFolder, TrialRow
from rlagent.records.wandb_access import wandb_access
from rlagent.sweep.common import dashboard_names
from rlagent.sweep.source import Trial

PATIENCE = 60.0
"""Seconds that the end of a sweep waits for W&B."""


class Unmirrored:
    """Makes the W&B runs that trials of one sweep did not make.

    Args:
        folder: The sweep's.
    """

    def __init__(self, folder: SweepFolder) -> None:
        self._folder = folder
        self._worker = ThreadPoolExecutor(max_workers=1)
        self._asked: dict[Future[list[str]], int] = {}

    def __enter__(self) -> "Unmirrored":
        return self

    def __exit__(self, *exception: object) -> None:
        # What is under way has a process that ends by itself.
        self._worker.shutdown(wait=False, cancel_futures=True)

    def failed(self, trial: Trial, row: TrialRow) -> None:
        """Note a trial that failed for good; returns at once."""
        monitor = trial.resolved.config.monitor
        if monitor.type != "wandb" or wandb_access(monitor.mode).mode == "disabled":
            return
        # The row goes on changing, in another thread.
        future = self._worker.submit(_make, self._folder, trial, dataclasses.replace(row))
        self._asked[future] = row.number + 1

    def finish(self, patience: float = PATIENCE) -> list[str]:
        """Wait for what is under way, but not for long; returns what went wrong, in lines."""
        _, left = wait(self._asked, patience)
        lines = []
        for future, number in self._asked.items():
            if future in left:
                lines.append(f"trial {number}: no W&B run was made of it within {patience:.0f} s")
            elif error := future.exception():
                name = type(error).__name__
                lines.append(f"trial {number}: no W&B run was made of it: {name}: {error}")
            else:
                lines += [f"trial {number}: {line}" for line in future.result()]
        return lines


def _make(folder: SweepFolder, trial: Trial, row: TrialRow) -> list[str]:
    """Make the W&B run of a trial if it has none; returns what went wrong."""
    # Not before it is needed: most sweeps have no such trial.
    from rlagent.launch.watch import run_info

    run, told = folder.run_folder(row), list[str]()
    run.make()
    with locked(run.path) as lock:
        # Where another process drives this very run, that one mirrors it.
        if lock is None or run.wandb_id_file.is_file():
            return told
        names = dashboard_names(trial, folder.name)
        info = dataclasses.replace(
            run_info(trial.resolved, run, resumed_from=None),
            group=names["group"],
            name=names["name"],
            system_stats=False,
            ending={
                "state": row.state,
                "exit_code": row.exit_code,
                "cause": row.cause,
                "failure_class": row.failure,
            },
        )
        mirror = make_mirror(trial.resolved.config.monitor, run, told.append)
        mirror.start(info)
        mirror.finish({})
    return told
