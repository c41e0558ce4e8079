"""W&B and TensorBoard hold what metrics.jsonl holds, and their failures stay their own."""

import contextlib
import json
import os
import select
import subprocess
import sys
import textwrap
import time
from types import SimpleNamespace

import psutil
import pytest

from rlagent import sync
from rlagent.base.stats import series
from rlagent.config.schema import MonitorConfig
from rlagent.records.checkpoints import LATEST_CHECKPOINT
from rlagent.records.folder import RunFolder
from rlagent.records.mirror import NoMirror, RunInfo, make_mirror, wandb_id
from rlagent.records.wandb_sink import WandbSink, _open_run, trial_summary
from tests.cpu.wandb_reader import OfflineRun

INFO = {
    "trial_id": "0123abcd",
    "name": "demo-0123abcd",
    "group": "demo",
    "tags": ("tiny",),
    "config": {"seed": 3, "trinity": {"monitor": {"api_key": "sesame"}}},
    "derived": {"rollouts_per_step": 64},
}


def private_folder(tmp_path, monkeypatch) -> RunFolder:
    """A run folder, with no W&B account of this machine in reach."""
    for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_BASE_URL", "NETRC"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return RunFolder(tmp_path / "demo-0123abcd")


@pytest.fixture
def folder(tmp_path, monkeypatch) -> RunFolder:
    return private_folder(tmp_path, monkeypatch)


def run_attempt(folder, kind, steps, resumed_from=None, offset=0.0, status=None, **limits):
    """One attempt as a driver does it: rows appended and told of one by one."""
    lines: list[str] = []
    folder.new_attempt()
    mirror = make_mirror(MonitorConfig(type=kind), folder, lines.append, **limits)
    mirror.start(RunInfo(**INFO, resumed_from=resumed_from))
    for step in steps:
        folder.append_metrics(
            "explorer", step, {"rollout/reward/mean": step / 100 + offset, "time/step": 1.0}
        )
        folder.append_metrics(
            "trainer", step, {"actor/ppo_kl": step / 1e4 + offset, "time/step": 2.0}
        )
        mirror.log([{}, {}])
    folder.write_status(state="finished", exit_code=0, success_before=0.4, success_after=0.9)
    folder.write_status(**(status or {}))
    return mirror.finish(folder.read_status()), lines


def offline_runs(folder) -> list[OfflineRun]:
    return [OfflineRun(p) for p in sorted(folder.wandb_dir.glob("offline-run-*"))]


def test_an_offline_wandb_run_holds_the_numbers_of_metrics_jsonl(folder):
    place, lines = run_attempt(folder, "wandb", range(1, 40))
    assert lines == []
    assert place.endswith(f" -m rlagent.sync {folder.path}")
    (run,) = offline_runs(folder)
    assert run.run.run_id == folder.wandb_id_file.read_text().strip()
    assert run.run.run_id.startswith("0123abcd-")
    assert (run.run.display_name, run.run.run_group) == ("demo-0123abcd", "demo")
    assert list(run.run.tags) == ["tiny"]
    assert run.config["seed"] == 3
    assert run.config["derived"] == {"rollouts_per_step": 64}
    rows = folder.read_metrics()
    for role, name in (("explorer", "rollout/reward/mean"), ("trainer", "actor/ppo_kl")):
        wanted = series(rows, name, role)
        shown = [(h[f"{role}/step"], h[name]) for h in run.history if name in h]
        assert shown == list(zip(wanted.steps, wanted.values, strict=True))
        assert run.axes[name] == f"{role}/step"
    assert run.summary["success_after"] == 0.9
    assert run.summary["state"] == "finished"
    assert run.exit_code == 0


@pytest.fixture(scope="module")
def one_step(tmp_path_factory) -> RunFolder:
    """A run of one step that W&B mirrored; no test writes to it."""
    with pytest.MonkeyPatch.context() as patch:
        folder = private_folder(tmp_path_factory.mktemp("one"), patch)
        run_attempt(folder, "wandb", [1])
    return folder


def test_a_name_that_two_roles_use_gets_the_role_before_it(one_step):
    (run,) = offline_runs(one_step)
    values = {name: value for row in run.history for name, value in row.items()}
    assert (values["time/step"], values["trainer/time/step"]) == (1.0, 2.0)


def test_keys_reach_neither_wandb_nor_the_run_folder(one_step):
    for path in one_step.path.rglob("*"):
        assert path.is_dir() or b"sesame" not in path.read_bytes(), path


def test_steps_that_a_resume_repeats_appear_once_in_wandb(folder, capsys):
    failed = {"state": "failed", "exit_code": 1}
    place, _ = run_attempt(folder, "wandb", range(1, 8), status=failed)
    run_attempt(folder, "wandb", range(6, 11), resumed_from=5, offset=0.5)
    (run,) = offline_runs(folder)
    # What was printed before the resume still names what there is to upload.
    assert sync.main([*place.split("rlagent.sync ")[1:], "--dry-run"]) == 0
    (directory,) = folder.wandb_dir.glob("offline-run-*")
    assert str(directory) in capsys.readouterr().out
    name = "rollout/reward/mean"
    shown = [(h["explorer/step"], h[name]) for h in run.history if name in h]
    wanted = series(folder.read_metrics(), name)
    assert shown == list(zip(wanted.steps, wanted.values, strict=True))
    assert run.run.run_id == folder.wandb_id_file.read_text().strip()


@pytest.mark.slow
def test_an_offline_run_that_was_synced_is_continued_and_not_repeated(folder):
    run_attempt(folder, "wandb", range(1, 8))
    (first,) = folder.wandb_dir.glob("offline-run-*")
    (first / "run.wandb.synced").touch()
    run_attempt(folder, "wandb", range(6, 11), resumed_from=5)
    shown = [
        h["trainer/step"]
        for run in offline_runs(folder)
        for h in run.history
        if "actor/ppo_kl" in h
    ]
    assert shown == list(range(1, 11))


def test_tensorboard_holds_the_numbers_of_metrics_jsonl_once(folder):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run_attempt(folder, "tensorboard", range(1, 8))
    place, lines = run_attempt(folder, "tensorboard", range(6, 11), resumed_from=5, offset=0.5)
    assert lines == []
    assert place.endswith(f"--logdir {folder.tensorboard_dir}")
    events = EventAccumulator(str(folder.tensorboard_dir)).Reload()
    rows = folder.read_metrics()
    for name in ("rollout/reward/mean", "actor/ppo_kl"):
        wanted = series(rows, name)
        shown = events.Scalars(name)
        assert [e.step for e in shown] == list(wanted.steps)
        # Event files hold 32-bit floats.
        assert [e.value for e in shown] == pytest.approx(wanted.values, rel=1e-6)
    assert events.Scalars("final/success_after")[0].value == pytest.approx(0.9)


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ("raise RuntimeError('the moon is down')", "the moon is down"),
        ("import time; time.sleep(1000)", "did not finish within 2 s"),
        ("import os; os._exit(9)", "status 9"),
    ],
)
def test_a_wandb_that_fails_hangs_or_dies_leaves_training_alone(folder, monkeypatch, body, told):
    stub = folder.path.parent / "stub" / "wandb"
    (stub / "sdk").mkdir(parents=True)
    (stub / "sdk" / "__init__.py").touch()
    (stub / "sdk" / "wandb_settings.py").write_text(
        "class Settings:\n    x_disable_stats: bool = False\n    x_disable_meta: bool = False\n"
    )
    (stub / "__init__.py").write_text(
        textwrap.dedent(
            f"""
            class Error(Exception): pass
            class Settings:
                def __init__(self, **kwargs): pass
            def init(**kwargs):
                {body}
            def teardown():
                pass
            """
        )
    )
    monkeypatch.setenv("PYTHONPATH", str(stub.parent))
    lines: list[str] = []
    folder.new_attempt()
    mirror = make_mirror(MonitorConfig(type="wandb"), folder, lines.append, finish_timeout=2)
    mirror.start(RunInfo(**INFO))
    if "exit" in body:
        mirror._process.wait()
        mirror._reader.join()
    for step in range(100_000):
        mirror.log([{"step": step}])
    mirror.finish({"state": "finished"})
    assert len(lines) == 1
    assert told in lines[0]
    assert mirror._process.poll() is not None


def test_an_unreachable_wandb_server_means_an_offline_run(folder, monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    _, lines = run_attempt(folder, "wandb", [1, 2], init_timeout=3)
    assert len(lines) == 1
    assert "kept offline" in lines[0]
    assert [
        h["trainer/step"] for r in offline_runs(folder) for h in r.history if "actor/ppo_kl" in h
    ] == [1, 2]


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"tags": ("n" * 65,)}, "the tag"),
        ({"tags": ("", "\ud800")}, None),
        ({"name": "n" * 200, "group": "g" * 200}, "its name"),
    ],
)
def test_a_name_that_wandb_does_not_take_loses_no_run(folder, changes, named):
    lines: list[str] = []
    folder.new_attempt()
    mirror = make_mirror(MonitorConfig(type="wandb", project="team/proj"), folder, lines.append)
    mirror.start(RunInfo(**{**INFO, **changes}))
    folder.append_metrics("trainer", 1, {"a*b": 1.0, "loss": 2.0})
    folder.write_status(state="failed", exit_code=1, cause="\ud800")
    assert mirror.finish(folder.read_status())
    (run,) = offline_runs(folder)
    assert [row["loss"] for row in run.history] == [2.0]
    assert [row["a*b"] for row in run.history] == [1.0]
    assert "its project 'team/proj' is 'team-proj' there" in lines[0]
    assert named is None or any(named in line for line in lines)


def test_what_wandb_refuses_for_a_reason_of_its_own_is_kept_offline(folder, monkeypatch):
    asked = []

    def init(spec, folder, mode):
        asked.append(mode)
        if spec["tags"]:
            raise ValueError("no tags today\nmore")
        return spec

    monkeypatch.setattr("rlagent.records.wandb_sink._init", init)
    lines: list[str] = []
    spec = {"id": "0123abcd-x", "project": "demo", "name": "n", "group": "g", "tags": ["t"]}
    run, mode = _open_run(spec, folder, "online", lines.append)
    assert (asked, mode) == (["online", "offline", "offline"], "offline")
    assert (run["project"], run["name"]) == ("rlagent", "0123abcd-x")
    (line,) = lines
    assert "(no tags today); it is kept offline as 0123abcd-x" in line


def test_a_wandb_that_dies_in_the_midst_is_opened_again_offline_and_lacks_no_row(folder):
    lines: list[str] = []
    folder.new_attempt()
    mirror = make_mirror(MonitorConfig(type="wandb"), folder, lines.append)
    mirror.start(RunInfo(**INFO))

    def train(step):
        folder.append_metrics("trainer", step, {"loss": step / 8})
        mirror.log([{}])

    train(1)
    sent = folder.path / "wandb_sent"
    wait_until(lambda: sent.is_file() and json.loads(sent.read_text())["offline_bytes"])
    children = psutil.Process(mirror._process.pid).children(recursive=True)
    (service,) = [child for child in children if "wandb-core" in child.name()]
    service.kill()
    for step in range(2, 6):
        train(step)
    folder.write_status(state="finished", exit_code=0)
    assert mirror.finish(folder.read_status())
    assert len(lines) == 1
    assert "the run goes on offline" in lines[0]
    (run,) = offline_runs(folder)
    assert [row["trainer/step"] for row in run.history] == [1, 2, 3, 4, 5]
    assert run.summary["state"] == "finished"


def wait_until(what, seconds=60):
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_local_means_the_run_folder_alone(folder):
    assert isinstance(make_mirror(MonitorConfig(), folder, print), NoMirror)
    assert run_attempt(folder, "local", [1])[0] is None


def test_the_wandb_id_is_made_once(folder):
    assert wandb_id(folder, "0123abcd") == wandb_id(folder, "0123abcd")


def test_wandb_set_to_disabled_is_off_and_says_so(folder, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "disabled")
    place, lines = run_attempt(folder, "wandb", [1])
    assert place is None
    assert lines == ["W&B is off, because WANDB_MODE=disabled"]


def test_a_killed_driver_leaves_no_mirror_behind_and_no_row_out(folder):
    code = textwrap.dedent(
        f"""
        import os, sys
        from rlagent.config.schema import MonitorConfig
        from rlagent.records.folder import RunFolder
        from rlagent.records.mirror import RunInfo, make_mirror
        folder = RunFolder({str(folder.path)!r})
        folder.new_attempt()
        folder.write_status(state="running", pid=os.getpid(), cause="", exit_code=None)
        mirror = make_mirror(MonitorConfig(type="wandb"), folder, print)
        mirror.start(RunInfo("0123abcd", "demo", "demo"))
        folder.append_metrics("trainer", 1, {{"loss": 1.0}})
        print(mirror._process.pid, flush=True)
        os.kill(os.getpid(), 9)
        """
    )
    driver = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    mirror = int(driver.stdout)
    # Not our child, so its end is seen through a file descriptor of the process.
    with contextlib.suppress(ProcessLookupError):
        descriptor = os.pidfd_open(mirror)
        assert select.select([descriptor], [], [], 30)[0], "the mirror still runs"
    (run,) = offline_runs(folder)
    assert [row["loss"] for row in run.history] == [1.0]
    assert (run.summary["status"], run.summary["failure_class"]) == ("died", "killed")
    assert run.exit_code == 1


def test_the_summary_holds_what_trials_are_compared_by(folder):
    folder.append_metrics("explorer", 2, {"eval/success": 0.5})
    cause = "explorer: all 16 rollouts of step 2 failed: KeyError: 'x'"
    status = {"state": "failed", "cause": cause, "exit_code": 1}
    assert trial_summary(folder, "eval/success", status) == {
        "status": "failed",
        "objective": 0.5,
        "failure_class": "workflow error",
    }
    assert trial_summary(folder, "", {"state": "finished"}) == {"status": "finished"}


def test_a_run_that_finishes_when_resumed_has_no_failure_class_any_more(folder):
    run = SimpleNamespace(summary={"failure_class": "killed"}, url="", finish=lambda exit_code: 0)
    WandbSink(run, folder, "online", 0).finish({"state": "finished", "exit_code": 0})
    assert run.summary == {
        "state": "finished",
        "exit_code": 0,
        "status": "finished",
        "failure_class": None,
    }


def test_the_summary_tells_a_pruned_trial_from_one_that_a_person_stopped(folder):
    folder.new_attempt()
    for reason, shown in (("", "stopped"), ("pruned", "pruned")):
        folder.request_stop(reason)
        assert trial_summary(folder, "", {"state": "stopped"}) == {"status": shown}
    # Its last step was trained, saved and measured when the request came.
    folder.append_metrics("explorer", 2, {"eval/success": 0.5})
    status = folder.write_status(state="stopped", steps_asked=2, steps_trained=2)
    folder.checkpoints.mkdir()
    (folder.checkpoints / LATEST_CHECKPOINT).write_text("2")
    found = trial_summary(folder, "eval/success", status)
    assert found == {"status": "finished", "objective": 0.5}
    # It may have been done before it was asked.
    assert trial_summary(folder, "", {"state": "finished"}) == {"status": "finished"}
