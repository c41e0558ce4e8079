"""User functions are found and their signatures checked without running their modules."""

import importlib
import sys
from pathlib import Path

import pytest

from rlagent.config.functions import (
    WORKFLOW_ARGUMENTS,
    WORKFLOW_OPTIONAL,
    NotFoundError,
    check_function,
    import_function,
    locate,
    split_reference,
)

MODULE = """
raise RuntimeError("checking must not run this module")
from .agents import imported
from elsewhere_entirely import missing_module_function
import functools

async def good(task, model): ...
def plain(task: dict, model, *, auxiliary_models=None, logger=None) -> float: ...
def anything(**kwargs): ...
def no_model(task): ...
def demanding(task, model, secret): ...
def with_hint(task, model, hint): ...
async def by_client(task, client): ...
def by_address(task, base_url, api_key): ...
def by_all(task, model, client, base_url, api_key): ...
def no_key(task, base_url): ...
def no_address(task, api_key=None): ...
def judged(task, model, api_key): ...
made = functools.partial(good)
@functools.cache
def decorated(a): ...
if True:
    def conditional(task, model): ...
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    package = tmp_path / "mine"
    package.mkdir()
    (package / "__init__.py").write_text("raise RuntimeError('nor this one')")
    (package / "flow.py").write_text(MODULE)
    (package / "agents.py").write_text("async def imported(task, model, extra): ...\n")
    (package / "broken.py").write_text("def f(:\n")
    return tmp_path


def check(reference: str, folder: Path, given: tuple[str, ...] = ()) -> list[str]:
    found = check_function(
        "workflow.function", reference, WORKFLOW_ARGUMENTS, WORKFLOW_OPTIONAL, given, folder, True
    )
    return [str(problem) for problem in found]


@pytest.mark.parametrize(
    "name",
    [
        *("good", "plain", "anything", "made", "decorated", "conditional"),
        *("by_client", "by_address", "by_all"),
    ],
)
def test_functions_that_take_task_and_a_way_to_the_model_are_accepted(
    name: str, folder: Path
) -> None:
    assert check(f"mine.flow:{name}", folder) == []


def test_a_file_can_be_named_in_place_of_a_module(folder: Path) -> None:
    assert check("mine/flow.py:good", folder) == []


def test_what_is_missing_says_where_it_was_looked_for(folder: Path) -> None:
    expected = {
        "mine/flo.py:good": f"no file flo.py in the folder {folder}/mine; did you mean flow.py?",
        "nofile.py:good": f"there is no file nofile.py in the folder {folder}",
        "no/file.py:good": f"in the folder {folder}/no, which does not exist",
        "nowhere:good": f"there is no module nowhere in {folder} or among what is installed",
        "mnie:good": "or among what is installed; did you mean mine?",
        "mine.flwo:good": f"there is no module mine.flwo in {folder}/mine; did you mean",
        "mine.flow.deep:good": "there is no module mine.flow.deep, since mine.flow is no package",
    }
    for reference, words in expected.items():
        (line,) = check(reference, folder)
        assert words in line


@pytest.mark.parametrize(
    ("reference", "reason"),
    [
        ("mine.flow:god", "did you mean good?"),
        ("mine.flwo:good", "did you mean mine.flow?"),
        ("nowhere_at_all:good", "there is no module nowhere_at_all"),
        ("mine.flow.good", "did you mean mine.flow:good?"),
        ("mine.flow:no_model", "reach the model by: model, client, or base_url and api_key"),
        ("mine.flow:no_model", "(task, model), (task, client), (task, base_url, api_key)"),
        ("mine.flow:no_key", "takes base_url without api_key"),
        ("mine.flow:no_address", "takes api_key without base_url"),
        ("mine.flow:judged", "set workflow.args.api_key"),
        ("mine.flow:demanding", "needs the argument secret"),
        ("mine.flow:imported", "needs the argument extra"),
        ("mine.flow:missing_module_function", "there is no module elsewhere_entirely"),
        ("mine.broken:f", "line 1"),
        ("json.decoder:scanstring", ""),
    ],
)
def test_what_cannot_be_called_says_why(reference: str, reason: str, folder: Path) -> None:
    lines = check(reference, folder)
    if reason:
        assert len(lines) == 1
        assert reason in lines[0]


def test_arguments_of_the_configuration_count_as_given(folder: Path) -> None:
    assert check("mine.flow:with_hint", folder, given=("hint",)) == []
    (line,) = check("mine.flow:with_hint", folder, given=("hint", "hnt"))
    assert "workflow.args.hnt" in line
    assert "did you mean hint?" in line


def test_an_address_and_key_that_the_configuration_gives_are_not_the_models(folder: Path) -> None:
    assert check("mine.flow:judged", folder, given=("api_key",)) == []
    assert check("mine.flow:by_all", folder, given=("base_url", "api_key")) == []
    (line,) = check("mine.flow:by_address", folder, given=("base_url", "api_key"))
    assert "nothing to reach the model by" in line
    for own in ("model", "client"):
        (line,) = check("mine.flow:by_all", folder, given=(own,))
        assert f"workflow.args.{own}: is given by rlagent itself" in line


def test_checking_imports_nothing(folder: Path) -> None:
    before = set(sys.modules)
    check("mine.flow:good", folder)
    locate("rlagent.workflows.gsm8k_react:react_agent")
    assert not [name for name in set(sys.modules) - before if name.startswith(("mine", "agents"))]


def test_a_function_is_imported_from_the_working_folder(folder: Path, monkeypatch) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    (folder / "loose_flow.py").write_text("async def f(task, model): return 1.0\n")
    assert import_function("loose_flow:f", folder).__name__ == "f"
    assert import_function("loose_flow.py:f", folder).__name__ == "f"
    with pytest.raises(NotFoundError, match="no function g"):
        import_function("loose_flow:g", folder)


def test_a_file_may_be_called_like_a_library_or_like_another_file(
    tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    for place in ("one", "two"):
        (tmp_path / place).mkdir()
        (tmp_path / place / "colorsys.py").write_text(f"def f(task, model): return {place!r}\n")
    first, second = (import_function(f"{p}/colorsys.py:f", tmp_path) for p in ("one", "two"))
    assert (first(None, None), second(None, None)) == ("one", "two")
    assert import_function("one/colorsys.py:f", tmp_path) is first
    assert hasattr(importlib.import_module("colorsys"), "rgb_to_hsv")


def test_a_file_that_fails_is_run_again_when_it_is_asked_for_again(
    tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "broken.py").write_text("raise ValueError('not yet')\ndef f(task, model): ...\n")
    for _ in range(2):
        with pytest.raises(ValueError, match="not yet"):
            import_function("broken.py:f", tmp_path)


def test_a_reference_has_one_form() -> None:
    assert split_reference("a/b.py:f") == ("a/b.py", "f")
    with pytest.raises(NotFoundError):
        split_reference("f")


def write_package(folder: Path, flow: str, packages: tuple[str, ...]) -> str:
    (folder / "pkg" / "sub").mkdir(parents=True)
    for package in packages:
        (folder / package / "__init__.py").touch()
    (folder / "pkg" / "tools.py").write_text("ANSWER = 41\n")
    (folder / "pkg" / "sub" / "more.py").write_text("ONE = 1\n")
    (folder / "pkg" / "sub" / "flow.py").write_text(flow)
    return "pkg/sub/flow.py:run"


RELATIVE = """
from ..tools import ANSWER
from .more import ONE
def run(task, model): return ANSWER + ONE
"""


def test_a_file_with_relative_imports_is_imported_as_the_part_of_its_package(
    tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "pkg", raising=False)
    reference = write_package(tmp_path, RELATIVE, ("pkg", "pkg/sub"))
    assert check_function("workflow.function", reference, ("task", "model"), folder=tmp_path) == []
    assert import_function(reference, tmp_path)(None, None) == 42


@pytest.mark.parametrize("packages", [(), ("pkg/sub",)])
def test_relative_imports_that_lead_out_of_every_package_are_found_by_the_check(
    packages: tuple[str, ...], tmp_path: Path
) -> None:
    reference = write_package(tmp_path, RELATIVE, packages)
    (problem,) = check_function("workflow.function", reference, ("task", "model"), folder=tmp_path)
    assert "flow.py line 2 imports from .., but " in problem.message
    assert problem.remedy.startswith("add an empty __init__.py to ")


@pytest.mark.parametrize(
    ("reference", "remedy"),
    [
        ("solo.py", "did you mean solo.py:solve?"),
        ("solo", "did you mean solo:solve?"),
        ("several.py", "write several.py:FUNCTION, which is one of first, second"),
        ("missing.py", "write missing.py:FUNCTION"),
        ("mine.flow", "write mine.flow:FUNCTION, which is one of good, plain, anything, no_model"),
    ],
)
def test_a_reference_without_a_function_is_completed_from_the_file(
    reference: str, remedy: str, folder: Path, monkeypatch
) -> None:
    (folder / "solo.py").write_text("async def solve(task, model): ...\n")
    (folder / "several.py").write_text("def first(task, model): ...\ndef second(task): ...\n")
    monkeypatch.chdir(folder)
    (line,) = check(reference, folder)
    assert remedy in line


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"\xef\xbb\xbfasync def f(task, model): ...\n", ""),
        (b"# coding: latin-1\nnote = '\xe9'\nasync def f(task, model): ...\n", ""),
        (b"note = '\xe9'\nasync def f(task, model): ...\n", "save the file as UTF-8"),
        (b"\0async def f(task, model): ...\n", "odd.py"),
        (b"x = " + b"(" * 100_000, "odd.py"),
    ],
)
def test_a_file_in_any_encoding_is_read_as_python_reads_it(
    data: bytes, said: str, folder: Path
) -> None:
    (folder / "odd.py").write_bytes(data)
    lines = check("odd.py:f", folder)
    assert len(lines) == bool(said)
    assert said in "".join(lines)
