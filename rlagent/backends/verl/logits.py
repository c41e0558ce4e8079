"""Log-probabilities and entropies from logits, in float32 and in pieces that fit memory.

verl computes them with flash-attn's kernel; without flash-attn it loops over the tokens in
Python, in the dtype of the logits: two thirds of the time of a training step, and
probabilities rounded to 8 bits. What is done with the results is verl's and Trinity's.
"""

from typing import Any

import torch

from rlagent.upstream import verl

PIECE_BYTES = 256 << 20
"""Most bytes of the float32 copy of a piece of the logits."""


def log_probs(logits: torch.Tensor, labels: torch.Tensor, reuse: bool = False) -> torch.Tensor:
    """Log-probability of each label, in float32.

    Args:
        logits: Shape (..., vocabulary), any floating dtype.
        labels: Shape (...).
        reuse: Write the gradient over the logits; nothing else may need them for its own.

    Returns:
        Shape (...), natural logarithm.
    """
    rows = logits.reshape(-1, logits.shape[-1])
    return _LogProbs.apply(rows, labels.reshape(-1), reuse).view(labels.shape)


def entropy(logits: torch.Tensor) -> torch.Tensor:
    """Entropy of each distribution, in float32 and nats.

    Args:
        logits: Shape (..., vocabulary), any floating dtype.
    """
    rows = logits.reshape(-1, logits.shape[-1])
    return _Entropy.apply(rows).view(logits.shape[:-1])


def _pieces(rows: torch.Tensor) -> list[slice]:
    size = max(1, PIECE_BYTES // (4 * rows.shape[1]))
    return [slice(start, start + size) for start in range(0, rows.shape[0], size)]


class _LogProbs(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: torch.Tensor, labels: torch.Tensor, reuse: bool) -> torch.Tensor:
        total = torch.empty(rows.shape[0], dtype=torch.float32, device=rows.device)
        chosen = torch.empty_like(total)
        for piece in _pieces(rows):
            values = rows[piece].float()
            total[piece] = torch.logsumexp(values, dim=-1)
            chosen[piece] = values.gather(-1, labels[piece].unsqueeze(-1)).squeeze(-1)
        ctx.reuse = reuse
        ctx.save_for_backward(rows, labels, total)
        return chosen - total

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        rows, labels, total = ctx.saved_tensors
        grad = grads[0].float()
        result = rows if ctx.reuse else torch.empty_like(rows)
        for piece in _pieces(rows):
            # d log p(label) / d logit = [label] - p
            values = torch.exp(rows[piece].float() - total[piece].unsqueeze(-1))
            values.mul_(-grad[piece].unsqueeze(-1))
            values.scatter_add_(-1, labels[piece].unsqueeze(-1), grad[piece].unsqueeze(-1))
            result[piece] = values.to(rows.dtype)
        return result, None, None


class _Entropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: torch.Tensor) -> torch.Tensor:
        total = torch.empty(rows.shape[0], dtype=torch.float32, device=rows.device)
        result = torch.empty_like(total)
        for piece in _pieces(rows):
            values = rows[piece].float()
            total[piece] = torch.logsumexp(values, dim=-1)
            logs = values - total[piece].unsqueeze(-1)
            result[piece] = -(torch.exp(logs) * logs).sum(dim=-1)
        ctx.save_for_backward(rows, total, result)
        return result

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> torch.Tensor:
        rows, total, entropies = ctx.saved_tensors
        grad = grads[0].float()
        result = torch.empty_like(rows)
        for piece in _pieces(rows):
            # d H / d logit = -p (log p + H)
            logs = rows[piece].float() - total[piece].unsqueeze(-1)
            values = -torch.exp(logs) * (logs + entropies[piece].unsqueeze(-1))
            result[piece] = (values * grad[piece].unsqueeze(-1)).to(rows.dtype)
        return result


class _Squeeze(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: torch.Tensor) -> torch.Tensor:
        # The same memory, but to autograd no view.
        return values.data.squeeze(0).data

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> torch.Tensor:
        return grads[0].unsqueeze(0)


class _Packed:
    """Logits of shape (1, tokens, vocabulary), squeezed without a view.

    verl squeezes them and divides the result by the temperature, in place: of a view of them
    autograd makes two more copies on the way back.
    """

    def __init__(self, values: torch.Tensor) -> None:
        self._values = values

    def squeeze(self, dim: int) -> torch.Tensor:
        """Drop the leading dimension; the logits are not to be used otherwise any more."""
        assert dim == 0
        return _Squeeze.apply(self._values)


def use_in_verl(entropy_gradient: bool, *engines: Any) -> None:
    """Have verl's FSDP engines in this process compute both as above.

    Args:
        entropy_gradient: Whether the loss holds an entropy term; else the entropy is only shown.
        engines: Those that were made before: each has bound verl's own function, compiled.
    """

    def verl_log_probs(logits: torch.Tensor, labels: torch.Tensor, **_: Any) -> torch.Tensor:
        # verl would keep the logits for an entropy that has no gradient, too.
        return log_probs(logits, labels, reuse=not entropy_gradient)

    def verl_entropy(logits: torch.Tensor, *_: Any) -> torch.Tensor:
        return entropy(logits if entropy_gradient else logits.detach())

    verl.log_probabilities.apply(verl_log_probs)
    verl.entropies.apply(verl_entropy)
    for engine in engines:
        verl.entropies_of_engine.apply(engine, verl_entropy)
    verl.logits_without_views.apply(_Packed)
