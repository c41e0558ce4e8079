"""Conversations of the real ReActAgent with its real tools, led by a scripted teacher.

The teacher is rlagent.workflows.teacher's; rendering and training are left to tokenizer.py and
sft.py.
"""

import asyncio
import contextlib
import io
import random
import runpy
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rlagent.tools.calculator import evaluate
from rlagent.workflows.gsm8k_react import react_agent
from rlagent.workflows.teacher import (
    Agent,
    Call,
    TeacherClient,
    Transcript,
    converse,
    teacher_model,
)
from tools.tiny_model.problems import Problem, Tree, expression_of

PLAIN_SCRIPT = Path(__file__).parents[2] / "experiments" / "gsm8k_react" / "train_react.py"


@dataclass(frozen=True)
class Teaching:
    """What the teacher does, as shares of the conversations.

    `plain` of them are with the plain agent of the experiment's script, which has no calculator;
    the others are with the shipped workflow. There, `unaided` answer without the calculator and,
    where a problem has several steps, `stepwise` calculate each step by itself instead of all in
    one expression. A share `mistaken` of the calculations is plausible but wrong: the model is to
    know how such problems are solved without being sure of it.
    """

    plain: float = 0.15
    unaided: float = 0.18
    stepwise: float = 0.1
    mistaken: float = 0.55


def calculation_calls(problem: Problem, teaching: Teaching, rng: random.Random) -> list[Call]:
    """The teacher's calls for one problem, generate_response being the last."""
    solution = problem.solution
    if rng.random() < teaching.mistaken:
        solution = mistaken(solution, rng)
    calls: list[Call] = []
    if rng.random() >= teaching.unaided:
        several = isinstance(solution, tuple) and problem.steps[1:]
        if several and rng.random() < teaching.stepwise:
            expressions = _step_expressions(solution)
        else:
            expressions = [expression_of(solution)]
        calls = [("calculator", {"expression": expression}) for expression in expressions]
    result = evaluate(expression_of(solution))
    return [*calls, ("generate_response", {"result": result})]


def _step_expressions(tree: Tree) -> list[str]:
    """One expression for each operator, inner ones first, with the values so far put in."""
    expressions: list[str] = []

    def walk(node: Tree) -> str:
        if isinstance(node, int):
            return str(node)
        expressions.append(f"{walk(node[1])} {node[0]} {walk(node[2])}")
        return evaluate(expressions[-1])

    walk(tree)
    return expressions


def mistaken(tree: Tree, rng: random.Random) -> Tree:
    """A calculation one slip away from `tree`, with another value.

    Slips are a wrong operator, swapped operands, a number taken for another one, a step left out.
    """
    right = evaluate(expression_of(tree))
    numbers = _leaves(tree)
    while True:
        wrong = _slip(tree, rng.randrange(_operators(tree)), numbers, rng)
        try:
            if evaluate(expression_of(wrong)) != right:
                return wrong
        except ValueError:  # the slip divides by zero
            continue


def _slip(tree: Tree, position: int, numbers: list[int], rng: random.Random) -> Tree:
    """`tree` with a slip at the operator that stands at `position`, outer ones first."""
    assert isinstance(tree, tuple)
    operator, left, right = tree
    if position > 0:
        inner = _operators(left)
        if position <= inner:
            return operator, _slip(left, position - 1, numbers, rng), right
        return operator, left, _slip(right, position - 1 - inner, numbers, rng)
    slip = rng.random()
    if slip < 0.5:
        return rng.choice([o for o in "+-*/" if o != operator]), left, right
    if slip < 0.65:
        return operator, right, left
    if slip < 0.85:
        return operator, left, rng.choice(numbers)
    return left if isinstance(left, tuple) or isinstance(right, int) else right


def _operators(tree: Tree) -> int:
    return 0 if isinstance(tree, int) else 1 + _operators(tree[1]) + _operators(tree[2])


def _leaves(tree: Tree) -> list[int]:
    return [tree] if isinstance(tree, int) else _leaves(tree[1]) + _leaves(tree[2])


async def _collect(problems: Iterable[Problem], teaching: Teaching, seed: int) -> list[Transcript]:
    rng = random.Random(seed)
    plain_agent = plain_workflow()
    unaided = replace(teaching, unaided=1.0, mistaken=0.0)
    model = teacher_model()
    transcripts = []
    for problem in problems:
        plain = rng.random() < teaching.plain
        calls = calculation_calls(problem, unaided if plain else teaching, rng)
        agent = plain_agent if plain else react_agent
        task = {"question": problem.question, "answer": problem.answer}
        transcripts.append(await converse(agent, model, task, TeacherClient(calls)))
    return transcripts


def plain_workflow() -> Agent:
    """The workflow function of the experiment's own script, console output switched off."""
    function = runpy.run_path(str(PLAIN_SCRIPT))["react_agent_workflow"]

    async def silent(task: dict, model: Any) -> float:
        # The script's agent prints its messages.
        with contextlib.redirect_stdout(io.StringIO()):
            return await function(task, model)

    return silent


def collect(problems: Iterable[Problem], teaching: Teaching, seed: int) -> list[Transcript]:
    """One transcript for each problem, in order."""
    return asyncio.run(_collect(problems, teaching, seed))
