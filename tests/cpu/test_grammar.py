"""Constrained responses: whole in any budget that holds one, and free for as long as possible."""

import json
import random
from collections import Counter

import pytest
import torch
import xgrammar
from transformers import AutoTokenizer

from rlagent.backends.embedded.engine.chat import parse_calls
from rlagent.backends.embedded.engine.grammar import Constraint, Grammars, Masker
from rlagent.base.paths import asset_dir

TOOLS = [
    {
        "type": "function",
        "function": {
            "name": name,
            "parameters": {
                "type": "object",
                "properties": {argument: {"type": "string"}},
                "required": [argument],
            },
        },
    }
    for name, argument in (("calculator", "expression"), ("generate_response", "result"))
]
NAMES = [tool["function"]["name"] for tool in TOOLS]
SHORTEST = 5
"""A call of the shipped tools with an empty argument: its frame is four tokens."""


@pytest.fixture(scope="module")
def tokenizer():
    return AutoTokenizer.from_pretrained(asset_dir("tiny"))


@pytest.fixture(scope="module")
def grammars(tokenizer):
    return Grammars(tokenizer, len(tokenizer), tokenizer.eos_token_id)


def draw(constraint: Constraint, grammars: Grammars, budget: int, chance: random.Random):
    """Tokens drawn at random among those that are allowed, until the end or the budget."""
    tokens: list[int] = []
    masker = Masker(grammars.vocab_size)
    while len(tokens) < budget and tokens[-1:] != [grammars.eos_id]:
        logits = torch.zeros(1, grammars.vocab_size)
        masker.apply(logits, [0], [constraint], [budget - len(tokens)])
        allowed = torch.isfinite(logits[0]).nonzero()[:, 0].tolist()
        tokens.append(chance.choice(allowed))
        constraint.accept(tokens[-1])
    return tokens


@pytest.mark.parametrize(
    "budget",
    [
        SHORTEST,
        6,
        8,
        20,
        64,
        *(pytest.param(n, marks=pytest.mark.slow) for n in (12, 48, 70, 100, 160)),
    ],
)
def test_a_call_is_whole_whatever_is_drawn_and_however_small_its_budget(
    grammars, tokenizer, budget
):
    chance, called = random.Random(budget), Counter()
    for _ in range(60):
        tokens = draw(grammars.for_tools(TOOLS), grammars, budget, chance)
        assert tokens[-1] == tokenizer.eos_token_id
        content, calls = parse_calls(tokenizer.decode(tokens, skip_special_tokens=True), NAMES)
        assert calls
        assert not content
        called.update(call.name for call in calls)
    assert set(called) == set(NAMES)


@pytest.mark.parametrize("budget", [8, 16, 32, 64])
def test_a_small_budget_leaves_the_argument_to_the_model(grammars, tokenizer, budget):
    wanted = "12"[: budget - SHORTEST]
    text = f'<tool_call>\n{{"name": "generate_response", "arguments": {{"result": "{wanted}"}}}}\n'
    meant = tokenizer.encode(text + "</tool_call><|im_end|>", add_special_tokens=False)
    constraint = grammars.for_tools(TOOLS)
    for place, token in enumerate(meant):
        bitmask = xgrammar.allocate_token_bitmask(1, grammars.vocab_size)
        constraint.allow(bitmask, 0, budget - place)
        assert bitmask[0, token // 32].item() >> (token % 32) & 1
        constraint.accept(token)


def test_a_frame_is_not_begun_in_a_spelling_that_the_budget_cannot_finish(grammars, tokenizer):
    constraint = grammars.for_tools(TOOLS)
    tag, newline = (tokenizer.encode(t, add_special_tokens=False) for t in ("<tool_call>", "\n"))
    bitmask = xgrammar.allocate_token_bitmask(1, grammars.vocab_size)
    constraint.accept(*tag)
    for left, allowed in ((12, 0), (200, 1)):
        constraint.allow(bitmask, 0, left)
        assert bitmask[0, newline[0] // 32].item() >> (newline[0] % 32) & 1 == allowed


@pytest.mark.parametrize("spare", [0, 1, 5, 20, 90])
def test_json_of_a_schema_is_whole_within_its_budget(grammars, tokenizer, spare):
    schema = {
        "type": "object",
        "properties": {"n": {"type": "integer"}, "note": {"type": "string"}},
        "required": ["n", "note"],
    }
    chance, budget = random.Random(spare), len(grammars.for_schema(schema).closing()) + spare
    for _ in range(40):
        tokens = draw(grammars.for_schema(schema), grammars, budget, chance)
        value = json.loads(tokenizer.decode(tokens, skip_special_tokens=True))
        assert set(value) == {"n", "note"}
