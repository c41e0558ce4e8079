"""`rlagent export`: what cannot be meant is refused before a run is looked at."""

from pathlib import Path

import pytest

from rlagent import export
from rlagent.serving.push import checked_repo


@pytest.mark.parametrize(
    "name", ["mine", "me/mine/x", "me/", "/mine", "me/mi ne", "me/-x", "a/b--c"]
)
def test_a_name_that_the_hub_cannot_have_is_refused(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    assert export.main(["none", "--root", str(tmp_path), f"--push={name}"]) == 2
    assert "is called USER/NAME" in capsys.readouterr().err


def test_names_of_the_hub_are_taken() -> None:
    for name in ("me/mine", "Qwen/Qwen3-0.6B", "a/b_c.d"):
        assert checked_repo(name) == name


@pytest.mark.parametrize(
    "arguments", [[], ["--yes", "--to", "x"], ["--push", "a/b", "--dtype", "float16"]]
)
def test_options_that_do_not_fit_are_refused(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    assert export.main(["none", "--root", str(tmp_path), *arguments]) == 2
    assert "--" in capsys.readouterr().err
