"""Tasks are checked and put where Trinity reads them."""

import json

import pytest

from rlagent.base.endings import RunError
from rlagent.base.errors import ConfigError
from rlagent.config.json_rows import content_hash
from rlagent.config.schema import DatasetConfig
from rlagent.trinity.kept_tasks import prepare_data
from rlagent.trinity.task_row import task_row


def _write(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def _rows(number, start=0):
    return [{"question": f"q{i}", "answer": f"#### {i}"} for i in range(start, start + number)]


def _read(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_held_out_tasks_are_a_fixed_part_of_their_split(tmp_path):
    _write(tmp_path / "d" / "train.jsonl", _rows(20))
    _write(tmp_path / "d" / "test.jsonl", _rows(50, 100))
    dataset = DatasetConfig(path=str(tmp_path / "d"), eval_tasks=10)
    for run in ("a", "b"):
        prepare_data(dataset, tmp_path / run)
    first = _read(tmp_path / "a" / "data" / "heldout" / "test.jsonl")
    assert len(first) == 10
    assert first == _read(tmp_path / "b" / "data" / "heldout" / "test.jsonl")
    assert all(row in _rows(50, 100) for row in first)


def test_a_single_file_is_split_without_overlap(tmp_path):
    _write(tmp_path / "mine.jsonl", _rows(40))
    prepare_data(DatasetConfig(path=str(tmp_path / "mine.jsonl"), eval_tasks=256), tmp_path / "r")
    training = _read(tmp_path / "r" / "data" / "train" / "train.jsonl")
    held_out = _read(tmp_path / "r" / "data" / "heldout" / "test.jsonl")
    assert len(held_out) == 4
    assert sorted(row["question"] for row in training + held_out) == sorted(
        row["question"] for row in _rows(40)
    )


def test_a_resumed_run_keeps_its_tasks(tmp_path):
    _write(tmp_path / "mine.jsonl", _rows(40))
    dataset = DatasetConfig(path=str(tmp_path / "mine.jsonl"))
    prepare_data(dataset, tmp_path / "r")
    before = _read(tmp_path / "r" / "data" / "heldout" / "test.jsonl")
    _write(tmp_path / "mine.jsonl", _rows(40, 500))
    prepare_data(dataset, tmp_path / "r")
    assert _read(tmp_path / "r" / "data" / "heldout" / "test.jsonl") == before


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"question": "q"}\n', "has no answer"),
        ("not json\n", "line 1 .* is not JSON"),
        ("[1]\n", "line 1 .* is not a JSON object"),
        ("", "no rows"),
    ],
)
def test_bad_rows_are_named(tmp_path, text, message):
    folder = tmp_path / "d"
    folder.mkdir()
    for split in ("train", "test"):
        (folder / f"{split}.jsonl").write_text(text)
    with pytest.raises(ConfigError, match=message):
        prepare_data(DatasetConfig(path=str(folder)), tmp_path / "r")


def test_a_missing_split_names_the_file(tmp_path):
    _write(tmp_path / "d" / "train.jsonl", _rows(3))
    with pytest.raises(ConfigError, match=r"has no test\.jsonl; splits there: train"):
        prepare_data(DatasetConfig(path=str(tmp_path / "d")), tmp_path / "r")


def test_rows_stay_as_they_are_written_and_are_found_again_by_their_place(tmp_path):
    _write(tmp_path / "d" / "train.jsonl", _rows(20))
    _write(tmp_path / "d" / "test.jsonl", _rows(50, 100))
    prepare_data(DatasetConfig(path=str(tmp_path / "d"), eval_tasks=3), tmp_path / "r")
    data = tmp_path / "r" / "data"
    file = str(data / "heldout" / "test.jsonl")
    rows = [task_row(place, None, file) for place in _read(data / "tasks/heldout/test.jsonl")]
    assert [row.fresh() for row in rows] == [_rows(50, 100)[row.index] for row in rows]
    assert rows[0].hash == content_hash(_rows(50, 100)[rows[0].index])


def test_each_call_makes_objects_of_its_own(tmp_path):
    _write(tmp_path / "d" / "train.jsonl", [{"a": {"b": [1]}}] * 2)
    dataset = DatasetConfig(path=str(tmp_path / "d"), eval_split=None, columns=["a"])
    prepare_data(dataset, tmp_path / "r")
    data = tmp_path / "r" / "data"
    place = _read(data / "tasks/train/train.jsonl")[0]
    for row in (task_row(place, 0, str(data / "train/train.jsonl")), task_row({"a": [1]}, 0, None)):
        before = json.dumps(row.fresh())
        changed = row.fresh()
        inner = changed["a"]["b"] if isinstance(changed["a"], dict) else changed["a"]
        inner.append(2)
        assert json.dumps(row.fresh()) == before


def test_a_half_written_copy_is_written_again_when_the_dataset_still_gives_it(tmp_path):
    _write(tmp_path / "mine.jsonl", _rows(100))
    dataset = DatasetConfig(path=str(tmp_path / "mine.jsonl"))
    assert prepare_data(dataset, tmp_path / "r") == []
    copy = tmp_path / "r" / "data" / "train" / "train.jsonl"
    whole = copy.read_bytes()
    copy.write_bytes(whole[:500])
    said = prepare_data(dataset, tmp_path / "r")
    assert said == [
        "the run's copy of its tasks was damaged and is written again: train/train.jsonl"
    ]
    assert copy.read_bytes() == whole
    copy.write_bytes(whole[:500])
    _write(tmp_path / "mine.jsonl", _rows(100, 500))
    with pytest.raises(RunError, match=r"train/train.jsonl .* damaged, and .* run.fresh=true"):
        prepare_data(dataset, tmp_path / "r")


@pytest.mark.parametrize("left", ["data.new/train/train.jsonl", "data/train/train.jsonl"])
def test_what_a_killed_attempt_left_does_not_count(tmp_path, left):
    (tmp_path / "r" / left).parent.mkdir(parents=True)
    (tmp_path / "r" / left).write_text('{"question": "ha')
    _write(tmp_path / "mine.jsonl", _rows(40))
    prepare_data(DatasetConfig(path=str(tmp_path / "mine.jsonl")), tmp_path / "r")
    assert len(_read(tmp_path / "r" / "data" / "train" / "train.jsonl")) == 36
    assert not (tmp_path / "r" / "data.new").exists()


def test_a_damaged_manifest_means_written_again(tmp_path):
    _write(tmp_path / "mine.jsonl", _rows(40))
    dataset = DatasetConfig(path=str(tmp_path / "mine.jsonl"))
    prepare_data(dataset, tmp_path / "r")
    (tmp_path / "r" / "data" / "tasks.json").write_text('{"files": ')
    (tmp_path / "r" / "data" / "train" / "train.jsonl").write_text("")
    prepare_data(dataset, tmp_path / "r")
    assert len(_read(tmp_path / "r" / "data" / "train" / "train.jsonl")) == 36
