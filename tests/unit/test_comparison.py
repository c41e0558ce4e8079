"""Comparing runs and evaluations from their records."""

import csv
import io
import shutil

import pytest

from rlagent import compare as command
from rlagent.config.compose import to_yaml
from rlagent.records.evaluations import EvaluationFolder, measures
from rlagent.records.folder import RunFolder
from rlagent.report.comparison import compare, resolve_side
from rlagent.report.comparison_page import page
from rlagent.report.comparison_text import csv_text, markdown, terminal
from tests.configured import configured

HOSTILE = "<script>alert(1)</script>"


def rollout(index: int, success: bool, step: int, run: int = 0):
    reward = float(success)
    said = {"role": "assistant", "content": f"It is {index + success}."}
    return {
        "phase": "eval",
        "step": step,
        "set": "heldout",
        "group": index,
        "run": run,
        "row": {"index": index, "hash": f"h{index}"},
        "task": {"question": f"What is {index}? {HOSTILE}", "answer": str(index + 1)},
        "reward": reward,
        "success": success,
        "error": None,
        "metrics": {"reward": reward, "success": reward, "response_tokens": 5.0},
        "answer": str(index + success),
        "calls": [
            {
                "agent": "a",
                "conversation": 0,
                "messages": [{"role": "user", "content": f"What is {index}?"}],
                "response": said,
                "prompt_tokens": 3,
                "response_tokens": 5,
                "finish": "stop",
            }
        ],
    }


def make(root, name: str, successes: str, *overrides: str) -> RunFolder:
    """A run with an evaluation before training, and one after it of the given successes."""
    run = RunFolder(root / name)
    run.make()
    run.config_yaml.write_text(to_yaml(configured("hardware=cpu", *overrides)))
    run.write_status(state="finished")
    for step, each in ((0, "0" * len(successes)), (4, successes)):
        share = sum(map(int, each)) / len(each)
        run.append_metrics("explorer", step, {"eval/success": share, "eval/tasks": len(each)})
        for index, success in enumerate(each):
            run.rollouts.append(rollout(index, success == "1", step))
    run.append_metrics("trainer", 4, {"tokens/trained": 1000})
    return run


@pytest.fixture
def runs(tmp_path) -> list[RunFolder]:
    return [
        make(tmp_path, "a-00000001", "11000000"),
        make(tmp_path, "b-00000002", "10111110", "algorithm.lr=0.01", "seed=2"),
    ]


def test_two_runs_are_compared_on_the_tasks_of_their_last_evaluations(runs) -> None:
    found = compare(runs)
    assert found.differing == [("seed", [1, 2]), ("algorithm.lr", ["auto", 0.01])]
    (pairing,) = found.pairings
    assert pairing.found.tasks == 8
    assert (pairing.found.before, pairing.found.after) == (0.25, 0.75)
    assert [pairing.tasks[index][0] for index in pairing.found.better] == [2, 3, 4, 5, 6]
    assert [pairing.tasks[index][0] for index in pairing.found.worse] == [1]
    assert pairing.found.p == pytest.approx(2 * 7 / 64)


def test_runs_are_measured_by_the_evaluation_that_they_have_in_common(runs) -> None:
    for run, successes in zip(runs, ("10", "11"), strict=True):
        folder = EvaluationFolder(run.path / "evaluations" / "gsm8k-1")
        rows = [rollout(index + 50, each == "1", 4) for index, each in enumerate(successes)]
        for row in rows:
            folder.rollouts.append(row)
        entry = {"step": 4, "checkpoint": "step 4", "seconds": 1.0, **measures(rows, 2, 1)}
        depends = {"dataset": {"path": "gsm8k"}, "sampling": {"samples": 1}}
        folder.write_results({"depends": depends, "measured": [entry]})
    found = compare(runs)
    assert "evaluation gsm8k-1" in found.sides[0].measurements[0].words
    assert found.pairings[0].found.tasks == 2
    # An evaluation by itself, too.
    named = [resolve_side(f"{run.name}/gsm8k-1", run.path.parent) for run in runs]
    assert compare(named).pairings[0].found.tasks == 2
    # A run that lacks it is compared by the evaluations of training.
    other = make(runs[0].path.parent, "c-00000003", "11111111")
    assert compare([runs[0], other]).pairings[0].found.tasks == 8


def test_runs_are_compared_on_each_taskset_that_all_were_evaluated_on(runs) -> None:
    asked = {"sums": 50, "words": 60}
    for run, successes in zip(runs, ("10", "11"), strict=True):
        for name, first in asked.items():
            folder = EvaluationFolder(run.path / "evaluations" / f"{name}-1")
            rows = [rollout(first + place, each == "1", 4) for place, each in enumerate(successes)]
            for row in rows:
                folder.rollouts.append(row)
            entry = {"step": 4, "checkpoint": "step 4", "seconds": 1.0, **measures(rows, 2, 1)}
            depends = {"dataset": {"path": name, "tasks": 2}, "sampling": {"samples": 1}}
            results = {"dataset": name, "depends": depends, "measured": [entry]}
            folder.write_results(results)
            if run is runs[0]:
                # Another way to sample, which the other run lacks.
                other = EvaluationFolder(run.path / "evaluations" / f"{name}-2")
                other.make()
                other.write_results({**results, "depends": {**depends, "sampling": {}}})
    found = compare(runs)
    assert [pairing.one.dataset for pairing in found.pairings] == list(asked)
    assert [pairing.tasks[0][0] for pairing in found.pairings] == list(asked.values())
    for text in (terminal(found), page(found)):
        assert "Task by task: sums" in text
        assert "Task by task: words" in text
        assert "a-00000001: step 4, evaluation words-1" in text
    # Of what only one of them was asked nothing is compared.
    shutil.rmtree(runs[1].path / "evaluations" / "words-1")
    (pairing,) = compare(runs).pairings
    assert pairing.one.dataset == "sums"


def test_text_says_what_differs_how_much_and_where(runs) -> None:
    text = terminal(compare(runs))
    assert "algorithm.lr" in text
    assert "b-00000002 against a-00000001, on 8 shared tasks: 25.0 % -> 75.0 %, +50.0" in text
    assert "5 tasks got better and 1 worse; exact McNemar test: p = 0.219" in text
    assert "| b-00000002 | step 4 | 75.0 %" in markdown(compare(runs))


def test_nothing_that_was_said_or_set_acts_on_the_terminal(runs) -> None:
    acts = "\x1b[2J\nowned\u202e"
    run = runs[1]
    run.config_yaml.write_text(to_yaml(configured("hardware=cpu", f"workflow.args.hint='{acts}'")))
    run.rollouts.append({**rollout(2, True, 4), "answer": acts})
    run.rollouts.append({**rollout(1, False, 4), "error": acts})
    for text in (terminal(compare(runs)), markdown(compare(runs))):
        assert "\x1b" not in text
        assert "\u202e" not in text
        assert not [line for line in text.splitlines() if line.startswith("owned")]


def test_an_evaluation_that_is_under_way_is_not_compared(runs) -> None:
    runs[1].rollouts.append(rollout(0, True, 8))
    (pairing,) = compare(runs).pairings
    assert pairing.found.tasks == 8
    assert pairing.two.words == "step 4, evaluated in training"


def test_a_rollout_that_left_no_record_is_no_success_of_its_task(tmp_path) -> None:
    sides = []
    for name, samples in (("a", (True, False)), ("b", (True,))):
        folder = EvaluationFolder(tmp_path / "evaluations" / name)
        rows = [rollout(0, success, 4, run) for run, success in enumerate(samples)]
        for row in rows:
            folder.rollouts.append(row)
        entry = {"step": 4, "checkpoint": "step 4", "seconds": 1.0, **measures(rows, 1, 2)}
        folder.write_results({"depends": {}, "measured": [entry]})
        sides.append(folder)
    (pairing,) = compare(sides).pairings
    assert (pairing.found.before, pairing.found.after) == (0.5, 0.5)


def test_only_what_is_compared_is_read(runs, monkeypatch) -> None:
    for run in runs:
        folder = EvaluationFolder(run.path / "evaluations" / "gsm8k-1")
        rows = [rollout(0, True, step) for step in (2, 4)]
        for row in rows:
            folder.rollouts.append(row)
        entries = [
            {"step": row["step"], "checkpoint": "one", "seconds": 1.0, **measures([row], 1, 1)}
            for row in rows
        ]
        folder.write_results({"depends": {}, "measured": entries})
    read = []
    samples = EvaluationFolder.samples
    monkeypatch.setattr(
        EvaluationFolder, "samples", lambda self, step: read.append(step) or samples(self, step)
    )
    assert compare(runs).pairings[0].found.tasks == 1
    assert read == [4, 4]


def test_csv_has_a_row_for_each_shared_task(runs) -> None:
    rows = list(csv.reader(io.StringIO(csv_text(compare(runs)))))
    tasks = [
        row for row in rows if row and row[1:2] and row[1].startswith("h") and row[0].isdigit()
    ]
    assert len(tasks) == 8


def test_the_page_shows_both_conversations_and_runs_nothing_of_them(runs) -> None:
    text = page(compare(runs))
    assert "It is 3." in text
    assert HOSTILE not in text
    assert "Held-out success over tokens" in text


def test_runs_of_other_tasks_are_not_paired(runs, tmp_path) -> None:
    other = RunFolder(tmp_path / "d-00000004")
    other.make()
    other.write_status(state="finished")
    other.rollouts.append(rollout(99, True, 0))
    found = compare([runs[0], other])
    assert found.pairings == []
    assert "Not all were asked the same tasks" in terminal(found)


def test_the_command_names_a_run_that_is_not_there(runs, capsys) -> None:
    root = str(runs[0].path.parent)
    assert command.main([runs[0].name, "nope", "--root", root]) == 2
    assert "b-00000002" in capsys.readouterr().err
    assert command.main([runs[0].name, runs[1].name, "--root", root]) == 0
    assert "McNemar" in capsys.readouterr().out
