"""Following a file of rows that grows, and one that is replaced meanwhile."""

import json
from pathlib import Path

from rlagent.base.tail import Tail


def append(path: Path, *numbers: int) -> None:
    with path.open("a") as file:
        file.writelines(json.dumps({"number": number}) + "\n" for number in numbers)


def numbers(tail: Tail) -> list[int]:
    return [row["number"] for row in tail.new_rows()]


def test_rows_come_once_and_from_the_end_on_only_new_ones(tmp_path) -> None:
    path = tmp_path / "metrics.jsonl"
    early = Tail.at_end(path)
    append(path, 1, 2)
    late = Tail.at_end(path)
    append(path, 3)
    assert (numbers(early), numbers(early), numbers(late)) == ([1, 2, 3], [], [3])
    assert not early.restarted


def test_a_file_in_the_place_of_another_is_followed_from_its_beginning(tmp_path) -> None:
    path = tmp_path / "metrics.jsonl"
    append(path, 1, 2)
    tail = Tail.at_end(path)
    path.rename(tmp_path / "aside")
    # Longer than the first one was.
    append(path, 3, 4, 5)
    assert numbers(tail) == [3, 4, 5]
    assert tail.restarted
    append(path, 6)
    assert numbers(tail) == [6]
    assert not tail.restarted


def test_a_file_that_is_gone_for_a_while_is_followed_from_its_new_beginning(tmp_path) -> None:
    path = tmp_path / "metrics.jsonl"
    append(path, 1)
    tail = Tail.at_end(path)
    path.rename(tmp_path / "aside")
    assert numbers(tail) == []
    assert tail.restarted
    append(path, 2)
    assert numbers(tail) == [2]


def test_a_file_that_was_cut_is_followed_from_its_beginning(tmp_path) -> None:
    path = tmp_path / "metrics.jsonl"
    append(path, 1, 2, 3)
    tail = Tail.at_end(path)
    path.write_text("")
    append(path, 4)
    assert numbers(tail) == [4]
    assert tail.restarted
