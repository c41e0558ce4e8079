"""A task is the row that its author wrote, in training and evaluation alike."""

import asyncio
import json
from collections import Counter

import pytest

from rlagent.config.json_rows import content_hash
from rlagent.config.schema import DatasetConfig
from rlagent.records.rollouts import Query
from rlagent.trinity.kept_tasks import HELD_OUT, TRAIN, prepare_data, rows_file
from rlagent.trinity.task_row import task_row
from tests.cpu.runs import run

ANSWERS = [
    {"answer": "1969-07-20"},
    {"answer": "7"},
    {"answer": 3},
    {"answer": "3"},
    {"answer": [1]},
    {"answer": [1.5, "x", None]},
    {"answer": 2**63 + 1},
    {"answer": None},
    {"answer": "a\0b\u2028\u00e9\U0001f600", "only here": {"deep": [{"a": 1}, {"b": "2"}]}},
    {"answer": {"a": True}},
    {"answer": 1e-7},
    {"answer": ""},
]


def _rows(side):
    return [
        {"question": f"{side} {number}", "nested": {"list": [number]}, **answer}
        for number, answer in enumerate(ANSWERS)
    ]


def _write(folder, side, split):
    text = "".join(json.dumps(row) + "\n" for row in _rows(side))
    (folder / f"{split}.jsonl").write_text(text)


def _as_recorded(rows):
    return [repr(sorted(row.items())) for row in rows]


def _read_by_trinity(folder, split, is_eval):
    """What Trinity's own reader makes of a folder of tasks."""
    from rlagent.upstream import trinity_imports

    trinity_imports.without_vllm.apply()
    from trinity.buffer.buffer import get_buffer_reader
    from trinity.common.config import TasksetConfig

    taskset = TasksetConfig(
        name=split,
        path=str(folder),
        split=split,
        default_workflow_type="rlagent.trinity.workflow.AgentWorkflow",
        is_eval=is_eval,
        batch_size=len(ANSWERS),
        enable_progress_bar=False,
    )
    return asyncio.run(get_buffer_reader(taskset).read())


def test_trinity_hands_over_what_was_written(tmp_path):
    for side, split in (("a", "train"), ("b", "test")):
        _write(tmp_path, side, split)
    prepare_data(DatasetConfig(path=str(tmp_path), eval_tasks=0), tmp_path / "run")
    data = tmp_path / "run" / "data"
    for side, (name, split) in (("a", TRAIN), ("b", HELD_OUT)):
        tasks = _read_by_trinity(data / "tasks" / name, split, is_eval=name != "train")
        file = str(rows_file(data, name, split))
        rows = [task_row(task.raw_task, task.index["index"], file) for task in tasks]
        assert [row.index for row in rows] == list(range(len(ANSWERS)))
        assert _as_recorded(row.fresh() for row in rows) == _as_recorded(_rows(side))


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_every_rollout_gets_the_row_as_written_in_objects_of_its_own(tmp_path):
    for side, split in (("a", "train"), ("b", "test")):
        _write(tmp_path, side, split)
    log = tmp_path / "log.txt"
    result = run(
        tmp_path,
        f"dataset.path={tmp_path}",
        "workflow.function=recording_agents:records_its_task",
        f"+workflow.args.log={log}",
        "algorithm.repeat_times=2",
        "algorithm.batch_size=12",
        "algorithm.total_steps=1",
        "dataset.eval_tasks=0",
        "monitor=local",
    )
    assert result.returncode == 0, result.output
    # Twice in the one step, and before and after it.
    expected = Counter([*_as_recorded(_rows("a")), *_as_recorded(_rows("b"))] * 2)
    assert Counter(log.read_text(encoding="utf-8").splitlines()) == expected
    kept = list(result.folder.rollouts.read(Query("eval")))
    by_row = {row["row"]["index"]: row for row in kept if row["step"] == 0}
    assert [by_row[index]["task"] for index in range(len(ANSWERS))] == _rows("b")
    assert by_row[2]["row"]["hash"] == content_hash(_rows("b")[2])
