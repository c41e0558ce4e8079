"""Sweeps of real trials: side by side, failing, interrupted, killed, continued; none is lost."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rlagent.base.process import start_ticks
from rlagent.planner.layout import Layout
from rlagent.records.folder import RunFolder
from rlagent.records.sweep_store import Sweep, SweepFolder, TrialRow
from tests.cpu.runs import REPOSITORY, command, environment, ray_processes
from tests.cpu.wandb_reader import OfflineRun
from tests.unit.test_report import Tags

SHORT = ("algorithm.total_steps=1", "dataset.eval_tasks=4", "algorithm.batch_size=2")

ROLES = ("explorer", "trainer", "driver")


@pytest.fixture
def start() -> Iterator[Callable[..., subprocess.Popen]]:
    """Starts sweeps, each in a session of its own as a shell would; ends those that are left."""
    started: list[subprocess.Popen] = []

    def start(directory: Path, *overrides: str) -> subprocess.Popen:
        process = subprocess.Popen(
            command(directory, "-m", *SHORT, *overrides),
            cwd=REPOSITORY,
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        # Its trials follow it.
        process.kill()
        process.wait()


def sweep_in(directory: Path) -> tuple[SweepFolder, Sweep]:
    """The one sweep below a directory."""
    (path,) = (directory / "outputs").glob("sweep-*")
    folder = SweepFolder(path)
    return folder, folder.read()


def states(sweep: Sweep) -> list[str]:
    return [row.state for row in sweep.trials]


def wait_for(condition) -> None:
    """Wait for what other processes do; the limit of the test ends it otherwise."""
    while not condition():
        time.sleep(0.1)


def rows(directory: Path, state: str) -> int:
    """How many trials are in a state; 0 before there is a sweep."""
    if not list((directory / "outputs").glob("sweep-*/sweep.json")):
        return 0
    return states(sweep_in(directory)[1]).count(state)


@pytest.mark.slow
def test_two_trials_train_at_the_same_time_and_are_ranked(start, tmp_path) -> None:
    process = start(tmp_path, "monitor=local", "seed=1,2", "sweep.max_parallel=2")
    output, _ = process.communicate()
    assert process.returncode == 0, output
    folder, sweep = sweep_in(tmp_path)
    assert states(sweep) == ["finished", "finished"]
    one, two = sweep.trials
    assert one.started < two.ended
    assert two.started < one.ended
    for row in sweep.trials:
        run = folder.run_folder(row)
        assert run.read_status()["steps_trained"] == 1
        assert row.objective == run.read_metrics("explorer")[-1]["metrics"]["eval/success"]
    assert f"best trial: {folder.run_folder(sweep.best()).path}" in output
    assert not ray_processes()


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_twelve_trials_two_of_them_failing_survive_kill_9_of_the_launcher(start, tmp_path) -> None:
    overrides = (
        "workflow.function=faulty_agents:fails_for_some",
        "workflow.args.number=range(1,13)",
        "sweep.max_parallel=2",
        "monitor=wandb",
        "monitor.mode=offline",
    )
    process = start(tmp_path, *overrides)
    wait_for(lambda: rows(tmp_path, "finished") >= 4 and rows(tmp_path, "running") == 2)
    folder, before = sweep_in(tmp_path)
    running = [folder.run_folder(row) for row in before.trials if row.state == "running"]
    pids = [status["pid"] for run in running if (status := run.read_status()).get("pid")]
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    wait_for(lambda: all(start_ticks(pid) is None for pid in pids) and not ray_processes())

    process = start(tmp_path, *overrides)
    output, _ = process.communicate()
    assert process.returncode == 1, output
    _, after = sweep_in(tmp_path)
    failed = [row for row in after.trials if row.state == "failed"]
    assert [row.params["workflow.args.number"] for row in failed] == [4, 9]
    assert {row.failure for row in failed} == {"workflow error"}
    assert states(after).count("finished") == 10
    # What was finished before was not run again.
    done = {row.trial_id for row in before.trials if row.state == "finished"}
    assert all(row.tries == 1 for row in after.trials if row.trial_id in done)
    assert "failed, workflow error: 2" in output
    assert not ray_processes()
    for row in after.trials:
        check_wandb(folder, row, whole=row.tries == 1)
    page = folder.report_html.read_text()
    links = [link["href"] for tag, link in Tags(page).found if tag == "a"]
    assert len(links) == 12
    assert all((folder.path / link).is_file() for link in links)
    assert page.count("<tr") == 1 + 12


def check_wandb(folder: SweepFolder, row: TrialRow, whole: bool) -> None:
    """W&B's run of a trial holds what its run folder does.

    Args:
        folder: The sweep's.
        row: The trial's.
        whole: Whether it ran in one go: else W&B was spared what the resume superseded.
    """
    run = folder.run_folder(row)
    (directory,) = run.wandb_dir.glob("offline-run-*")
    recorded = OfflineRun(directory)
    assert recorded.run.run_group == folder.name
    assert recorded.run.display_name == " ".join(row.overrides)
    assert set(recorded.run.tags) == {"gsm8k_react", recorded.config["model"]["name"], row.layout}
    assert recorded.config["hardware"]["layout"] == row.layout
    assert recorded.config["derived"]["engines"] == Layout.parse(row.layout).engines
    tasks, group = 2, recorded.config["algorithm"]["repeat_times"]
    assert recorded.config["derived"]["rollouts"] == tasks * group
    assert recorded.summary["status"] == row.state
    assert recorded.summary.get("failure_class") == row.failure
    assert recorded.exit_code == row.exit_code
    sent, kept = sent_values(recorded), kept_values(run, recorded)
    if row.state == "finished":
        assert recorded.summary["objective"] == row.objective
        assert sent["explorer", 1, "eval/success"] == row.objective
    if whole:
        assert sent == kept
    # A trial that was killed after its last evaluation evaluates again, in other seconds.
    other = {name for (_, _, name), _ in sent.items() - kept.items()}
    assert all("time/" in name or "_seconds" in name for name in other)


def sent_values(recorded: OfflineRun) -> dict[tuple[str, int, str], float]:
    """What W&B was sent, by role, step and name."""
    return {
        (role, values[f"{role}/step"], name): value
        for values in recorded.history
        for role in ROLES
        if f"{role}/step" in values
        for name, value in values.items()
        if not name.startswith("_") and name != f"{role}/step"
    }


def kept_values(run: RunFolder, recorded: OfflineRun) -> dict[tuple[str, int, str], float]:
    """What metrics.jsonl holds, with the role before a name that is drawn over another's steps."""
    return {
        (row["role"], row["step"], shown): value
        for row in run.read_metrics()
        for name, value in row["metrics"].items()
        for shown in [name if owner(recorded, name) == row["role"] else f"{row['role']}/{name}"]
    }


def owner(recorded: OfflineRun, name: str) -> str:
    """The role over whose steps a name is drawn."""
    return recorded.axes[name].removesuffix("/step")


@pytest.mark.slow
def test_ctrl_c_ends_all_trials_and_the_same_command_goes_on(start, tmp_path) -> None:
    overrides = ("monitor=local", "seed=1,2", "sweep.max_parallel=2", "algorithm.total_steps=8")
    process = start(tmp_path, *overrides)
    outputs = tmp_path / "outputs"
    wait_for(lambda: len(list(outputs.glob("gsm8k*/metrics.jsonl"))) == 2)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate()
    assert process.returncode == 130, output
    folder, sweep = sweep_in(tmp_path)
    assert sweep.state == "interrupted"
    # The one that started earlier may be through.
    assert "interrupted" in states(sweep)
    assert set(states(sweep)) <= {"interrupted", "finished"}
    assert not ray_processes()
    process = start(tmp_path, *overrides)
    output, _ = process.communicate()
    assert process.returncode == 0, output
    assert states(sweep_in(tmp_path)[1]) == ["finished", "finished"]
    for row in sweep.trials:
        attempts = 2 if row.state == "interrupted" else 1
        assert folder.run_folder(row).read_status()["attempt"] == attempts


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_layouts_are_compared_on_eight_logical_gpus(start, tmp_path) -> None:
    process = start(
        tmp_path,
        "monitor=local",
        "hardware.logical_gpus=8",
        "+sweep=layouts",
        "algorithm.batch_size=4",
        "algorithm.total_steps=2",
        "sweep.max_trials=2",
    )
    output, _ = process.communicate()
    assert process.returncode == 0, output
    folder, sweep = sweep_in(tmp_path)
    assert states(sweep) == ["finished", "finished"]
    assert "logical GPUs: timings say nothing about GPUs" in output
    for row in sweep.trials:
        run = folder.run_folder(row)
        assert row.layout == row.params["hardware.layout"]
        assert row.objective > 0
        assert "timings say nothing about GPUs" in run.report_html.read_text()
