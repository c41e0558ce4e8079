"""The code experiment: what counts as code, which tests a function passes, what is shipped."""

import asyncio
import json
from types import SimpleNamespace

import pytest

from rlagent.base.paths import asset_dir
from rlagent.rewards.code import code_of, trial, verdict
from rlagent.tools.confined import Limits, refusal
from rlagent.workflows.code import tried, write_function
from tools import tiny_code

TESTS = [[[1, 2], 3], [[5, 5], 10], [[0, -1], -1]]
TASK = {"question": "f(a, b): the sum of a and b", "name": "f", "tests": TESTS}
RIGHT = "def f(a, b):\n    return a + b"

confines = pytest.mark.skipif(bool(refusal()), reason=refusal() or "confines")


@pytest.mark.parametrize(
    ("reply", "code"),
    [
        (RIGHT, RIGHT),
        (f"Sure!\n```python\n{RIGHT}\n```\nIt adds.", f"{RIGHT}\n"),
        (f"<think>a - b?\n```\nno\n```</think>{RIGHT}", RIGHT),
        (f"```py\n{RIGHT}", RIGHT),
    ],
)
def test_code_is_what_is_fenced_or_the_whole_reply_without_its_thoughts(reply, code):
    assert code_of(reply) == code


def judged(code: str, tests: list = TESTS):
    return asyncio.run(tried(code, {"name": "f", "tests": tests}, Limits(seconds=20)))


@confines
@pytest.mark.parametrize(
    ("code", "passed", "fault"),
    [
        (RIGHT, 3, ""),
        ("def f(a, b): return a * b", 0, "f(1, 2) returns 2, not 3"),
        ("def f(a, b): return 10 if a == b else 1 / a", 1, "f(1, 2) returns 1.0, not 3"),
        ("def f(a, b): return {a}[b]", 0, "f(1, 2) raises TypeError: 'set' object"),
        ("def f(a, b: return 1", 0, "SyntaxError"),
        ("def g(a, b): return a + b", 0, "f(1, 2) raises NameError: name 'f' is not defined"),
        ("import os; os._exit(0)", 0, "f ended the program"),
        ('print("[[1, 3]]"); raise SystemExit', 0, "f ended the program"),
        ("def f(a, b): import sys; sys.exit(0)", 0, "f ended the program"),
    ],
)  # fmt: skip
def test_a_function_is_worth_the_tests_that_it_passes(code, passed, fault):
    found, _ = judged(code)
    assert (found.passed, found.tests) == (passed, 3)
    assert found.fault.startswith(fault)
    assert bool(found.fault) == bool(fault)


@confines
def test_true_is_not_one_and_no_result_is_known_to_the_program():
    assert judged("def f(a): return 1", [[[1], True]])[0].passed == 0
    assert "-77" not in trial(RIGHT, "f", [[[1, 2], -77]]).source


def test_a_program_that_did_not_end_passes_nothing():
    found = verdict(trial(RIGHT, "f", TESTS), "", "it took longer than 2 s", "f", TESTS)
    assert (found.share, found.fault) == (0.0, "it took longer than 2 s")


@pytest.mark.parametrize("written", ["[1, 2, 3]", "[[1], [2], [3]]", "[" * 100_000])
def test_what_a_program_writes_behind_the_mark_itself_costs_no_more_than_its_tests(written):
    tried_ = trial(RIGHT, "f", TESTS)
    found = verdict(tried_, f"\n{tried_.mark}{written}", "", "f", TESTS)
    assert (found.share, found.fault) == (0.0, "f ended the program")


def test_a_long_result_is_cut_where_the_agent_reads_of_it():
    tried_ = trial(RIGHT, "f", TESTS)
    printed = json.dumps([["returned", "x" * 60_000]] * 3)
    found = verdict(tried_, f"\n{tried_.mark}{printed}", "", "f", TESTS)
    assert len(found.fault) < 400


class Model:
    """Says what it is given, in turn."""

    def __init__(self, *replies: str) -> None:
        self.replies, self.asked = list(replies), []

    async def __call__(self, messages):
        self.asked.append(messages)
        return SimpleNamespace(content=[{"type": "text", "text": self.replies.pop(0)}])


@confines
def test_the_agent_is_told_what_fails_and_tries_again():
    model = Model("def f(a, b): return a - b", RIGHT)
    output = asyncio.run(write_function(TASK, model, attempts=3, seconds=20))
    assert output.reward == 1.0
    assert output.metrics["attempts"] == 2
    assert model.asked[1][-1]["content"] == "f(1, 2) returns -1, not 3. Write it again."


@confines
def test_code_that_does_not_end_earns_nothing_and_is_counted():
    output = asyncio.run(write_function(TASK, Model("while True: pass"), seconds=0.5))
    assert output.reward == 0.0
    assert output.metrics["code_runs"] == 0.0


def test_the_shipped_tasks_are_those_that_the_tool_draws_and_held_out_ones_are_not_trained_on():
    drawn = tiny_code.splits()
    for name, rows in drawn.items():
        lines = (asset_dir("code_tiny") / f"{name}.jsonl").read_text().splitlines()
        assert [json.loads(line) for line in lines] == rows
    held_out = {row["question"] for row in drawn["test"]}
    assert len(held_out) == len(drawn["test"])
    assert not held_out & {row["question"] for row in drawn["train"]}
