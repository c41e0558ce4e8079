"""Log-probabilities and entropies of chosen tokens under a Hugging Face causal model.

Runs micro-batches as micro_batches.py planned them and computes logits only where the model acted.
What a model allows (running a shared prefix once, applying the output layer to selected positions)
is tried on it, not looked up by its name. Losses and optimisation are elsewhere.
"""

from dataclasses import dataclass
from typing import List, Optional, Sequence, Tuple

import numpy as np
import torch
from transformers import DynamicCache, PreTrainedModel

from rlagent.backends.embedded.allowed import forbidden, of_actions
from rlagent.backends.embedded.micro_batches import MicroBatch, Row, Sample, make_sample

KEPT_LOGITS = 64 * 2**20
"""Logits of one micro-batch whose probabilities are kept for the backward pass (256 MiB of them);
with more, they are computed again chunk by chunk."""

LOGIT_CHUNK = 16 * 2**20
"""Most logits that exist at once beyond the kept ones."""


@dataclass(frozen=True)
class Abilities:
    """What was found to hold for a model.

    Attributes:
        shares_prefix: A beginning may run once, and its keys and values serve several rows.
        splits_head: Logits are the output layer applied to the last hidden states, nothing more.
        notes: Why something is not used, one line each.
    """

    shares_prefix: bool
    splits_head: bool
    notes: Tuple[str, ...] = ()


@dataclass(frozen=True)
class Scores:
    """Scores of the actions of one micro-batch, flat, sample by sample in `MicroBatch.members`.

    Attributes:
        logprobs: Shape (actions,), differentiable.
        entropy: Shape (actions,), in nats; differentiable only if asked for.
    """

    logprobs: torch.Tensor
    entropy: torch.Tensor


class _TokenScores(torch.autograd.Function):
    """log p(target) and entropy of softmax(hidden @ weight.T / temperature), in row chunks.

    The gradient of log p(target) is onehot(target) - p, that of the entropy -p (log p + entropy):
    one buffer the size of the logits does for both passes.
    """

    @staticmethod
    def forward(ctx, hidden, weight, bias, targets, temperature, entropy_gradient, masks):
        chunks = _chunk_bounds(hidden.shape[0], weight.shape[0])
        keep = hidden.shape[0] * weight.shape[0] <= KEPT_LOGITS
        logprobs = hidden.new_empty(hidden.shape[0])
        entropy = hidden.new_empty(hidden.shape[0])
        kept = []
        for low, high in chunks:
            mask = None if masks is None else masks[low:high]
            logs = _log_softmax(hidden[low:high], weight, bias, temperature, mask)
            logprobs[low:high] = logs.gather(1, targets[low:high, None]).squeeze(1)
            probabilities = logs.exp()
            if mask is not None:
                # Of a probability of 0, p log p is 0, not NaN.
                logs.masked_fill_(probabilities == 0, 0.0)
            entropy[low:high] = -logs.mul_(probabilities).sum(1)
            if keep:
                kept.append(probabilities)
        ctx.save_for_backward(hidden, weight, bias, targets, entropy, masks, *kept)
        ctx.chunks, ctx.temperature, ctx.entropy_gradient = chunks, temperature, entropy_gradient
        if not entropy_gradient:
            ctx.mark_non_differentiable(entropy)
        return logprobs, entropy

    @staticmethod
    def backward(ctx, logprob_gradient, entropy_gradient):
        hidden, weight, bias, targets, entropy, masks, *kept = ctx.saved_tensors
        hidden_gradient = torch.empty_like(hidden)
        # With LoRA the output layer is not trained.
        weight_gradient = torch.zeros_like(weight) if ctx.needs_input_grad[1] else None
        bias_gradient = None if bias is None else torch.zeros_like(bias)
        for number, (low, high) in enumerate(ctx.chunks):
            rows = hidden[low:high]
            if kept:
                gradient = kept[number]
            else:
                mask = None if masks is None else masks[low:high]
                gradient = _log_softmax(rows, weight, bias, ctx.temperature, mask).exp_()
            outer = logprob_gradient[low:high, None]
            if ctx.entropy_gradient:
                slope = torch.special.xlogy(gradient, gradient)
                slope.addcmul_(gradient, entropy[low:high, None])
                slope.mul_(entropy_gradient[low:high, None])
                gradient = gradient * -outer - slope
            else:
                gradient = gradient * -outer
            gradient.scatter_add_(1, targets[low:high, None], outer)
            if ctx.temperature != 1.0:
                gradient /= ctx.temperature
            torch.mm(gradient, weight, out=hidden_gradient[low:high])
            if weight_gradient is not None:
                weight_gradient.addmm_(gradient.t(), rows)
            if bias_gradient is not None:
                bias_gradient += gradient.sum(0)
        return hidden_gradient, weight_gradient, bias_gradient, None, None, None, None


def _chunk_bounds(rows: int, vocabulary: int) -> List[Tuple[int, int]]:
    size = max(1, LOGIT_CHUNK // vocabulary)
    return [(low, min(low + size, rows)) for low in range(0, rows, size)]


def _log_softmax(hidden, weight, bias, temperature, masks):
    logits = torch.nn.functional.linear(hidden, weight, bias)
    if temperature != 1.0:
        logits /= temperature
    if masks is not None:
        logits.masked_fill_(forbidden(masks, logits.shape[1]), float("-inf"))
    return torch.log_softmax(logits, dim=-1)


class Scorer:
    """Runs micro-batches through one model.

    Args:
        model: A causal language model with float32 weights, in evaluation mode (no dropout, or
            the old log-probabilities would not be those of the sampling policy).
        temperature: Sampling temperature, > 0; the logits are divided by it.
        abilities: What to use of the model; None: found out by trying.
    """

    def __init__(
        self, model: PreTrainedModel, temperature: float, abilities: Optional[Abilities] = None
    ):
        if temperature <= 0:
            raise ValueError(
                f"model.temperature={temperature}: training needs the log-probabilities of a "
                "sampling policy; choose a temperature above 0"
            )
        self.model = model
        self.temperature = float(temperature)
        self.abilities = abilities or find_abilities(model)

    def __call__(
        self,
        batch: MicroBatch,
        samples: Sequence[Sample],
        entropy_gradient: bool = False,
        allowed: Optional[Sequence[Optional[np.ndarray]]] = None,
    ) -> Scores:
        """Score the actions of all members of a micro-batch.

        Args:
            batch: What runs together.
            samples: All samples of the step; the batch names its members.
            entropy_gradient: Whether the entropy is differentiable.
            allowed: Per sample what a grammar allowed (see allowed.py); scores are then those of
                the distribution after its mask. None: all were free.
        """
        rows, columns, targets = _gather_indices(batch, samples)
        masks = None if allowed is None else of_actions(allowed, samples, batch.members)
        if self.abilities.splits_head:
            hidden = self._hidden_states(batch)
            picked = hidden[rows, columns]
            head = self.model.get_output_embeddings()
            logprobs, entropy = _TokenScores.apply(
                picked, head.weight, head.bias, targets, self.temperature, entropy_gradient, masks
            )
            return Scores(logprobs, entropy)
        logits = self.model(input_ids=_suffixes(batch), use_cache=False).logits
        picked = logits[rows, columns].float() / self.temperature
        if masks is not None:
            picked = picked.masked_fill(forbidden(masks, picked.shape[1]), float("-inf"))
        logs = torch.log_softmax(picked, dim=-1)
        logprobs = logs.gather(1, targets[:, None]).squeeze(1)
        kept = logs if entropy_gradient else logs.detach()
        if masks is not None:
            kept = kept.masked_fill(kept == float("-inf"), 0.0)
        return Scores(logprobs, -(kept * kept.exp()).sum(1))

    def _hidden_states(self, batch: MicroBatch) -> torch.Tensor:
        """Last hidden states after the prefix, shape (rows, width, hidden)."""
        decoder = self.model.base_model
        # No padding mask: padding stands after everything that is read, and attention is causal.
        if batch.prefix == 0:
            return decoder(input_ids=_suffixes(batch), use_cache=False).last_hidden_state
        beginning = torch.from_numpy(batch.rows[0].tokens[None, : batch.prefix].copy())
        # Without a config every layer of the cache is a plain growing one; a model for which
        # that is wrong fails the trial of `find_abilities`.
        cache = DynamicCache()
        decoder(input_ids=beginning, past_key_values=cache, use_cache=True)
        for layer in cache.layers:
            layer.keys = layer.keys.expand(len(batch.rows), -1, -1, -1)
            layer.values = layer.values.expand(len(batch.rows), -1, -1, -1)
        return decoder(
            input_ids=_suffixes(batch), past_key_values=cache, use_cache=True
        ).last_hidden_state


def _suffixes(batch: MicroBatch) -> torch.Tensor:
    """Input ids after the prefix, padded on the right, shape (rows, width)."""
    ids = np.zeros((len(batch.rows), batch.width), dtype=np.int64)
    for place, row in enumerate(batch.rows):
        ids[place, : len(row.tokens) - batch.prefix] = row.tokens[batch.prefix :]
    return torch.from_numpy(ids)


def _gather_indices(
    batch: MicroBatch, samples: Sequence[Sample]
) -> Tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Row, column and target of every action, in the order of `MicroBatch.members`."""
    members = [samples[m] for m in batch.members]
    places = [place for place, row in enumerate(batch.rows) for _ in row.members]
    rows = np.repeat(places, [len(sample.actions) for sample in members])
    columns = np.concatenate([sample.positions for sample in members]) - batch.prefix
    targets = np.concatenate([sample.targets for sample in members])
    return torch.from_numpy(rows), torch.from_numpy(columns), torch.from_numpy(targets)


@torch.no_grad()
def find_abilities(model: PreTrainedModel) -> Abilities:
    """Try on a few tokens which short cuts give this model's own log-probabilities.

    Raises:
        RuntimeError: If the model is not causal, so that padding on the right changes outputs.
    """
    vocabulary = model.get_input_embeddings().weight.shape[0]
    tokens = np.random.default_rng(0).integers(0, vocabulary, size=(2, 24))
    tokens[1, :16] = tokens[0, :16]
    samples = [make_sample(row, 18, np.ones(6)) for row in tokens]
    rows = [Row(tokens=s.tokens[:23], start=17, members=(i,)) for i, s in enumerate(samples)]
    whole = MicroBatch(rows=tuple(rows), prefix=0)
    expected = Scorer(model, 1.0, Abilities(False, False))(whole, samples).logprobs
    alone = Scorer(model, 1.0, Abilities(False, False))(
        MicroBatch(rows=(rows[0],), prefix=0), samples
    ).logprobs
    if not _agree(alone, expected[:6]):
        raise RuntimeError(
            f"{type(model).__name__} gives other outputs for a row when other rows run beside it; "
            "the embedded trainer needs a causal language model"
        )
    head = model.get_output_embeddings()
    if not isinstance(head, torch.nn.Linear):
        return Abilities(False, False, ("the output layer is no plain linear one",))
    split = Scorer(model, 1.0, Abilities(False, True))(whole, samples).logprobs
    if not _agree(split, expected):
        return Abilities(False, False, ("logits are more than the output layer's product",))
    layer_types = set(getattr(model.config, "layer_types", None) or {"full_attention"})
    if layer_types != {"full_attention"}:
        kinds = ", ".join(sorted(layer_types))
        return Abilities(False, True, (f"no shared prefixes with layers of kind {kinds}",))
    shared = MicroBatch(rows=tuple(rows), prefix=16)
    if not _agree(Scorer(model, 1.0, Abilities(True, True))(shared, samples).logprobs, expected):
        return Abilities(False, True, ("a shared prefix changes the outputs",))
    return Abilities(True, True)


def _agree(left: torch.Tensor, right: torch.Tensor) -> bool:
    return bool(torch.allclose(left, right, rtol=1e-3, atol=1e-3))
