"""Learning from given conversations, by the real command and by both trainers."""

import asyncio
import json

import pytest
import torch
from parity import verl_on_cpu
from verl_trainer import step_trainer, trinity_config

from rlagent.base.paths import resolve_path
from rlagent.data import main as data
from rlagent.records.folder import RunFolder
from rlagent.trinity.conversations import Tokens
from rlagent.trinity.given_steps import _experiences
from rlagent.trinity.masks import Learnt
from tests.cpu.runs import trained

pytestmark = pytest.mark.slow


def sequences() -> list[list[Learnt]]:
    """Of several lengths, some of whose tokens are learnt."""
    chance = torch.Generator().manual_seed(0)
    found = []
    for length in (5, 9, 40, 17, 3):
        tokens = torch.randint(5, 400, (length,), generator=chance).tolist()
        learnt = [False, *(torch.rand(length - 1, generator=chance) < 0.5).tolist()]
        learnt[-1] = True
        found.append([Learnt(tokens, learnt)])
    return found


def loss_alone() -> float:
    """Mean of -log p over the learnt tokens, each sequence by itself."""
    from transformers import AutoModelForCausalLM

    path = resolve_path("builtin:tiny")
    model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32).eval()
    losses = []
    for (one,) in sequences():
        logits = model(torch.tensor([one.tokens])).logits[0, :-1]
        each = torch.nn.functional.cross_entropy(
            logits, torch.tensor(one.tokens[1:]), reduction="none"
        )
        losses.append(each[torch.tensor(one.learnt[1:])])
    return torch.cat(losses).mean().item()


@pytest.mark.parametrize("attention", ["sdpa", "packed"])
def test_verl_learns_of_packed_sequences_as_of_each_alone(tmp_path, monkeypatch, attention):
    file = tmp_path / "some.jsonl"
    said = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    file.write_text("".join(json.dumps({"messages": said, "n": n}) + "\n" for n in range(40)))
    asked = ("algorithm=sft", "dataset=conversations", f"dataset.path={file}", "workflow=own")
    rate = "algorithm.lr=1e-3"
    config = trinity_config(*asked, rate, f"hardware.attention={attention}")
    given = _experiences(Tokens.of(sequences()), range(len(sequences())))
    with verl_on_cpu(tmp_path, monkeypatch):
        trainer, _ = step_trainer(config)
        before = asyncio.run(trainer.mean_loss(given))
        metrics = asyncio.run(trainer.train_step(given))
        after = asyncio.run(trainer.mean_loss(given))
    # The worker's weights are in bfloat16.
    assert before == pytest.approx(loss_alone(), rel=2e-2)
    assert metrics["actor/sft_loss"] == pytest.approx(before, rel=1e-3)
    assert after < before


def learn(directory, *overrides: str) -> RunFolder:
    words = ["algorithm=sft", "dataset=conversations", "model=tiny", "hardware=cpu", *overrides]
    return trained(directory, *words)


def test_the_teachers_conversations_lower_the_loss_and_raise_success(tmp_path):
    file = tmp_path / "conversations.jsonl"
    source = ("--source", "builtin:gsm8k_tiny", "--limit", "1500")
    assert data(["gsm8k_tools", *source, "--to", str(file)]) == 0
    folder = learn(
        tmp_path,
        f"dataset.path={file}",
        "workflow=gsm8k_react",
        # The teacher says something beside each call.
        "model.tool_choice=free",
        "evaluate.dataset=gsm8k_tiny",
        "algorithm.total_steps=150",
        "algorithm.lr_schedule=cosine",
        "algorithm.eval_interval=50",
        "dataset.eval_tasks=128",
    )
    losses = [
        row["metrics"]["eval/loss"]
        for row in folder.read_metrics("trainer")
        if "eval/loss" in row["metrics"]
    ]
    assert len(losses) == 4
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < losses[0] / 3
    status = folder.read_status()
    assert status["state"] == "finished"
    assert status["success_after"] > status["success_before"]
