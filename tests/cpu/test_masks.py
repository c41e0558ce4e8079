"""What is learnt of a conversation, token by token, and that packing changes none of it."""

import re

import numpy as np
import pytest
import torch
from trainer_fixtures import make_config, make_model, prepared
from transformers import AutoModelForCausalLM, AutoTokenizer

from rlagent.base.paths import resolve_path
from rlagent.config.conversations import Conversation, conversation
from rlagent.trinity.conversations import Tokens
from rlagent.trinity.given_steps import _experiences
from rlagent.trinity.masks import Learnt, Masks, NoMaskError

TOOL = {"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}
CALL = {"function": {"name": "add", "arguments": {"a": 1}}}
GIVEN = conversation(
    {
        "messages": [
            {"role": "system", "content": "Add."},
            {"role": "user", "content": "1+1?"},
            {"role": "assistant", "content": "Well.", "tool_calls": [CALL]},
            {"role": "tool", "content": "2", "name": "add"},
            {"role": "assistant", "content": "It is 2"},
            {"role": "user", "content": "Thanks"},
        ],
        "tools": [TOOL],
    }
)
TURNS = ['Well.\n<tool_call>\n{"name": "add", "arguments": {"a": 1}}\n</tool_call><|im_end|>']
TURNS += ["It is 2<|im_end|>"]

# As Qwen3's: the thoughts of turns before the last question are left out.
FORGETS = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n"
    "{% if m.role == 'assistant' and loop.last %}<think>{{ m.thoughts }}</think>{% endif %}"
    "{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@pytest.fixture(scope="module")
def tokenizer():
    return AutoTokenizer.from_pretrained(resolve_path("builtin:tiny"))


def said(tokenizer, found: Learnt) -> list[str]:
    """The texts of the runs of tokens that are learnt."""
    marks = "".join("x" if each else "." for each in found.learnt)
    return [
        tokenizer.decode(found.tokens[run.start() : run.end()]) for run in re.finditer("x+", marks)
    ]


def unmarked(tokenizer) -> str:
    """Its chat template without the marks of what the assistant says."""
    found = re.sub(r"\{%-?\s*(end)?generation\s*-?%\}", "", tokenizer.chat_template)
    assert found != tokenizer.chat_template
    return found


def test_the_assistants_turns_are_learnt_with_their_end_and_nothing_else(tokenizer):
    (found,) = Masks(tokenizer)(GIVEN)
    assert said(tokenizer, found) == TURNS
    rest = tokenizer.decode([t for t, m in zip(found.tokens, found.learnt, strict=True) if not m])
    assert "1+1?" in rest
    assert "<tool_response>\n2" in rest
    assert "Well" not in rest


def test_a_template_without_marks_teaches_the_same_tokens(tokenizer):
    assert Masks(tokenizer, template=unmarked(tokenizer))(GIVEN) == Masks(tokenizer)(GIVEN)


def test_of_a_base_model_whose_turns_end_with_another_token_the_line_break_is_not_learnt():
    tokenizer = AutoTokenizer.from_pretrained(resolve_path("builtin:tiny"))
    template = unmarked(tokenizer)
    tokenizer.eos_token = "<|endoftext|>"
    (found,) = Masks(tokenizer, template=template)(GIVEN)
    assert said(tokenizer, found) == TURNS


def test_a_line_break_that_alone_ends_a_turn_is_learnt(tokenizer):
    template = (
        "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
        "{% if add_generation_prompt %}assistant: {% endif %}"
    )
    given = Conversation([{"role": r, "content": "1"} for r in ("user", "assistant", "user")], [])
    (found,) = Masks(tokenizer, template=template)(given)
    assert said(tokenizer, found) == ["1\n"]


def test_what_a_template_marks_behind_the_end_of_a_turn_is_learnt_as_trl_learns_it(tokenizer):
    template = (
        "{% for m in messages %}{{ m.role }}: "
        "{% generation %}{{ m.content }}<|im_end|>\n{% endgeneration %}{% endfor %}"
    )
    given = Conversation([{"role": "assistant", "content": "1"}], [])
    (found,) = Masks(tokenizer, template=template)(given)
    assert said(tokenizer, found) == ["1<|im_end|>\n"]


def test_a_template_that_rewrites_past_turns_makes_a_sequence_of_each(tokenizer):
    messages = [
        {"role": "user", "content": "1?"},
        {"role": "assistant", "content": "1", "thoughts": "one"},
        {"role": "user", "content": "2?"},
        {"role": "assistant", "content": "2", "thoughts": "two"},
    ]
    first, second = Masks(tokenizer, template=FORGETS)(Conversation(messages, []))
    assert said(tokenizer, first) == ["<think>one</think>1<|im_end|>"]
    assert said(tokenizer, second) == ["<think>two</think>2<|im_end|>"]
    # As the model is asked in a rollout: without its thoughts of before.
    assert "one" not in tokenizer.decode(second.tokens)


@pytest.mark.parametrize(
    ("template", "why"),
    [
        (FORGETS, "shows no tools"),
        ("{{ tools }}{{ raise_exception('no') }}", "refuses the conversation: no"),
        ("{{ tools }}{% generation %}{% endgeneration %}x", "marks no token as the assistant's"),
        (
            "{{ tools }}{% for m in messages %}{{ m.content }}{% endfor %}"
            "{% if add_generation_prompt %}think{% endif %}",
            "renders a turn otherwise than it opens one",
        ),
    ],
)
def test_a_template_that_does_not_tell_is_refused_with_the_reason(tokenizer, template, why):
    with pytest.raises(NoMaskError, match=why):
        Masks(tokenizer, template=template)(GIVEN)


def test_tokens_are_kept_as_they_are_up_to_the_last_that_is_learnt(tmp_path):
    one = Learnt([5, 6, 7, 8], [False, True, False, False])
    two = [Learnt([1, 2], [False, True]), Learnt([3], [False]), Learnt([4, 4, 4], [True] * 3)]
    Tokens.of([[one], two]).save(tmp_path / "some.npz")
    kept = Tokens.load(tmp_path / "some.npz")
    assert kept.conversations == 2
    assert [(t.tolist(), m.tolist()) for t, m in kept.of_conversation(0)] == [
        ([5, 6], [False, True])
    ]
    assert [t.tolist() for t, _ in kept.of_conversation(1)] == [[1, 2], [4, 4, 4]]


def test_sequences_that_run_together_have_the_loss_of_each_alone(tmp_path):
    folder = make_model(tmp_path / "model")
    trainer = prepared(make_config(folder, tmp_path / "checkpoints", "sft"))
    random, beginning = np.random.default_rng(0), list(range(2, 30))
    conversations = []
    for length in (3, 17, 40, 40, 5, 90):
        tokens = beginning + random.integers(2, 64, size=length).tolist()
        learnt = [False] * len(beginning) + (random.random(length) < 0.5).tolist()
        learnt[-1] = True
        conversations.append([Learnt(tokens, learnt)])
    experiences = _experiences(Tokens.of(conversations), range(len(conversations)))
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    total, count = 0.0, 0
    for (one,) in conversations:
        logits = model(torch.tensor([one.tokens])).logits[0, :-1]
        targets = torch.tensor(one.tokens[1:])
        losses = torch.nn.functional.cross_entropy(logits, targets, reduction="none")
        chosen = torch.tensor(one.learnt[1:])
        total, count = total + losses[chosen].sum().item(), count + int(chosen.sum())
    learner = trainer.learner
    assert learner.mean_loss(experiences) == pytest.approx(total / count, rel=1e-5)
    metrics = learner.train(experiences, 1)
    assert metrics["actor/sft_loss"] == pytest.approx(total / count, rel=1e-5)
    assert "actor/ppo_kl" not in metrics
    # Together they take fewer tokens than each alone, padding included.
    assert metrics["tokens/computed"] < sum(len(one.tokens) for (one,) in conversations)
    assert learner.mean_loss(experiences) < total / count
