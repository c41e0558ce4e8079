"""How `rlagent evaluate` ends where something is in its way; its rollouts are not started."""

import json
import os
import signal

import pytest

from rlagent import chat, evaluate
from rlagent.base.endings import RunError
from rlagent.base.errors import Problem, UnreachableError
from rlagent.base.lock import locked
from rlagent.config.compose import to_yaml
from rlagent.config.resolve import resolve
from rlagent.launch.evaluating import Evaluating
from rlagent.machine.resources import Machine
from rlagent.records.evaluations import EvaluationFolder, evaluations_in, measures
from rlagent.records.folder import RunFolder
from tests.configured import configured

CPU = Machine((), 2, 16.0)
FULL = OSError(28, "No space left on device")


@pytest.fixture
def line(tmp_path) -> list[str]:
    """Two evaluations, of which each has a seed."""
    return ["-m", "+experiment=gsm8k_react", "hardware=cpu", "seed=1,2", f"run.dir={tmp_path}"]


@pytest.fixture
def begun() -> list[int]:
    """The seeds whose attempts were begun."""
    return []


def ends_with(monkeypatch, begun: list[int], error: Exception) -> None:
    def attempt(self: Evaluating, asked: list) -> None:
        begun.append(self.stage.resolved.config.seed)
        raise error

    monkeypatch.setattr(Evaluating, "_attempt", attempt)


def measured(self: Evaluating, asked: list) -> None:
    """In place of rollouts: one task, solved."""
    row = {"phase": "eval", "step": 0, "group": 0, "run": 0, "success": True}
    entry = {"step": 0, "checkpoint": "base", "seconds": 1.0, **measures([row], 1, 1)}
    self.results["measured"] = [entry]
    self.folder.write_results(self.results)
    self.new.append(entry)


@pytest.mark.parametrize(
    ("number", "state", "code"),
    [(signal.SIGINT, "interrupted", 130), (signal.SIGTERM, "stopped", 1)],
)
def test_who_asks_for_the_end_of_one_ends_those_after_it_too(
    capsys, tmp_path, monkeypatch, line, begun, number, state, code
) -> None:
    def asked_to_end(self: Evaluating, asked: list) -> None:
        begun.append(self.stage.resolved.config.seed)
        os.kill(os.getpid(), number)
        self.stage.tick()

    monkeypatch.setattr(Evaluating, "_attempt", asked_to_end)
    assert evaluate.main(line) == code
    assert begun == [1]
    (folder,) = (tmp_path / "evaluations").iterdir()
    assert EvaluationFolder(folder).read_status()["state"] == state
    said = capsys.readouterr().out
    assert "the same command again goes on from here" in said
    # A table without a row says nothing.
    assert "checkpoint  success" not in said


def test_one_that_fails_costs_those_after_it_nothing(
    capsys, tmp_path, monkeypatch, line, begun
) -> None:
    ends_with(monkeypatch, begun, RunError("explorer: out of memory"))
    assert evaluate.main(line) == 1
    assert begun == [1, 2]
    assert capsys.readouterr().out.count("failed: explorer: out of memory") == 2


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (FULL, "No space left on device"),
        (
            UnreachableError([Problem("model.key_env", "KEY", "the endpoint refuses the key")]),
            "model.key_env=KEY: the endpoint refuses the key",
        ),
    ],
)
def test_what_fails_on_the_way_is_one_line_and_leaves_what_was_measured(
    capsys, tmp_path, monkeypatch, begun, error, said
) -> None:
    line = ["+experiment=gsm8k_react", "hardware=cpu", f"run.dir={tmp_path}"]
    ends_with(monkeypatch, begun, error)
    assert evaluate.main(line) == 1
    (line_of_it,) = [each for each in capsys.readouterr().out.splitlines() if said in each]
    assert line_of_it.endswith("the same command again goes on from here")
    (folder,) = (EvaluationFolder(path) for path in (tmp_path / "evaluations").iterdir())
    assert folder.read_results()["measured"] == []
    assert said in folder.read_status()["cause"]
    # Nothing that was cut off counts as an evaluation.
    assert evaluations_in(tmp_path) == []


def test_a_disk_that_is_full_from_the_start_is_one_line(capsys, tmp_path, monkeypatch) -> None:
    def full(*_) -> None:
        raise FULL

    monkeypatch.setattr(EvaluationFolder, "write_results", full)
    line = ["+experiment=gsm8k_react", "hardware=cpu", f"run.dir={tmp_path}"]
    assert evaluate.main(line) == 1
    assert capsys.readouterr().err.splitlines() == [f"rlagent evaluate: {FULL}"]


@pytest.fixture
def run(tmp_path) -> RunFolder:
    folder = RunFolder(tmp_path / "demo-0123abcd")
    folder.make()
    resolved = resolve(configured("hardware=cpu"), CPU)
    folder.config_yaml.write_text(to_yaml(resolved.config))
    folder.write_status(state="running", pid=os.getpid())
    return folder


def test_a_run_that_its_trainer_has_in_use_is_measured_all_the_same(run, monkeypatch) -> None:
    monkeypatch.setattr(Evaluating, "_attempt", measured)
    with locked(run.path) as lock:
        assert lock is not None
        assert evaluate.main([str(run.path), "checkpoint=base"]) == 0
    (found,) = evaluations_in(run.path)
    assert [each["success"] for each in found.measured()] == [1.0]
    # The trainer's own mirror sends them.
    (row,) = run.read_metrics("evaluate")
    assert row["metrics"]["evaluate/gsm8k_tiny/success"] == 1.0


def test_what_was_measured_is_drawn_where_that_was_cut_off(run, monkeypatch) -> None:
    monkeypatch.setattr(Evaluating, "_attempt", measured)
    line = [str(run.path), "checkpoint=base", "evaluate.name=mine"]
    place = EvaluationFolder(run.path / "evaluations" / "mine")
    assert evaluate.main(line) == 0
    assert place.report_html.is_file()
    drawn = place.picture.stat().st_mtime_ns
    assert evaluate.main(line) == 0
    assert place.picture.stat().st_mtime_ns == drawn
    # Of fewer checkpoints than are measured.
    os.utime(place.picture, ns=(0, 0))
    assert evaluate.main(line) == 0
    assert place.picture.stat().st_mtime_ns > 0


def test_two_evaluations_of_one_place_are_refused_at_once(run, monkeypatch, capsys) -> None:
    monkeypatch.setattr(Evaluating, "_attempt", measured)
    place = EvaluationFolder(run.path / "evaluations" / "mine")
    place.make()
    with locked(place.path):
        line = [str(run.path), "checkpoint=base", "evaluate.name=mine"]
        assert evaluate.main(line) == 1
    assert f"{place.path} is in use by an evaluation" in capsys.readouterr().out
    assert not place.results_json.exists()


def test_rows_that_lack_a_column_are_named_before_anything_starts(
    run, tmp_path, monkeypatch, capsys
) -> None:
    monkeypatch.setattr(Evaluating, "_attempt", lambda *_: pytest.fail("it was begun"))
    file = tmp_path / "own.jsonl"
    file.write_text(json.dumps({"question": "1 + 1?"}) + "\n")
    assert evaluate.main([str(run.path), "checkpoint=base", f"dataset.path={file}"]) == 2
    (said,) = capsys.readouterr().err.splitlines()
    assert "dataset.columns=answer" in said


def test_a_chat_with_a_run_that_is_not_there_is_refused_in_a_line(run, capsys) -> None:
    assert chat.main(["nope", "--root", str(run.path.parent)]) == 2
    (said,) = capsys.readouterr().err.splitlines()
    assert "demo-0123abcd" in said
