"""The scripted teacher of the tiny model: right calculations, plausible slips, whole talks."""

import json
import random
import re

from rlagent.tools.calculator import evaluate
from rlagent.workflows.teacher import Transcript
from tools.tiny_model.data import draw
from tools.tiny_model.problems import expression_of, value_of
from tools.tiny_model.transcripts import (
    Teaching,
    calculation_calls,
    collect,
    mistaken,
)


def _numbers(expression: str) -> set[str]:
    return set(re.findall(r"\d+", expression))


def test_a_teacher_without_mistakes_hands_in_the_right_number() -> None:
    rng = random.Random(1)
    teaching = Teaching(unaided=0.3, stepwise=0.5, mistaken=0.0)
    for problem in draw(200, seed=5):
        calls = calculation_calls(problem, teaching, rng)
        assert calls[-1] == ("generate_response", {"result": str(value_of(problem.solution))})
        if calls[:-1]:
            assert evaluate(calls[-2][1]["expression"]) == calls[-1][1]["result"]


def test_a_slip_always_changes_the_value_with_the_numbers_at_hand() -> None:
    rng = random.Random(2)
    for problem in draw(200, seed=6):
        wrong = expression_of(mistaken(problem.solution, rng))
        assert evaluate(wrong) != str(value_of(problem.solution))
        assert _numbers(wrong) <= _numbers(expression_of(problem.solution))


def test_conversations_repeat_with_the_seed_and_hold_both_agents() -> None:
    problems = draw(40, seed=8)
    teaching = Teaching(plain=0.4)
    transcripts = collect(problems, teaching, seed=3)
    again = collect(problems, teaching, seed=3)

    def gist(transcript: Transcript) -> str:
        return json.dumps([[m["role"], m["content"]] for m in transcript.messages])

    assert [gist(t) for t in transcripts] == [gist(t) for t in again]
    first_tools = {transcript.tools[0]["function"]["name"] for transcript in transcripts}
    assert first_tools == {"calculator", "reset_equipped_tools"}
    for problem, transcript in zip(problems, transcripts, strict=True):
        assert transcript.messages[1]["content"][0]["text"] == problem.question
        assert transcript.messages[-1]["role"] == "assistant"
        assert transcript.messages[-1]["content"].startswith("The answer is ")
