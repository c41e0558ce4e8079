"""Which files a workflow's source is made of: what it imports of the user's own counts too."""

import importlib.util
import sys
import threading
from types import SimpleNamespace

import pytest

from rlagent.base.errors import ConfigError
from rlagent.config.sources import source_files
from rlagent.launch.launch import require_passable
from rlagent.launch.record import _source_fingerprint


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A folder with a workflow and what it imports; writes more files into it."""
    monkeypatch.chdir(tmp_path)

    def write(**files: str) -> None:
        for name, text in files.items():
            path = tmp_path / (name.replace("__", "/") + ".py")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    write(
        flow="import os, helper\nfrom package.deep import score\n\ndef solve(task, model): ...\n",
        helper="import flow\nimport torch\n",
        package__init="",
        package__deep="from . import table\nfrom .words import WORDS\n",
        package__table="VALUES = {}\n",
        package__words="from rlagent import learn\nWORDS = 'x'\n",
        unused="",
    )
    (tmp_path / "package" / "init.py").rename(tmp_path / "package" / "__init__.py")
    return write


def names(tmp_path, file="flow.py"):
    return [str(item.relative_to(tmp_path)) for item in source_files(tmp_path / file)]


def test_the_users_modules_count_wherever_they_are_imported_and_installed_ones_do_not(
    project, tmp_path
):
    assert names(tmp_path) == [
        "flow.py",
        "helper.py",
        "package/__init__.py",
        "package/deep.py",
        "package/table.py",
        "package/words.py",
    ]


def test_a_file_beside_a_workflow_elsewhere_is_found(project, tmp_path, monkeypatch):
    (elsewhere := tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(elsewhere)
    assert "helper.py" in names(tmp_path)


def test_a_file_that_is_no_python_is_one_of_the_sources_all_the_same(project, tmp_path):
    project(helper="def broken(:\n")
    assert "helper.py" in names(tmp_path)


@pytest.mark.parametrize("given", ["by name", "as an object"])
def test_an_edit_of_a_helper_is_an_edit_of_the_workflow(project, tmp_path, given):
    function = None
    if given == "as an object":
        spec = importlib.util.spec_from_file_location("flow_as_object", tmp_path / "flow.py")
        module = importlib.util.module_from_spec(spec)
        project(flow="def solve(task, model):\n    import helper\n")
        spec.loader.exec_module(module)
        function = module.solve

    def now():
        return _source_fingerprint(("flow.py:solve", function))

    before = now()
    project(unused="X = 1\n")
    assert now() == before
    project(helper="X = 1\n")
    assert now() != before


TWO = """
if {which}:
    def solve(task, model):
        return 1.0
else:
    def solve(task, model):
        return 0.0
"""


def test_two_functions_of_one_name_in_one_file_have_two_sources(tmp_path):
    (file := tmp_path / "two.py").write_text(TWO.format(which="WHICH"))
    found = []
    for which in (True, False):
        namespace = {"WHICH": which, "__name__": "two"}
        sys.modules["two"] = SimpleNamespace(**namespace)
        exec(compile(file.read_text(), str(file), "exec"), namespace)
        found.append(_source_fingerprint((None, namespace["solve"])))
    del sys.modules["two"]
    assert found[0] != found[1]


def test_what_ray_cannot_pickle_is_refused_before_it_starts():
    class Odd:
        # The fingerprint does not look at names like this, the pickler does.
        __lock__ = threading.Lock()

        def __call__(self, task, model):
            return 0.0

    with pytest.raises(ConfigError, match=r"workflow_func=test_sources:.*: cannot be passed"):
        require_passable(workflow_func=Odd(), judge_func=None)
    require_passable(workflow_func=lambda task, model: 0.0, judge_func=None)
