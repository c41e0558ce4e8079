"""The pool with processes that stand in for the trainer: what starts when, and how it ends."""

import io
import json
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from rlagent.base.process import start_ticks
from rlagent.records.checkpoints import LATEST_CHECKPOINT
from rlagent.records.folder import RunFolder
from rlagent.records.objective import state_when_pruned
from rlagent.records.sweep_store import Sweep, SweepFolder, TrialRow
from rlagent.sweep.grid import GridSource
from rlagent.sweep.live_table import PlainLines, cells
from rlagent.sweep.options import Options
from rlagent.sweep.pool import _Pool, run_sweep
from rlagent.sweep.shares import Resources
from rlagent.sweep.source import Need, Trial, row_of
from tests import stand_in

REPOSITORY = Path(__file__).parents[2]
ROOMY = Resources((), 4, 1e6)


class Recorded(GridSource):
    """A grid that remembers what it was told."""

    def __init__(self, trials, prune=()):
        super().__init__(trials)
        self.values, self.endings, self.prune = [], [], prune

    def report(self, trial: Trial, step: int, value: float) -> bool:
        self.values.append((trial.number, step, value))
        return trial.number in self.prune

    def ended(self, trial: Trial, row: TrialRow) -> None:
        self.endings.append((trial.number, row.state))


def run(root: Path, trials: list[Trial], resources=ROOMY, source=None, **settings):
    """Run trials to their end; returns exit status, sweep and what was printed."""
    folder, text = SweepFolder(root / "outputs" / "sweep-x"), io.StringIO()
    sweep = Sweep("sweep-x", "x", [], trials=[row_of(trial, folder) for trial in trials])
    options = Options(
        argv=stand_in.argv, env=stand_in.environment(), lookahead=len(trials), **settings
    )
    source = source or GridSource(trials)
    code = run_sweep(folder, sweep, source, resources, options, PlainLines(text))
    return code, sweep, text.getvalue()


def states(sweep: Sweep) -> list[str]:
    return [row.state for row in sweep.trials]


def test_a_failed_trial_does_not_touch_the_others(tmp_path) -> None:
    trials = [
        stand_in.trial(tmp_path, 0),
        stand_in.trial(tmp_path, 1, "fail:all 4 rollouts of step 1 failed: KeyError: 'x'"),
        stand_in.trial(tmp_path, 2, "die"),
        stand_in.trial(tmp_path, 3),
    ]
    code, sweep, text = run(tmp_path, trials)
    assert (code, sweep.state) == (1, "failed")
    assert states(sweep) == ["finished", "failed", "failed", "finished"]
    assert [row.failure for row in sweep.trials] == [None, "workflow error", "killed", None]
    assert [row.objective for row in sweep.trials] == [0.02, None, None, 0.05]
    assert "trial 2 (seed=1) failed" in text
    assert SweepFolder(tmp_path / "outputs" / "sweep-x").read() == sweep


def test_trials_wait_for_room_and_say_what_for(tmp_path) -> None:
    trials = [stand_in.trial(tmp_path, n, need=Need(gpus=2)) for n in range(3)]
    code, sweep, text = run(tmp_path, trials, Resources(("4", "7", "9"), 8, 64.0))
    assert code == 0
    assert "trial 2 (seed=1) waits for 2 GPUs (1 free)" in text
    assert "trial 1 (seed=0) starts on GPUs 0, 1" in text
    assert [row.gpus for row in sweep.trials] == [[], [], []]


def test_each_trial_sees_its_own_gpus_and_cores(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,6")
    trials = [stand_in.trial(tmp_path, n, need=Need(gpus=1)) for n in range(2)]
    for one in trials:
        one.resolved.config.hardware.engine = "vllm"
    code, sweep, _ = run(tmp_path, trials, Resources(("5", "6"), 8, 64.0, most=2))
    assert code == 0
    logs = sorted((tmp_path / "outputs" / "sweep-x" / "logs").iterdir())
    assert [path.read_text() for path in logs] == ["started 5\n", "started 6\n"]
    folder = SweepFolder(tmp_path / "outputs" / "sweep-x")
    told = folder.run_folder(sweep.trials[0]).read_status()["cores"]
    assert json.loads(told)["cores"] == 1


def test_a_failure_is_tried_again_as_often_as_asked_a_wrong_configuration_is_not(tmp_path) -> None:
    trials = [
        stand_in.trial(tmp_path, 0, "fail_once"),
        stand_in.trial(tmp_path, 1, "config"),
        stand_in.trial(tmp_path, 2, "fail"),
    ]
    code, sweep, text = run(tmp_path, trials, retries=1)
    assert code == 1
    assert states(sweep) == ["finished", "failed", "failed"]
    assert [row.tries for row in sweep.trials] == [2, 1, 2]
    assert sweep.trials[1].failure == "configuration"
    assert "must be above 0" in sweep.trials[1].cause
    assert "it is tried again" in text


def test_a_trial_that_waits_for_another_try_shows_what_it_waits_for(tmp_path) -> None:
    gpu = Need(gpus=1)
    trials = [
        stand_in.trial(tmp_path, 0, "fail_once", gpu),
        stand_in.trial(tmp_path, 1, "finish", gpu),
    ]
    seen = []

    class Watching(PlainLines):
        def update(self, sweep, running) -> None:
            seen.extend(cells(row, None, 0.0)[2] for row in sweep.trials)

    folder = SweepFolder(tmp_path / "outputs" / "sweep-x")
    rows = [row_of(trial, folder) for trial in trials]
    # The first waits for another try, the second was left like this by an earlier launch.
    rows[1].state, rows[1].failure = "failed", "killed"
    options = Options(stand_in.argv, env=stand_in.environment(), lookahead=2, retries=1)
    run_sweep(
        folder,
        Sweep("sweep-x", "x", [], trials=rows),
        GridSource(trials),
        Resources(("0",), 4, 64.0),
        options,
        Watching(io.StringIO()),
    )
    waiting = [state for state in seen if state.startswith("wait")]
    assert "waits for 1 GPU (0 free)" in waiting
    assert not any(state.startswith("waiting:") for state in waiting)


def test_another_try_of_a_fresh_run_goes_on_from_the_first(tmp_path) -> None:
    one = stand_in.trial(tmp_path, 0, "fail_once")
    one.resolved.config.run.fresh = True
    assert run(tmp_path, [one], retries=1)[0] == 0
    logs = sorted((tmp_path / "outputs" / "sweep-x" / "logs").iterdir())
    assert ["run.fresh=false" in path.read_text() for path in logs] == [False, True]


def test_on_failure_stop_ends_the_others_cleanly(tmp_path) -> None:
    trials = [
        stand_in.trial(tmp_path, 0, "wait"),
        stand_in.trial(tmp_path, 1, "fail"),
        stand_in.trial(tmp_path, 2),
    ]
    code, sweep, _ = run(tmp_path, trials, Resources((), 4, 1e6, most=2), stop_on_failure=True)
    assert code == 1
    assert states(sweep) == ["stopped", "failed", "waiting"]


def test_the_same_sweep_again_runs_only_what_is_unfinished(tmp_path) -> None:
    trials = [stand_in.trial(tmp_path, 0), stand_in.trial(tmp_path, 1, "fail_once")]
    assert run(tmp_path, trials)[0] == 1
    done = lambda trial, folder: folder.read_status().get("state") == "finished"  # noqa: E731
    code, sweep, _ = run(tmp_path, trials, is_done=done)
    assert (code, states(sweep)) == (0, ["finished", "finished"])
    # The first needed no process.
    assert [row.tries for row in sweep.trials] == [0, 1]
    assert sweep.trials[0].objective == 0.02


def test_values_measured_meanwhile_reach_the_source_which_may_prune(tmp_path) -> None:
    trials = [stand_in.trial(tmp_path, 0, "wait"), stand_in.trial(tmp_path, 1)]
    source = Recorded(trials, prune=[0])
    code, sweep, _ = run(tmp_path, trials, source=source)
    assert (code, states(sweep)) == (0, ["pruned", "finished"])
    assert RunFolder(tmp_path / "outputs" / trials[0].folder_name).stop_reason() == "pruned"
    assert source.values[0][0] in (0, 1)
    assert {value for value in source.values if value[0] == 1} == {(1, 1, 0.02), (1, 2, 0.03)}
    assert sorted(source.endings) == [(0, "pruned"), (1, "finished")]
    assert sweep.trials[0].objective == 0.01


def test_a_trial_that_trained_its_last_step_when_pruned_is_finished_and_ranked(tmp_path) -> None:
    trials = [stand_in.trial(tmp_path, 0, "late")]
    source = Recorded(trials, prune=[0])
    code, sweep, text = run(tmp_path, trials, source=source)
    assert (code, states(sweep), source.endings) == (0, ["finished"], [(0, "finished")])
    assert (sweep.trials[0].objective, sweep.trials[0].cause) == (0.02, "")
    assert "pruned" not in text


@pytest.mark.parametrize(
    ("trained", "saved", "measured", "state"),
    [
        (2, 2, 2, "finished"),
        (2, 2, 1, "pruned"),
        # As when the disk is full.
        (2, 1, 2, "pruned"),
        (1, 1, 2, "pruned"),
    ],
)
def test_a_pruned_trial_is_finished_when_its_last_step_was_trained_saved_and_measured(
    trained: int, saved: int, measured: int, state: str, tmp_path
) -> None:
    folder = RunFolder(tmp_path)
    assert state_when_pruned(folder, "eval/success") == "pruned"
    folder.append_metrics("explorer", measured, {"eval/success": 0.0})
    folder.write_status(state="stopped", steps_asked=2, steps_trained=trained)
    assert state_when_pruned(folder, "eval/success") == "pruned"
    folder.checkpoints.mkdir()
    (folder.checkpoints / LATEST_CHECKPOINT).write_text(f"{saved}\n")
    assert state_when_pruned(folder, "eval/success") == state


def test_a_run_that_another_process_drives_is_waited_for(tmp_path) -> None:
    one = stand_in.trial(tmp_path, 0, "wait_once")
    other = subprocess.Popen(
        stand_in.argv(one), env=stand_in.environment(), stdout=subprocess.PIPE, text=True
    )
    assert other.stdout is not None
    assert other.stdout.readline().startswith("started")

    class EndsTheOther(PlainLines):
        def message(self, line: str) -> None:
            if "which runs it already" in line:
                other.terminate()
                # Reaped, as init would an orphan.
                other.wait()

    folder = SweepFolder(tmp_path / "outputs" / "sweep-x")
    sweep = Sweep("sweep-x", "x", [])
    options = Options(argv=stand_in.argv, env=stand_in.environment())
    display = EndsTheOther(io.StringIO())
    assert run_sweep(folder, sweep, GridSource([one]), ROOMY, options, display) == 0
    assert RunFolder(tmp_path / "outputs" / one.folder_name).read_status()["attempt"] == 2


LAUNCHER = """
import sys
import types
from pathlib import Path

# As pytest does it: an installed package may be called tests too.
sys.modules["tests"] = types.ModuleType("tests")
sys.modules["tests"].__path__ = [sys.argv[2]]
from tests import stand_in
from tests.unit.test_pool import run

root = Path(sys.argv[1])
trials = [stand_in.trial(root, number, "wait") for number in range(3)]
from rlagent.sweep.shares import Resources
code, sweep, text = run(root, trials, Resources((), 4, 1e6, most=2))
sys.exit(code)
"""


@pytest.fixture
def launcher(tmp_path):
    """A sweep of three trials that never end, two of them running."""
    script = tmp_path / "launcher.py"
    script.write_text(textwrap.dedent(LAUNCHER))
    process = subprocess.Popen(
        [sys.executable, str(script), str(tmp_path), str(REPOSITORY / "tests")],
        env=stand_in.environment(),
        start_new_session=True,
    )
    folders = [
        RunFolder(tmp_path / "outputs" / stand_in.trial(tmp_path, n, "wait").folder_name)
        for n in range(2)
    ]
    _until(lambda: all(folder.metrics_jsonl.exists() for folder in folders))
    yield process, folders
    if process.poll() is None:
        process.kill()
        process.wait()


@pytest.mark.parametrize(
    ("sent", "code", "word"), [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 1, "stopped")]
)
def test_a_sweep_that_is_asked_to_end_waits_for_its_trials_and_ends_as_a_run_would(
    sent: signal.Signals, code: int, word: str, launcher, tmp_path
) -> None:
    process, folders = launcher
    process.send_signal(sent)
    assert process.wait(60) == code
    assert [folder.read_status()["state"] for folder in folders] == [word, word]
    sweep = SweepFolder(tmp_path / "outputs" / "sweep-x").read()
    assert sweep.state == word
    assert states(sweep) == [word, word, "waiting"]


def test_after_kill_9_of_the_launcher_its_trials_end_cleanly_by_themselves(launcher) -> None:
    process, folders = launcher
    pids = [folder.read_status()["pid"] for folder in folders]
    process.kill()
    process.wait()
    _until(lambda: all(start_ticks(pid) is None for pid in pids))
    assert [folder.read_status()["state"] for folder in folders] == ["stopped", "stopped"]


class FakeChild:
    """Remembers what it was sent."""

    def __init__(self) -> None:
        self.sent: list[int] = []
        self.asked = self.killed = False

    def send(self, number: int) -> None:
        self.sent.append(number)

    def kill(self) -> None:
        self.killed = True


@pytest.mark.parametrize(
    ("number", "sent", "killed"),
    [(signal.SIGTERM, [signal.SIGTERM], False), (signal.SIGINT, [signal.SIGINT] * 2, True)],
)
def test_only_the_third_ctrl_c_kills_however_often_a_stop_is_asked_for(
    number: signal.Signals, sent: list[int], killed: bool, tmp_path
) -> None:
    pool, text = _pool(tmp_path)
    child = FakeChild()
    pool.running[-1] = child  # type: ignore[assignment]
    for _ in range(3):
        pool.signals._received.append(number)
        pool._pass_signals_on()
    assert (child.sent, child.killed) == (sent, killed)
    assert ("killed" in text.getvalue()) == killed


def _pool(root: Path, *trials: Trial, resources=ROOMY, **settings) -> tuple[_Pool, io.StringIO]:
    """A pool that does not run yet, and where it prints."""
    text = io.StringIO()
    options = Options(argv=stand_in.argv, env=stand_in.environment(), **settings)
    folder = SweepFolder(root / "outputs" / "sweep-x")
    sweep, source = Sweep("sweep-x", "x", []), GridSource(list(trials))
    return _Pool(folder, sweep, source, resources, options, PlainLines(text)), text


def _until(condition) -> None:
    """Wait for what another process does; the test's own time limit ends it otherwise."""
    import time

    while not condition():
        time.sleep(0.02)


def test_the_environment_of_tests_holds_no_leash() -> None:
    assert "RLAGENT_LEASH" not in os.environ
