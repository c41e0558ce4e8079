"""`rlagent try`: a task that is none is refused in a line, before anything is loaded."""

import importlib
from pathlib import Path

import pytest

command = importlib.import_module("rlagent.try")


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["--task", "{"], 2, "is no JSON"),
        (["--task", "[1]"], 2, "a task is an object"),
        (["--task", "@none.json"], 1, "No such file"),
        (["--task", "{}", "--samples", "0"], 2, "at least 1"),
        (["--task", "{}", "--temperature", "-1"], 2, "from 0 to 100"),
        (["--task", "{}"], 2, "no run 'mine'"),
    ],
)
def test_bad_input_is_one_line(
    tmp_path: Path,
    capsys: pytest.CaptureFixture,
    arguments: list[str],
    status: int,
    said: str,
) -> None:
    assert command.main(["mine", "--root", str(tmp_path), *arguments]) == status
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
