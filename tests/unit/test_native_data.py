"""Tasks of a native YAML arrive as written too, wherever Trinity does not read them itself."""

import json

import pytest

from rlagent.base.errors import ConfigError
from rlagent.trinity.native_data import prepare_native_data
from rlagent.trinity.task_row import task_row

ROWS = [{"question": "q", "answer": "1969-07-20"}, {"question": "q", "n": 2**63 + 1}]


@pytest.fixture
def folder(tmp_path):
    for split in ("train", "test"):
        text = "".join(json.dumps(row) + "\n" for row in ROWS)
        (tmp_path / f"{split}.jsonl").write_text(text)
    return tmp_path


def _buffer(folder, **more):
    taskset = {"path": str(folder), "split": "train", "workflow_args": {"side": "a"}, **more}
    return {"explorer_input": {"tasksets": [taskset], "eval_tasksets": [{"path": str(folder)}]}}


def test_rows_of_every_taskset_are_handed_over_as_written(folder, tmp_path):
    given = _buffer(folder)
    buffer, said = prepare_native_data(given, tmp_path / "r", given=True)
    assert said == []
    assert given == _buffer(folder)
    for taskset in (
        buffer["explorer_input"]["tasksets"][0],
        buffer["explorer_input"]["eval_tasksets"][0],
    ):
        file = f"{taskset['path']}/{taskset['split']}.jsonl"
        with open(file, encoding="utf-8") as lines:
            places = [json.loads(line) for line in lines]
        rows = [task_row(place, None, taskset["workflow_args"]["rows"]) for place in places]
        assert [row.fresh() for row in rows] == ROWS
    assert buffer["explorer_input"]["tasksets"][0]["workflow_args"]["side"] == "a"
    assert prepare_native_data(given, tmp_path / "r", given=True)[0] == buffer


@pytest.mark.parametrize(
    "more",
    [
        {"format": {"workflow_key": "workflow"}},
        {"format": {"reward_fn_key": "reward"}},
        {"data_selector": {"selector_type": "easy2hard", "feature_keys": ["question"]}},
        {"split": "train[:1]"},
        {"storage_type": "sql"},
    ],
)
def test_what_trinity_reads_itself_is_left_to_it(folder, tmp_path, more):
    buffer, _ = prepare_native_data(_buffer(folder, **more), tmp_path / "r", given=True)
    assert (
        buffer["explorer_input"]["tasksets"]
        == _buffer(folder, **more)["explorer_input"]["tasksets"]
    )


def test_tasks_that_no_function_of_ours_runs_are_left_to_trinity(folder, tmp_path):
    assert prepare_native_data(_buffer(folder), tmp_path / "r", given=False)[0] == _buffer(folder)


def test_a_missing_split_and_a_wrong_row_are_named(folder, tmp_path):
    with pytest.raises(ConfigError, match=r"tasksets\.0\.path=.*: has no trian\.jsonl"):
        prepare_native_data(_buffer(folder, split="trian"), tmp_path / "r", given=False)
    (folder / "train.jsonl").write_text("{}\nno\n")
    with pytest.raises(ConfigError, match=r"tasksets\.0\.path=.*: line 2 of .* is not JSON"):
        prepare_native_data(_buffer(folder), tmp_path / "r", given=True)
