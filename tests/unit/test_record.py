"""What a run was made with is told from the sources of its functions, however they are given."""

import functools
import linecache

import pytest

from rlagent.api import learn
from rlagent.config.fingerprint import function_name
from rlagent.config.schema import LearnConfig
from rlagent.launch.record import source_of


async def _agent(task, model, scale=1.0):
    return scale


class _Agent:
    async def __call__(self, task, model):
        return 1.0


def test_functions_partial_ones_and_objects_have_the_source_of_their_file():
    with open(__file__, "rb") as file:
        text = file.read()
    for function in (_agent, functools.partial(_agent, scale=2.0), _Agent()):
        assert source_of(function) == text


def test_a_function_of_a_notebook_has_the_source_of_its_cell():
    name = "/tmp/ipykernel_1/no-such-file.py"
    cell = "def solve(task, model):\n    return 1.0\n"
    linecache.cache[name] = (len(cell), None, cell.splitlines(True), name)
    namespace = {}
    exec(compile(cell, name, "exec"), namespace)
    assert source_of(namespace["solve"]) == cell.encode()
    assert function_name(namespace["solve"]) == "no-such-file:solve"


def test_a_function_without_any_source_is_no_reason_to_fail():
    assert source_of(len) == b""


def test_partial_functions_and_objects_have_names():
    assert function_name(_agent) == "test_record:_agent"
    assert function_name(functools.partial(_agent, scale=2.0)) == "test_record:_agent"
    assert function_name(_Agent()).endswith(":_Agent")


def test_a_function_that_takes_everything_takes_task_and_model(monkeypatch):
    def refuse(*args, **kwargs):
        raise LookupError("it got as far as the configuration")

    monkeypatch.setattr("rlagent.config.prepare.prepare", refuse)
    with pytest.raises(LookupError):
        learn(lambda **task_and_model: 1.0, LearnConfig())
    with pytest.raises(TypeError, match="takes nothing to reach the model by"):
        learn(lambda task: 1.0, LearnConfig())
