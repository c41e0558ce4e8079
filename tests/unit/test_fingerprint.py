"""What a function carries is part of what was run: arguments, closures, attributes, globals."""

import enum
import functools
import json
import os
import subprocess
import sys
import threading
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import pytest

from rlagent import LearnConfig
from rlagent.api import learn
from rlagent.base.errors import ConfigError
from rlagent.config.fingerprint import NotStableError, fingerprint
from rlagent.config.identity import trial_id

REPOSITORY = Path(__file__).parents[2]


async def agent(task, model, bonus=0, options=None):
    return float(bonus)


def other_agent(task, model):
    return 0.0


def made(bonus):
    async def solve(task, model):
        return float(bonus)

    return solve


class Agent:
    def __init__(self, **attributes):
        vars(self).update(attributes)

    async def __call__(self, task, model):
        return 0.0

    async def solve(self, task, model):
        return 0.0


class Slotted:
    __slots__ = ("bonus",)

    def __init__(self, bonus):
        self.bonus = bonus

    def __call__(self, task, model):
        return self.bonus


def name(function) -> str:
    return fingerprint(function).name


def with_attribute(value):
    function = made(0)
    function.bonus = value
    return function


PAIRS = {
    "arguments of a partial": lambda x: functools.partial(agent, bonus=x),
    "positional arguments": lambda x: functools.partial(agent, {}, None, x),
    "a nested partial": lambda x: functools.partial(functools.partial(agent, bonus=x), options=1),
    "closures": made,
    "attributes of an object": lambda x: Agent(bonus=x),
    "slots": Slotted,
    "the object of a method": lambda x: Agent(bonus=x).solve,
    "attributes of a function": with_attribute,
    "defaults": lambda x: lambda task, model, bonus=x: bonus,
    "lists and mappings": lambda x: functools.partial(agent, options={"a": [1, {"b": x}]}),
    "sets": lambda x: functools.partial(agent, options={"a", x}),
    "objects within": lambda x: functools.partial(agent, options=Agent(inner=Agent(bonus=x))),
    "functions within": lambda x: functools.partial(agent, options=made(x)),
}


@pytest.mark.parametrize("make", PAIRS.values(), ids=PAIRS)
def test_other_values_are_other_functions_and_equal_ones_the_same(make):
    assert name(make(0)) != name(make(1))
    assert name(make("0")) != name(make(0))
    assert name(make(1)) == name(make(1))


def test_a_function_that_carries_nothing_is_known_by_its_name():
    assert name(agent) == "test_fingerprint:agent"
    assert name(Agent()) == "test_fingerprint:Agent"
    assert name(other_agent) != name(agent)


def test_the_order_of_arguments_and_of_sets_does_not_count():
    one = functools.partial(agent, bonus=1, options={"a": 1, "b": {1, "x"}})
    assert name(one) == name(functools.partial(agent, options={"b": {"x", 1}, "a": 1}, bonus=1))


def test_functions_given_as_arguments_count_by_name():
    one, two = (functools.partial(agent, options=item) for item in (agent, other_agent))
    assert name(one) != name(two)


def test_two_lambdas_of_one_line_are_two_functions():
    one, two = (lambda task, model: 0.0), (lambda task, model: 1.0)
    assert name(one) != name(two)


def test_objects_that_hold_each_other_are_no_endless_story():
    def circle(bonus):
        one, two = Agent(bonus=bonus), Agent()
        one.other, two.other = two, one
        return one

    assert name(circle(1)) == name(circle(1)) != name(circle(2))


class Colour(enum.Enum):
    RED = 1
    BLUE = 2


@dataclass
class Settings:
    path: Path
    colour: Colour = Colour.RED
    words: frozenset = field(default_factory=frozenset)


def test_enums_paths_and_dataclasses_count_by_value():
    def of(*values):
        return name(functools.partial(agent, options=Settings(*values)))

    assert of(Path("a")) == of(Path("a"))
    assert len({of(Path("a")), of(Path("b")), of(Path("a"), Colour.BLUE)}) == 3


def refusal(function) -> str:
    with pytest.raises(NotStableError) as caught:
        fingerprint(function)
    return str(caught.value)


def test_what_cannot_be_passed_to_another_process_is_named_with_its_variable():
    lock = threading.Lock()
    assert refusal(made(lock)).startswith("the closure variable bonus of solve is a _thread.lock")
    assert refusal(functools.partial(agent, options={"a": [lock]})).startswith(
        "the item 'a' of argument options of agent is a _thread.lock"
    )
    assert refusal(Agent(client=Agent(lock=lock))).startswith(
        "the attribute lock of Agent object of attribute client of Agent object of Agent is a"
    )
    assert "is a generator" in refusal(made(item for item in ()))


def test_learn_refuses_it_with_the_remedy_and_with_every_other_mistake():
    config = LearnConfig()
    config.algorithm.lr = 7.0
    with pytest.raises(ConfigError) as caught:
        learn(made(threading.Lock()), config, judge_func=functools.partial(agent, threading.Lock()))
    lines = [str(problem) for problem in caught.value.problems]
    assert any(line.startswith("workflow_func=") and "workflow.args" in line for line in lines)
    assert any(line.startswith("judge_func=") for line in lines)
    assert any(line.startswith("algorithm.lr=7") for line in lines)


SCRIPT = """
import functools, json, sys
from pathlib import Path
import numpy as np
from pydantic import BaseModel
from rlagent.config.fingerprint import fingerprint

class Answer(BaseModel):
    text: str
    number: int = 3

class Policy:
    retries = RETRIES
    def __init__(self, words):
        self.words = words
        self.table = np.arange(4)
    def score(self, text):
        return len(text) + BONUS

BONUS = int(sys.argv[1])
ROWS = [{"q": "1 + 1", "tags": {"b", "a", "c"}}]

def helper(text):
    return text in {"x", "y", "z"} and BONUS

async def solve(task, model, limit=3):
    return helper(str(ROWS)) + np.sum(1) + len(Answer.model_fields)

class Judge:
    async def __call__(self, task, response):
        return 0.0

def bare(task, model):
    return np.sum(json.loads("[]")) if isinstance(Path(), Path) else Judge()

functions = {
    "bare": bare,
    "plain": solve,
    "partial": functools.partial(solve, policy=Policy({"u", "v", "w", "x"})),
    "method": Policy({"p", "q", "r"}).score,
    "judge": Judge(),
    "lambda": lambda task, model: task in {"k", "l", "m"},
}
print(json.dumps({key: fingerprint(item).name for key, item in functions.items()}))
"""


def in_a_process(folder: Path, seed: str, bonus: str, retries: str = "2") -> dict[str, str]:
    (script := folder / "script.py").write_text(SCRIPT.replace("RETRIES", retries))
    done = subprocess.run(
        [sys.executable, str(script), bonus],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), "PYTHONHASHSEED": seed},
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)


def test_a_scripts_functions_are_the_same_in_every_process_and_count_its_globals(tmp_path):
    one = in_a_process(tmp_path, "1", "5")
    for seed in ("2", "77"):
        assert in_a_process(tmp_path, seed, "5") == one
    # What it imports and defines stands in its source.
    assert one["bare"] == "script:bare"
    assert one["judge"] == "script:Judge"
    other = in_a_process(tmp_path, "1", "6")
    assert {key for key in one if one[key] != other[key]} == {"plain", "partial", "method"}
    classes = in_a_process(tmp_path, "1", "5", retries="9")
    assert {key for key in one if one[key] != classes[key]} == {"partial", "method"}


@pytest.fixture
def trials(monkeypatch):
    """The trial ids of the runs that `learn` would start."""
    found = []

    def launch(resolved, **given):
        found.append(resolved.trial_id)
        raise LookupError("started")

    monkeypatch.setitem(sys.modules, "rlagent.launch.launch", SimpleNamespace(launch=launch))

    def run(passed, judge=None, **settings):
        config = LearnConfig()
        config.hardware.engine = "embedded"
        for key, value in settings.items():
            setattr(config.workflow, key, value)
        with pytest.raises(LookupError):
            learn(passed, config, judge_func=judge)
        return found[-1]

    return run


def test_another_function_argument_or_judge_is_another_trial(trials):
    async def judge(task, response):
        return 0.0

    partials = [functools.partial(agent, bonus=bonus) for bonus in (0, 1)]
    ids = [trials(item) for item in (agent, other_agent, *partials)]
    ids += [trials(agent, judge), trials(agent, functools.partial(judge, response=1))]
    assert len(set(ids)) == 6
    assert trials(functools.partial(agent, bonus=1)) == ids[3]


def test_the_function_that_is_passed_counts_whatever_the_file_names(trials):
    named = "rlagent.workflows.gsm8k_react:react_agent"
    assert trials(agent, function=named) != trials(other_agent, function=named)


def test_arguments_that_no_file_can_hold_are_refused(trials):
    config = LearnConfig()
    config.workflow.args = {"tool": agent, "deep": [{"x": object()}]}
    with pytest.raises(ConfigError) as caught:
        learn(agent, config)
    lines = sorted(str(problem) for problem in caught.value.problems)
    assert lines[0].startswith("workflow.args.deep.0.x: a object is no text")
    assert lines[1].startswith("workflow.args.tool: a function is no text")


def test_an_identity_without_state_is_what_it_was():
    config = LearnConfig()
    before = trial_id(config)
    config.workflow.function = name(agent)
    with_name = trial_id(config)
    config.workflow.function = "test_fingerprint:agent"
    assert before != with_name == trial_id(config)
