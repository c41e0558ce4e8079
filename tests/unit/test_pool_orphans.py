"""Trials that are driven by a process which a killed launcher left: what they hold is not free."""

import io
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from rlagent.base.lock import IN_USE
from rlagent.records.folder import RunFolder
from rlagent.records.sweep_store import Sweep, SweepFolder, TrialRow
from rlagent.sweep.grid import GridSource
from rlagent.sweep.live_table import PlainLines
from rlagent.sweep.options import Options
from rlagent.sweep.pool import run_sweep
from rlagent.sweep.shares import Resources
from rlagent.sweep.source import Need, Trial, row_of
from tests import stand_in

HOLDS_ON = """
import sys
from pathlib import Path
from rlagent.records.folder import RunFolder
from rlagent.base.lock import locked

with locked(Path(sys.argv[1])) as lock:
    assert lock
    RunFolder(sys.argv[1]).write_status(state="stopped", exit_code=1, cause="stopped", pid=None)
    print("ended", flush=True)
    sys.stdin.read()
"""

REFUSED = f"""
import sys
from pathlib import Path
from rlagent.base.lock import locked

with locked(Path(sys.argv[1])) as lock:
    assert lock is None
    print(sys.argv[1] + " {IN_USE}; `rlagent stop x` ends it")
    sys.exit(1)
"""

ONE_GPU = Need(gpus=1, cores=1, memory_gib=1.0)


@pytest.fixture
def orphan(tmp_path):
    """A trial with a process that no launcher holds, and that process."""
    one = stand_in.trial(tmp_path, 0, "wait_once", need=ONE_GPU)
    process = subprocess.Popen(
        stand_in.argv(one), env=stand_in.environment(), stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline().startswith("started")
    yield one, process
    process.kill()
    process.wait()
    process.stdout.close()


@pytest.fixture
def ending(tmp_path):
    """A trial with a process that said how it ended and still holds the run folder."""
    one = stand_in.trial(tmp_path, 0, need=ONE_GPU)
    folder = tmp_path / "outputs" / one.folder_name
    folder.mkdir(parents=True)
    process = holder(folder)
    yield one, process
    process.kill()
    process.communicate()


def holder(folder: Path) -> subprocess.Popen:
    """A process that holds a run folder until its standard input ends."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDS_ON, str(folder)],
        env=stand_in.environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ended\n"
    return process


class EndsIt(PlainLines):
    """Ends a process as soon as given words are said, or are what a trial waits for."""

    def __init__(self, process: subprocess.Popen, words: str) -> None:
        self.text, self.ended_it = io.StringIO(), False
        super().__init__(self.text)
        self._process, self._words = process, words

    def message(self, line: str) -> None:
        super().message(line)
        self._end_if_said(line)

    def update(self, sweep: Sweep, running) -> None:
        super().update(sweep, running)
        for row in sweep.trials:
            self._end_if_said(f"trial {row.number + 1} waits for {row.waits_for}")

    def _end_if_said(self, line: str) -> None:
        if self._words in line:
            self.ended_it = True
            self._process.terminate()
            # Reaped, as init would an orphan.
            self._process.wait()


def left_row(trial: Trial, folder: SweepFolder, state: str, **has) -> TrialRow:
    """The row of a trial as a killed launcher leaves it."""
    row = row_of(trial, folder)
    row.state = state
    for name, value in has.items():
        setattr(row, name, value)
    return row


def run(root: Path, rows, trials, resources: Resources, display: PlainLines) -> tuple[int, Sweep]:
    folder = SweepFolder(root / "outputs" / "sweep-x")
    sweep = Sweep("sweep-x", "x", [], trials=rows)
    options = Options(argv=stand_in.argv, env=stand_in.environment(), lookahead=len(trials))
    return run_sweep(folder, sweep, GridSource(trials), resources, options, display), sweep


def test_what_a_trial_of_an_earlier_launch_holds_is_free_when_its_process_ends(
    orphan, tmp_path
) -> None:
    old, process = orphan
    folder = SweepFolder(tmp_path / "outputs" / "sweep-x")
    row = left_row(old, folder, "interrupted", gpus=[0], gpu_ids=["7"], cores=1, memory_gib=1.0)
    new = stand_in.trial(tmp_path, 1, need=ONE_GPU)
    display = EndsIt(process, "waits for 1 GPU (0 free)")
    code, sweep = run(tmp_path, [row], [new], Resources(("7",), 4, 16.0), display)
    text = display.text.getvalue()
    assert f"process {process.pid}, left from before, still runs trial 1, on GPU 0" in text
    assert "trial 2 (seed=1) waits for 1 GPU (0 free)" in text
    assert (code, [each.state for each in sweep.trials]) == (0, ["interrupted", "finished"])
    assert (row.gpus, row.gpu_ids, row.cores, row.memory_gib) == ([], [], 0, 0.0)


def test_memory_and_cores_of_a_process_that_was_left_are_not_free_either(orphan, tmp_path) -> None:
    old, process = orphan
    folder = SweepFolder(tmp_path / "outputs" / "sweep-x")
    row = left_row(old, folder, "interrupted", cores=2, memory_gib=8.0)
    new = stand_in.trial(tmp_path, 1, need=Need(cores=4, memory_gib=8.0))
    words = "waits for 4 CPU cores (2 free) and 8.0 GiB of memory (3.0 free)"
    display = EndsIt(process, words)
    code, _ = run(tmp_path, [row], [new], Resources((), 4, 12.0), display)
    assert code == 0
    assert words in display.text.getvalue()


def test_a_run_that_a_person_started_takes_cores_as_a_trial_would(orphan, tmp_path) -> None:
    old, process = orphan
    folder = SweepFolder(tmp_path / "outputs" / "sweep-x")
    new = stand_in.trial(tmp_path, 1, need=Need(cores=4))
    display = EndsIt(process, "trial 2 waits for 4 CPU cores (3 free)")
    row = left_row(old, folder, "finished")
    resources = Resources((), 4, 16.0)
    assert run(tmp_path, [row], [replace(old, need=Need(cores=1)), new], resources, display)[0] == 0
    assert display.ended_it
    assert "left from before" not in display.text.getvalue()


def test_a_trial_that_waits_for_its_own_process_leaves_the_other_gpus_to_others(
    orphan, tmp_path
) -> None:
    old, process = orphan
    folder = SweepFolder(tmp_path / "outputs" / "sweep-x")
    row = left_row(old, folder, "running", gpus=[0], gpu_ids=["0"])
    new = stand_in.trial(tmp_path, 1, need=ONE_GPU)
    display = EndsIt(process, "trial 2 (seed=1) starts")
    code, sweep = run(tmp_path, [row], [old, new], Resources(("0", "1"), 4, 16.0), display)
    lines = display.text.getvalue().splitlines()
    assert lines[0] == f"process {process.pid}, left from before, still runs trial 1, on GPU 0"
    assert lines[1].startswith("trial 2 (seed=1) starts on GPU 1;")
    assert "trial 1 (seed=0) starts on GPU 0" in display.text.getvalue()
    assert (code, [each.state for each in sweep.trials]) == (0, ["finished", "finished"])
    assert RunFolder(tmp_path / "outputs" / old.folder_name).read_status()["attempt"] == 2


def test_a_sweep_does_not_wait_for_a_process_that_it_needs_not(orphan, tmp_path) -> None:
    old, process = orphan
    folder = SweepFolder(tmp_path / "outputs" / "sweep-x")
    row = left_row(old, folder, "interrupted", gpus=[0], gpu_ids=["0"])
    new = stand_in.trial(tmp_path, 1, need=ONE_GPU)
    display = EndsIt(process, "never said")
    assert run(tmp_path, [row], [new], Resources(("0", "1"), 4, 16.0), display)[0] == 0
    assert process.poll() is None


def test_what_a_killed_launcher_noted_for_a_process_that_is_gone_is_free(tmp_path) -> None:
    old, new = (stand_in.trial(tmp_path, number, need=ONE_GPU) for number in range(2))
    folder = SweepFolder(tmp_path / "outputs" / "sweep-x")
    row = left_row(old, folder, "interrupted", gpus=[0], gpu_ids=["0"], cores=1)
    display = PlainLines(io.StringIO())
    code, sweep = run(tmp_path, [row], [new], Resources(("0",), 4, 16.0), display)
    assert (code, sweep.trials[0].gpu_ids) == (0, [])


def test_a_thread_with_the_number_of_a_process_that_is_gone_drives_no_trial(tmp_path) -> None:
    one, display = stand_in.trial(tmp_path, 0), PlainLines(io.StringIO())
    with stand_in.thread_number() as number:
        RunFolder(tmp_path / "outputs" / one.folder_name).write_status(pid=number, pid_ticks=1)
        assert run(tmp_path, [], [one], Resources((), 4, 16.0), display)[0] == 0


def test_a_trial_waits_for_a_process_that_holds_its_folder_after_its_final_status(
    ending, tmp_path
) -> None:
    old, process = ending
    folder = SweepFolder(tmp_path / "outputs" / "sweep-x")
    row = left_row(old, folder, "running", gpus=[0], gpu_ids=["0"], cores=1, memory_gib=1.0)
    new = stand_in.trial(tmp_path, 1, need=ONE_GPU)
    words = f"waits for a process that holds {folder.run_folder(row).path}"
    display = EndsIt(process, words)
    code, sweep = run(tmp_path, [row], [old, new], Resources(("0",), 4, 16.0), display)
    assert words in display.text.getvalue()
    assert (code, [each.state for each in sweep.trials]) == (0, ["finished", "finished"])
    assert [each.tries for each in sweep.trials] == [1, 1]


def test_what_a_process_that_is_ending_has_is_not_free_before_it_lets_go(ending, tmp_path) -> None:
    old, process = ending
    folder = SweepFolder(tmp_path / "outputs" / "sweep-x")
    row = left_row(old, folder, "interrupted", gpus=[0], gpu_ids=["0"], cores=1, memory_gib=1.0)
    new = stand_in.trial(tmp_path, 1, need=ONE_GPU)
    display = EndsIt(process, "waits for 1 GPU (0 free)")
    code, _ = run(tmp_path, [row], [new], Resources(("0",), 4, 16.0), display)
    assert (code, display.ended_it, row.gpu_ids) == (0, True, [])


def test_a_trial_whose_folder_was_taken_while_it_started_waits_and_is_started_again(
    tmp_path,
) -> None:
    one, others = stand_in.trial(tmp_path, 0), []
    path = tmp_path / "outputs" / one.folder_name

    def argv(trial: Trial) -> list[str]:
        if others:
            return stand_in.argv(trial)
        # After the launcher's look at the folder, and with a status that is not the trial's.
        path.mkdir(parents=True)
        others.append(holder(path))
        return [sys.executable, "-c", REFUSED, str(path)]

    class EndsTheHolder(PlainLines):
        def update(self, sweep: Sweep, running) -> None:
            super().update(sweep, running)
            if "which runs it already" in sweep.trials[0].waits_for and not others[0].stdin.closed:
                others[0].communicate("")

    folder, text = SweepFolder(tmp_path / "outputs" / "sweep-x"), io.StringIO()
    sweep = Sweep("sweep-x", "x", [], trials=[row_of(one, folder)])
    options = Options(argv=argv, env=stand_in.environment())
    resources, display = Resources((), 4, 16.0), EndsTheHolder(text)
    code = run_sweep(folder, sweep, GridSource([one]), resources, options, display)
    row = sweep.trials[0]
    assert (code, row.state, row.tries) == (0, "finished", 2)
    assert "failed" not in text.getvalue()
    assert RunFolder(path).read_status()["attempt"] == 1


def test_a_launcher_notes_what_each_of_its_trials_has(tmp_path) -> None:
    noted = []

    class Notes(PlainLines):
        def started(self, row: TrialRow, resumed: bool, log: Path) -> None:
            noted.append((row.gpus, row.gpu_ids, row.cores, row.memory_gib))

    one = stand_in.trial(tmp_path, 0, need=ONE_GPU)
    code, _ = run(tmp_path, [], [one], Resources(("5",), 4, 16.0), Notes(io.StringIO()))
    assert (code, noted) == (0, [([0], ["5"], 1, 1.0)])


def test_a_trial_whose_process_wrote_its_final_status_is_started_when_that_has_ended(
    orphan, tmp_path
) -> None:
    trial, process = orphan
    run_folder = RunFolder(Path(trial.resolved.config.run.dir) / trial.folder_name)
    # It still writes its report, and has the folder to itself.
    run_folder.write_status(state="stopped", exit_code=1)
    row = left_row(
        trial, SweepFolder(tmp_path / "outputs" / "sweep-x"), "running", gpus=[0], gpu_ids=["0"]
    )
    display = EndsIt(process, f"waits for process {process.pid}")
    code, sweep = run(tmp_path, [row], [trial], Resources(("0",), 4, 16.0), display)
    assert display.ended_it
    assert (code, [each.state for each in sweep.trials]) == (0, ["finished"])
