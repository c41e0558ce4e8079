"""Drawing the next tokens of a batch from logits, and their log-probabilities.

Log-probabilities are those of the distribution that was drawn from: after masks, temperature,
top_k and top_p, as vLLM's processed_logprobs are.
"""

from dataclasses import dataclass
from typing import List, Optional, Sequence

import torch
from torch import Tensor

from rlagent.backends.embedded.engine.protocol import SamplingParams


@dataclass
class Drawn:
    """The next tokens of a batch.

    Attributes:
        tokens: Token ids, one for each row.
        logprobs: Their log-probabilities.
        distribution: Log-probabilities of every token, shape (rows, vocab).
    """

    tokens: List[int]
    logprobs: List[float]
    distribution: Tensor


def draw(
    logits: Tensor,
    params: Sequence[SamplingParams],
    generators: Sequence[Optional[torch.Generator]],
    default: torch.Generator,
) -> Drawn:
    """Draw one token for each row.

    Args:
        logits: (rows, vocab), float32, -inf where a token must not be drawn; may be changed.
        params: One for each row.
        generators: A row's own generator, or None for `default`.
    """
    temperatures = [p.temperature if p.temperature > 0 else 1.0 for p in params]
    if any(t != 1.0 for t in temperatures):
        logits = logits.div_(torch.tensor(temperatures)[:, None])
    cut = [i for i, p in enumerate(params) if p.top_p < 1.0 or p.top_k > 0]
    if cut:
        logits[cut] = _truncate(logits[cut], [params[i] for i in cut])
    distribution = logits.log_softmax(dim=-1)
    cumulative = distribution.exp().cumsum(dim=-1)
    uniform = torch.rand(len(params), 1, generator=default)
    for row, generator in enumerate(generators):
        if generator is not None:
            uniform[row] = torch.rand(1, generator=generator)
    # The first token whose cumulative probability exceeds the uniform number: a token of
    # probability 0 never raises it, so it is never taken.
    target = uniform.mul_(cumulative[:, -1:])
    target = torch.minimum(target, torch.nextafter(cumulative[:, -1:], torch.zeros(1)))
    tokens = torch.searchsorted(cumulative, target, right=True)
    greedy = [i for i, p in enumerate(params) if p.temperature <= 0]
    if greedy:
        tokens[greedy] = distribution[greedy].argmax(dim=-1, keepdim=True)
    logprobs = distribution.gather(1, tokens)
    return Drawn(tokens[:, 0].tolist(), logprobs[:, 0].tolist(), distribution)


def _truncate(logits: Tensor, params: Sequence[SamplingParams]) -> Tensor:
    """-inf for tokens outside top_k, then outside top_p of what is left."""
    vocab = logits.shape[-1]
    ordered, order = logits.sort(dim=-1, descending=True)
    keep = torch.tensor([p.top_k if p.top_k > 0 else vocab for p in params])
    ordered = ordered.masked_fill(torch.arange(vocab)[None] >= keep[:, None], float("-inf"))
    probabilities = ordered.softmax(dim=-1)
    before = probabilities.cumsum(dim=-1) - probabilities
    # 2 is never reached; a limit of 1 could be, by rounding.
    limit = torch.tensor([p.top_p if p.top_p < 1.0 else 2.0 for p in params])
    outside = before >= limit[:, None]
    outside[:, 0] = False
    ordered = ordered.masked_fill(outside, float("-inf"))
    return torch.empty_like(logits).scatter_(1, order, ordered)
