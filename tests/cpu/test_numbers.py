"""Every number that a run writes of its rollouts, against the log that its workflow kept itself."""

import hashlib
import json
import math
from collections import Counter, defaultdict
from pathlib import Path

import pytest

from rlagent.records.calls import conversations
from rlagent.records.files import read_rows
from rlagent.report.data import load
from rlagent.report.page import page
from rlagent.report.text import markdown
from tests.cpu.runs import Run, run

HELD_OUT = 8
"""Held-out tasks, each asked once."""

STEPS, TASKS, REPEATS = 5, 3, 2

WEIGHTS = {
    "train": {1: 0, 2: 0, 3: 2, 4: 2, 5: 4},
    # After the last step those of the last step, though it ends no interval.
    "eval": {0: 0, 3: 2, STEPS: STEPS},
}
"""The step whose weights are sampled from, by phase and step."""


def _write(folder: Path, name: str, split: str, rows: int) -> None:
    folder.mkdir()
    lines = [{"set": name, "number": n, "question": f"{name} {n}?"} for n in range(rows)]
    (folder / f"{split}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


@pytest.fixture(scope="module")
def measured(tmp_path_factory) -> tuple[Run, list[dict]]:
    """A run that syncs every 2 steps and evaluates every 3, and the log of its workflow."""
    path = tmp_path_factory.mktemp("numbers")
    _write(path / "train", "train", "train", STEPS * TASKS)
    _write(path / "held", "held", "test", HELD_OUT)
    ended = run(
        path,
        f"dataset.path={path}/train",
        "dataset.columns=[question]",
        f"dataset.eval_path={path}/held",
        "dataset.order=sequential",
        "workflow.function=logging_agents:logs_itself",
        f"workflow.args={{log: {path}/log.jsonl}}",
        f"algorithm.total_steps={STEPS}",
        f"algorithm.batch_size={TASKS}",
        f"algorithm.repeat_times={REPEATS}",
        "algorithm.sync_interval=2",
        "algorithm.eval_interval=3",
        "model.max_response_tokens=8",
        timeout=1500,
    )
    assert ended.returncode == 0, ended.output
    return ended, list(read_rows(path / "log.jsonl"))


def _recomputed(lines: list[dict]) -> dict[str, list[float]]:
    """What the rollouts reported, by name as it is to be found again."""
    found = defaultdict(list)
    for line in lines:
        if line["reward"] is None:
            continue
        found["reward"].append(line["reward"])
        found["success"].append(float(line["reward"] >= 1.0))
        for name, value in line["metrics"].items():
            found["workflow/success" if name == "success" else name].append(value)
    return found


@pytest.mark.slow
@pytest.mark.timeout(1600)
def test_a_steps_numbers_are_those_of_its_rollouts(measured):
    ended, log = measured
    for step in range(1, STEPS + 1):
        lines = [
            line for line in log if line["set"] == "train" and line["number"] // TASKS == step - 1
        ]
        assert len(lines) == TASKS * REPEATS
        (row,) = [row for row in ended.folder.read_metrics("explorer") if row["step"] == step]
        expected = _recomputed(lines)
        assert set(expected) >= {"reward", "success", "workflow/success", "length"}
        for name, values in expected.items():
            got = {part: row["metrics"][f"rollout/{name}/{part}"] for part in ("min", "max")}
            assert got == {"min": min(values), "max": max(values)}, (step, name)
            assert row["metrics"][f"rollout/{name}/count"] == len(values)
            assert row["metrics"][f"rollout/{name}/mean"] == math.fsum(values) / len(values)
        failed = sum(line["reward"] is None for line in lines) / len(lines)
        assert row["metrics"]["rollout/failed_share"] == pytest.approx(failed)


@pytest.mark.slow
@pytest.mark.timeout(1600)
def test_an_evaluations_numbers_are_those_of_its_rollouts(measured):
    ended, log = measured
    rows = {
        row["step"]: row["metrics"]
        for row in ended.folder.read_metrics("explorer")
        if "eval/success" in row["metrics"]
    }
    # Every 3 steps, before and after; each says whose weights it measured.
    assert {step: each["eval/model_version"] for step, each in rows.items()} == WEIGHTS["eval"]
    held = [line for line in log if line["set"] == "held"]
    for turn, (_, metrics) in enumerate(sorted(rows.items())):
        lines = held[turn * HELD_OUT : (turn + 1) * HELD_OUT]
        assert sorted(line["number"] for line in lines) == list(range(HELD_OUT))
        expected = _recomputed(lines)
        assert metrics["eval/rollouts"] == metrics["eval/tasks"] == HELD_OUT
        assert metrics["eval/failed"] == HELD_OUT - len(expected["reward"])
        assert metrics["eval/success"] == sum(expected.pop("success")) / HELD_OUT
        for name, values in expected.items():
            assert metrics[f"eval/{name}"] == math.fsum(values) / len(values), name
            if name != "reward":
                assert metrics[f"eval/{name}/count"] == len(values)
                assert metrics[f"eval/{name}/max"] == max(values)


@pytest.mark.slow
@pytest.mark.timeout(1600)
def test_the_screen_shows_each_step_with_its_own_reward(measured):
    ended, _ = measured
    rewards = ended.series("rollout/reward/mean", "explorer")
    for step in range(1, STEPS + 1):
        (line,) = [x for x in ended.output.splitlines() if x.startswith(f"step {step}/{STEPS}")]
        assert f"reward {rewards[step]:.3f}" in line
    assert "held-out success at step 3 (weights of step 2): " in ended.output
    assert "8 tasks\n" in ended.output
    assert ended.output.count("metric success is written as workflow/success") == 1


@pytest.mark.slow
@pytest.mark.timeout(1600)
def test_every_call_of_a_rollout_is_recorded_by_agent_and_the_rollout_leads_to_its_row(measured):
    ended, log = measured
    rows = list(ended.folder.rollouts.read())
    assert len([row for row in rows if row["phase"] == "eval"]) == 3 * HELD_OUT
    assert len([row for row in rows if row["phase"] == "train"]) == STEPS * TASKS * REPEATS
    for row in rows:
        assert row["row"]["index"] == row["task"]["number"]
        text = json.dumps(row["task"], sort_keys=True)
        assert row["row"]["hash"] == hashlib.sha256(text.encode()).hexdigest()[:16]
        assert row["task"]["set"] == {"train": "train", "eval": "held"}[row["phase"]]
        assert row["model_version"] == WEIGHTS[row["phase"]][row["step"]]
        said = conversations(row)
        assert [(one.agent, one.calls) for one in said] == [
            ("first", 2), ("second", 2), (None, 1), (None, 1), (None, 1), (None, 1)
        ]  # fmt: skip
        # The growing conversation of two turns is written once.
        questions = [
            message["content"] for call in row["calls"] for message in call["messages"]
        ].count(f"{row['task']['question']} 0")
        assert questions == 1
        assert all(call["response_tokens"] > 0 and call["finish"] for call in row["calls"])
    same = {(row["phase"], row["step"], row.get("set"), row["group"], row["run"]) for row in rows}
    assert len(same) == len(rows)
    kept = Counter((row["task"]["set"], row["task"]["number"], row["reward"]) for row in rows)
    assert kept == Counter((line["set"], line["number"], line["reward"]) for line in log)


@pytest.mark.slow
@pytest.mark.timeout(1600)
def test_the_report_shows_what_the_workflow_reports(measured):
    ended, _ = measured
    data = load(ended.folder)
    text, html = markdown(data), page(data)
    assert [line.split(" | ")[-2:] for line in text.splitlines() if line.startswith("| 3 | ")] == [
        ["all", "2 |"]
    ]
    for name in ("depth", "length", "workflow/success"):
        assert f"| eval/{name} |" in text
        assert f"| rollout/{name}/mean |" in text
        assert name in html
    assert "first (1 of 6)" in html
    assert "second (2 of 6)" in html
