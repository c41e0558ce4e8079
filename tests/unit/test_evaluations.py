"""Evaluations on disk: which rollouts count, and what they come to."""

import io

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.image import imread

from rlagent.records.evaluation_text import closing_lines
from rlagent.records.evaluations import (
    EvaluationFolder,
    dashboard_values,
    evaluations_in,
    measures,
)
from rlagent.report.evaluation_page import evaluation_page
from rlagent.report.evaluation_picture import evaluation_picture
from rlagent.report.picture import BLUE


def sample(index: int, run: int = 0, success: bool = True, **more):
    reward = float(success)
    return {
        "phase": "eval",
        "step": 3,
        "set": "heldout",
        "group": index,
        "row": {"index": index, "hash": f"h{index}"},
        "run": run,
        "reward": reward,
        "success": success,
        "error": None,
        "metrics": {
            "reward": reward,
            "success": reward,
            "response_tokens": 10.0,
            "model_calls": 2.0,
            "model_seconds": 1.0,
            "agent_seconds": 0.5,
            "valid": 1.0,
            "politeness": 0.25,
        },
        **more,
    }


def failed(index: int, run: int = 0):
    row = sample(index, run, success=False)
    return {**row, "reward": None, "metrics": {}, "error": "ValueError: no"}


def test_measures_of_one_rollout_each() -> None:
    found = measures([sample(0), sample(1, success=False)], tasks=2, samples=1)
    assert found["success"] == 0.5
    assert found["pass_at"] == {"1": 0.5}
    assert "majority_at" not in found
    assert (found["tokens"], found["turns"], found["seconds_each"]) == (10.0, 2.0, 1.5)
    assert (found["valid"], found["metrics"]) == (1.0, {"politeness": 0.25})


def test_a_rollout_that_failed_is_counted_and_listed_and_no_success() -> None:
    found = measures([sample(0), failed(1)], tasks=2, samples=1)
    assert (found["success"], found["failed"], found["failed_share"]) == (0.5, 1, 0.5)
    assert found["failures"] == [
        {"row": {"index": 1, "hash": "h1"}, "run": 0, "error": "ValueError: no"}
    ]
    # What it would have taken is not known.
    assert found["tokens"] == 10.0


def test_a_rollout_that_left_no_record_is_one_that_failed() -> None:
    found = measures([sample(0, 0), sample(0, 1), sample(1, 0)], tasks=3, samples=2)
    assert found["success"] == pytest.approx(3 / 6)
    assert found["failed"] == 3
    # Tasks succeeded 2, 1 and 0 times of 2.
    assert found["pass_at"] == {"1": pytest.approx(0.5), "2": pytest.approx(2 / 3)}


def test_majorities_are_measured_where_answers_are_handed_over() -> None:
    rows = [
        sample(0, 0, answer="4"),
        sample(0, 1, answer="4"),
        sample(0, 2, success=False, answer="5"),
        sample(0, 3, success=False, answer="6"),
    ]
    found = measures(rows, tasks=1, samples=4)
    assert found["success"] == 0.5
    # Of pairs the first is right, the second is not.
    assert found["majority_at"] == {"2": 0.5, "4": 1.0}


def test_of_a_rollout_that_was_run_again_the_last_counts(tmp_path) -> None:
    folder = EvaluationFolder(tmp_path)
    for row in (sample(0, success=False), sample(1), sample(0), {**sample(0), "step": 4}):
        folder.rollouts.append(row)
    assert [row["success"] for row in folder.samples(3)] == [True, True]


def test_an_evaluation_is_found_once_something_was_measured(tmp_path) -> None:
    folder = EvaluationFolder(tmp_path / "evaluations" / "gsm8k-1")
    folder.make()
    assert evaluations_in(tmp_path) == []
    folder.write_results({"measured": []})
    assert evaluations_in(tmp_path) == []
    folder.write_results({"measured": [{"step": 3}, {"step": 0}]})
    assert [each.name for each in evaluations_in(tmp_path)] == ["gsm8k-1"]
    assert [each["step"] for each in folder.measured()] == [0, 3]


def test_the_closing_words_hold_the_table_and_the_first_failure(tmp_path) -> None:
    one = {"checkpoint": "step 3", "seconds": 2.0, **measures([sample(0), failed(1)], 2, 1)}
    text = "\n".join(closing_lines(EvaluationFolder(tmp_path), [one]))
    assert "50.0 %" in text
    assert "step 3: 1 of 2 rollouts failed; the first: ValueError: no" in text
    assert "results.json" in text
    assert "success.png" in text


def test_a_dashboard_gets_the_numbers_by_dataset() -> None:
    entry = {"seconds": 2.0, **measures([sample(0, 0), sample(0, 1, False)], 1, 2)}
    found = dashboard_values({"dataset": "gsm8k"}, entry)
    assert found["evaluate/gsm8k/success"] == 0.5
    assert found["evaluate/gsm8k/pass_at/2"] == 1.0
    assert found["evaluate/gsm8k/politeness"] == 0.25


def test_the_page_shows_measures_and_conversations_and_runs_nothing_of_them(tmp_path) -> None:
    folder = EvaluationFolder(tmp_path / "gsm8k-1")
    hostile = "<script>alert(1)</script>"
    rows = [sample(0, task={"question": hostile}), failed(1)]
    for row in rows:
        folder.rollouts.append({**row, "error": row["error"] and hostile})
    entries = [
        {"step": step, "checkpoint": f"step {step}", "seconds": 1.0, **measures(rows, 2, 1)}
        for step in (0, 3)
    ]
    folder.write_results(
        {"run": "demo-1", "dataset": "gsm8k", "depends": {"seed": hostile}, "measured": entries}
    )
    text = evaluation_page(folder)
    assert hostile not in text
    assert "demo-1 on gsm8k" in text
    assert "failed: 1" in text
    assert "Success over the checkpoints" in text


def test_a_metric_that_is_no_number_has_no_mean_and_the_results_stay_json(tmp_path) -> None:
    row = {"metrics": {"reward": 1.0, "score": float("nan")}, "success": True, "error": None}
    found = measures([row], 1, 1)
    assert found["metrics"] == {"score": None}
    folder = EvaluationFolder(tmp_path)
    folder.write_results({"measured": [found]})
    assert "NaN" not in folder.results_json.read_text()


@pytest.mark.parametrize("steps", [(0,), (0, 3), (0, 3, 6)])
def test_the_picture_shows_success_by_checkpoint(tmp_path, steps) -> None:
    folder = EvaluationFolder(tmp_path / "gsm8k-1")
    rows = [sample(0), failed(1)]
    entries = [
        {"step": step, "checkpoint": f"step {step}", "seconds": 1.0, **measures(rows, 2, 1)}
        for step in steps
    ]
    folder.make()
    folder.write_results({"run": "cost $1 or $2", "dataset": "gsm8k", "measured": entries})
    pixels = imread(io.BytesIO(evaluation_picture(folder)))
    assert pixels.shape[:2] == (600, 1200)
    blue = np.abs(pixels[..., :3] - to_rgb(BLUE)).max(axis=2) < 0.02
    columns = np.flatnonzero(blue.any(axis=0))
    # One point with its interval, or points from the first step to the last.
    assert (np.ptp(columns) > 800) == (len(steps) > 1)
