"""Tasks are checked and put where Trinity reads them."""

import json

import pytest

from rlagent.config.errors import ConfigError
from rlagent.config.schema import DatasetConfig
from rlagent.trinity.data import prepare_data


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
    with pytest.raises(ConfigError, match=r"no file .*test\.jsonl"):
        prepare_data(DatasetConfig(path=str(tmp_path / "d")), tmp_path / "r")
