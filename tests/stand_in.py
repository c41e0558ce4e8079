"""Stands in for the trainer of a trial in tests of the pool: writes what a run would, or fails.

Only the training is pretended: processes, signals, the run folder and the leash are real.
"""

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from rlagent.records.checkpoints import LATEST_CHECKPOINT
from rlagent.records.folder import RunFolder
from rlagent.sweep import leash

if TYPE_CHECKING:
    from rlagent.sweep.source import Need, Trial


def trial(
    root: Path, number: int, behaviour: str = "finish", need: "Need | None" = None
) -> "Trial":
    """A trial that behaves as named: finish, fail:CAUSE, fail_once, wait, wait_once, late
    (asked to stop it has trained its last step by then), die, config,
    from scratch (sets the metrics of an earlier run aside), deaf (neither ends nor can be asked
    to)."""
    # Not needed by the process that stands in for the trainer, and slow to import.
    from rlagent.config.resolve import resolve
    from rlagent.machine.resources import Machine
    from rlagent.sweep.source import Need, Trial
    from tests.configured import configured

    machine, steps = Machine((), 4, 16.0), "algorithm.total_steps=2"
    overrides = (f"run.dir={root}/outputs", f"seed={number}", f"run.name=stand_in_{behaviour[:4]}")
    return Trial(
        number=number,
        overrides=(*overrides, f"behaviour={behaviour}"),
        differing=(f"seed={number}",),
        params={"seed": number},
        resolved=resolve(configured("hardware=cpu", steps, *overrides), machine),
        need=need or Need(cores=1),
    )


def argv(planned: "Trial") -> list[str]:
    """The command line of the process that stands in for a trial."""
    config = planned.resolved.config
    behaviour = planned.overrides[-1].partition("=")[2]
    folder = Path(config.run.dir) / planned.folder_name
    return [sys.executable, __file__, str(folder), behaviour, str(config.seed)]


@contextlib.contextmanager
def thread_number() -> Iterator[int]:
    """The number of a thread, which no process has."""
    over = threading.Event()
    thread = threading.Thread(target=over.wait)
    thread.start()
    try:
        yield thread.native_id or 0
    finally:
        over.set()
        thread.join()


def environment() -> dict[str, str]:
    """Finds this module and the package, from wherever the tests run."""
    return {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}


def main(path: str, behaviour: str, seed: str, *added: str) -> int:
    """Behave."""
    leash.hold()
    folder = RunFolder(path)
    kind, _, cause = behaviour.partition(":")
    if kind == "from scratch":
        folder.metrics_jsonl.rename(folder.path / "metrics.set_aside")
    attempt = folder.new_attempt().number

    def end(number: int, frame: object) -> None:
        interrupted = number == signal.SIGINT
        state, code = ("interrupted", 130) if interrupted else ("stopped", 1)
        folder.write_status(state=state, exit_code=code, cause=state, pid=None)
        sys.exit(code)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN if kind == "deaf" else end)
    folder.write_status(
        state="running", pid=os.getpid(), attempt=attempt, cores=os.environ.get("RLAGENT_MACHINE")
    )
    print("started", os.environ.get("CUDA_VISIBLE_DEVICES"), *added, flush=True)
    if kind == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if kind == "config":
        print("algorithm.lr=0: must be above 0", flush=True)
        return 2
    if kind == "fail" or (kind == "fail_once" and attempt == 1):
        folder.write_status(state="failed", exit_code=1, cause=cause or "broken", pid=None)
        return 1
    for step in (1, 2):
        folder.append_metrics("explorer", step, {"eval/success": (int(seed) + step) / 100})
        folder.append_metrics("trainer", step, {})
        while kind == "deaf":
            time.sleep(0.05)
        while kind == "wait" or (kind == "wait_once" and attempt == 1):
            if folder.stop_requested():
                end(signal.SIGTERM, None)
            time.sleep(0.05)
    while kind == "late":
        if folder.stop_requested():
            folder.write_status(steps_asked=2, steps_trained=2)
            folder.checkpoints.mkdir()
            (folder.checkpoints / LATEST_CHECKPOINT).write_text("2")
            end(signal.SIGTERM, None)
        time.sleep(0.05)
    folder.write_status(state="finished", exit_code=0, cause="", steps_trained=2, pid=None)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
