"""Supervised training of the tiny model on the transcripts: only what the assistant says counts.

Which conversations there are is decided in transcripts.py, how they are spelled in tokenizer.py.
"""

import math
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.functional import cross_entropy
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

from rlagent.workflows.teacher import Transcript

# Label of tokens that carry no loss.
IGNORED = -100


@dataclass(frozen=True)
class Example:
    """One conversation as tokens; `labels` holds the assistant's tokens, IGNORED elsewhere."""

    tokens: list[int]
    labels: list[int]


@dataclass(frozen=True)
class Schedule:
    """Passes over the examples, conversations per update, peak learning rate, warm-up updates.

    The learning rate falls from the peak to a tenth of it along a cosine. Stopping this early,
    with a teacher that errs this often, is what leaves the model unsure of its calculations.
    """

    epochs: int = 3
    batch: int = 48
    lr: float = 3e-3
    warmup: int = 30


SHAPE = {
    "hidden_size": 128,
    "intermediate_size": 384,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 32,
}
"""Of about 0.9 M parameters."""


def new_model(tokenizer: PreTrainedTokenizerFast, seed: int, **shape: int) -> Qwen3ForCausalLM:
    """A Qwen3 with random weights, in float32; `shape` is what differs from SHAPE."""
    torch.manual_seed(seed)
    config = Qwen3Config(
        vocab_size=len(tokenizer),
        **{**SHAPE, **shape},
        max_position_embeddings=2048,
        tie_word_embeddings=True,
        initializer_range=0.05,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        dtype="float32",
    )
    return Qwen3ForCausalLM(config)


def encode(tokenizer: PreTrainedTokenizerFast, transcripts: Sequence[Transcript]) -> list[Example]:
    """The transcripts through the chat template, with its own mask of the assistant's tokens."""
    examples = []
    for transcript in transcripts:
        encoded: Any = tokenizer.apply_chat_template(
            transcript.messages,
            tools=[*transcript.tools],
            return_dict=True,
            return_assistant_tokens_mask=True,
        )
        tokens, mask = encoded["input_ids"], encoded["assistant_masks"]
        labels = [t if m else IGNORED for t, m in zip(tokens, mask, strict=True)]
        examples.append(Example(tokens, labels))
    return examples


def train(
    model: Qwen3ForCausalLM, examples: Sequence[Example], schedule: Schedule, seed: int
) -> list[float]:
    """Train in place; returns the mean loss per assistant token of each epoch."""
    rng = random.Random(seed)
    optimizers = _optimizers(model, schedule.lr)
    updates = schedule.epochs * math.ceil(len(examples) / schedule.batch)
    done, losses = 0, []
    model.train()
    for epoch in range(schedule.epochs):
        started, total, count = time.monotonic(), 0.0, 0
        for batch in _batches(examples, schedule.batch, rng):
            factor = _factor(done, updates, schedule.warmup)
            for group in (g for optimizer in optimizers for g in optimizer.param_groups):
                group["lr"] = schedule.lr * factor
            loss, tokens = _loss(model, batch)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            for optimizer in optimizers:
                optimizer.step()
                optimizer.zero_grad(set_to_none=True)
            done += 1
            total, count = total + loss.item() * tokens, count + tokens
        losses.append(total / count)
        print(f"epoch {epoch + 1}: loss {losses[-1]:.4f}, {time.monotonic() - started:.0f} s")
    return losses


def _optimizers(model: Qwen3ForCausalLM, lr: float) -> list[torch.optim.Optimizer]:
    """Muon for the weight matrices, which halves the updates needed, AdamW for the rest."""
    embedding = model.get_input_embeddings().weight
    matrices = [p for p in model.parameters() if p.ndim == 2 and p is not embedding]
    others = [p for p in model.parameters() if p.ndim != 2 or p is embedding]
    return [
        torch.optim.Muon(matrices, lr=lr, weight_decay=0.01, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(others, lr=lr, betas=(0.9, 0.98), weight_decay=0.0),
    ]


def _factor(update: int, updates: int, warmup: int) -> float:
    if update < warmup:
        return (update + 1) / warmup
    progress = (update - warmup) / max(1, updates - warmup)
    return 0.1 + 0.45 * (1 + math.cos(math.pi * progress))


def _batches(examples: Sequence[Example], size: int, rng: random.Random) -> list[list[Example]]:
    """Batches of similar length in random order: little padding, yet another mix each epoch."""
    order = sorted(examples, key=lambda example: (len(example.tokens), rng.random()))
    batches = [order[i : i + size] for i in range(0, len(order), size)]
    rng.shuffle(batches)
    return batches


def _loss(model: Qwen3ForCausalLM, batch: Sequence[Example]) -> tuple[torch.Tensor, int]:
    """Mean loss over the assistant's tokens of a batch, and their number."""
    width = max(len(example.tokens) for example in batch)
    tokens = torch.full((len(batch), width), 0)
    labels = torch.full((len(batch), width), IGNORED)
    for row, example in enumerate(batch):
        tokens[row, : len(example.tokens)] = torch.tensor(example.tokens)
        labels[row, : len(example.labels)] = torch.tensor(example.labels)
    # Padding stands on the right, where a causal model's earlier tokens do not see it.
    hidden = model.model(tokens).last_hidden_state[:, :-1]
    counted = labels[:, 1:] != IGNORED
    targets = labels[:, 1:][counted]
    return cross_entropy(model.lm_head(hidden[counted]), targets), len(targets)
