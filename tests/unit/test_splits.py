"""Held-out tasks are not trained on, and it is said what they cannot show."""

import json

import pytest

from rlagent.config.held_out import known_notes
from rlagent.config.schema import DatasetConfig
from rlagent.config.splits import draw, hold_out, own_part


@pytest.mark.parametrize("copies", [1, 2, 3, 7])
@pytest.mark.parametrize("number", [0, 1, 5, 256])
def test_equal_rows_stay_on_one_side(copies, number):
    rows = [f"row {index % (42 // copies)}" for index in range(42)]
    training, held_out = hold_out(rows, number)
    assert held_out
    assert sorted(training + held_out) == list(range(42))
    assert not {rows[index] for index in training} & {rows[index] for index in held_out}


def test_no_more_is_held_out_than_a_tenth_and_than_asked_for():
    assert len(hold_out([str(index) for index in range(100)], 0)[1]) == 10
    assert len(hold_out([str(index) for index in range(100)], 4)[1]) == 4


@pytest.mark.parametrize("rows", [1, 20])
def test_that_all_rows_are_equal_is_said(rows, tmp_path):
    file = tmp_path / "rows.jsonl"
    file.write_text('{"question": "", "answer": "a"}\n' * rows)
    assert hold_out(["same"] * rows, 0)[0] == list(range(rows))
    said = known_notes(DatasetConfig(path=str(file)))
    assert any("the question of a training task" in line for line in said)


def _split(path, questions):
    rows = ({"question": question, "answer": "a", "n": n} for n, question in enumerate(questions))
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_questions_of_both_given_splits_are_counted(tmp_path):
    _split(tmp_path / "train.jsonl", [f"q{n}" for n in range(30)])
    _split(tmp_path / "test.jsonl", [f"q{n}" for n in range(28, 40)])
    said = known_notes(DatasetConfig(path=str(tmp_path)))
    assert len(said) == 1
    assert said[0].startswith("2 of 12 held-out tasks have the question of a training task")
    # Who asks nothing asks the same only where all of the row is the same.
    _split(tmp_path / "test.jsonl", [""] * 12)
    assert known_notes(DatasetConfig(path=str(tmp_path))) == []


@pytest.mark.parametrize(("rows", "few"), [(70, True), (80, False)])
def test_fewer_than_eight_held_out_tasks_are_said(tmp_path, rows, few):
    _split(tmp_path / "mine.jsonl", [f"q{n}" for n in range(rows)])
    said = known_notes(DatasetConfig(path=str(tmp_path / "mine.jsonl")))
    assert ["only 7 held-out tasks" in line for line in said] == [True] * few


def test_of_two_kinds_of_rows_the_rarer_is_held_out_where_a_tenth_has_room_for_neither():
    rows = ["common"] * 3 + ["rare"] * 2
    assert hold_out(rows, 0) == ([0, 1, 2], [3, 4])


def test_the_same_rows_are_held_out_every_time():
    rows = [str(index) for index in range(100)]
    assert hold_out(rows, 5) == hold_out(list(rows), 5)
    assert len({tuple(hold_out(rows, 5)[1]) for _ in range(3)}) == 1


def test_one_held_out_row_is_one():
    assert own_part(1000, 1) == 1
    assert len(draw(1000, 1)) == 1
    assert draw(3, 3) == draw(3, 0) == draw(3, 4) == [0, 1, 2]
