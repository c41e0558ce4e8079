"""The forward pass of Llama-like models in a third of the operations.

A small model on a CPU spends its time between operations rather than in them. Projections that
read the same input are one matrix product here, norms and residuals one operation each. Attention
and the cache are those of forward.py; whether a model is computed rightly is checked in
fallback.py before this is used.
"""

from typing import Any, List, Optional, Sequence, Tuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import linear, rms_norm, silu

from rlagent.backends.embedded.engine.forward import Part, UnsupportedModelError
from rlagent.backends.embedded.engine.kv import KVShape


class CompactForward:
    """As CachedForward, for models of the Llama family: Llama, Qwen2, Qwen3, Mistral, SmolLM.

    The model's own parameters become views of the joined ones, so that weights copied into the
    model are copied into both.

    Raises:
        UnsupportedModelError: For models built otherwise.
    """

    def __init__(self, model: Any, max_model_len: int) -> None:
        config = model.config
        self.model = model
        try:
            body = model.model
            self._layers = [_Layer(layer) for layer in body.layers]
            self._embedding = body.embed_tokens
            self._norm = body.norm
            self._head = model.lm_head
            rotary = body.rotary_emb
            kind = config.rope_parameters["rope_type"]
        except (AttributeError, KeyError, TypeError) as error:
            raise UnsupportedModelError(f"not built like Llama: {error}") from error
        if config.hidden_act != "silu" or kind not in ("default", "linear", "llama3", "yarn"):
            raise UnsupportedModelError(f"activation {config.hidden_act}, positions {kind}")
        window = getattr(config, "sliding_window", None)
        if window is not None and window < max_model_len:
            raise UnsupportedModelError(f"a sliding window of {window} tokens")
        first = self._layers[0]
        dtype = self._embedding.weight.dtype
        self.shape = KVShape(len(self._layers), first.kv_heads, first.size, dtype)
        self._cos, self._sin = _rotations(rotary, max_model_len, dtype)

    def forward(self, parts: Sequence[Part]) -> Tensor:
        """Logits, float32, one row for each output of each part in order: (outputs, vocab)."""
        ids: List[np.ndarray] = []
        positions: List[np.ndarray] = []
        outputs: List[int] = []
        first = 0
        for part in parts:
            tokens, places = part.prepare(first)
            ids.append(tokens)
            positions.append(places)
            outputs.extend(part.outputs())
            first += len(tokens)
        places = torch.from_numpy(np.concatenate(positions))
        cos, sin = self._cos[places], self._sin[places]
        x = self._embedding(torch.from_numpy(np.concatenate(ids)))
        for index, layer in enumerate(self._layers):
            x = layer.forward(index, x, cos, sin, parts)
        x = x[torch.tensor(outputs, dtype=torch.long)]
        x = rms_norm(x, (x.shape[-1],), self._norm.weight, self._norm.variance_epsilon)
        return self._head(x).float()


class _Layer:
    """One transformer block; tensors are (tokens, ...), without a batch dimension."""

    def __init__(self, block: Any) -> None:
        attention, mlp = block.self_attn, block.mlp
        self.size = attention.head_dim
        self.heads = attention.q_proj.weight.shape[0] // self.size
        self.kv_heads = attention.k_proj.weight.shape[0] // self.size
        self.scaling = attention.scaling
        self.before_attention = block.input_layernorm
        self.before_mlp = block.post_attention_layernorm
        self.q_norm: Any = getattr(attention, "q_norm", None)
        self.k_norm: Any = getattr(attention, "k_norm", None)
        self.into, self.into_bias = _join(attention.q_proj, attention.k_proj, attention.v_proj)
        self.out = attention.o_proj
        self.up, self.up_bias = _join(mlp.gate_proj, mlp.up_proj)
        self.down = mlp.down_proj

    def forward(
        self, index: int, x: Tensor, cos: Tensor, sin: Tensor, parts: Sequence[Part]
    ) -> Tensor:
        """The block's output; cos and sin have shape (tokens, 1, head_dim)."""
        count, width = x.shape
        norm = self.before_attention
        y = rms_norm(x, (width,), norm.weight, norm.variance_epsilon)
        y = linear(y, self.into, self.into_bias).view(count, -1, self.size)
        turning, value = y[:, : self.heads + self.kv_heads], y[:, self.heads + self.kv_heads :]
        if self.q_norm is not None:
            turning = self._normed(turning)
        turned = torch.addcmul(turning * cos, turning.roll(self.size // 2, -1), sin)
        query = (turned[:, : self.heads] * self.scaling).transpose(0, 1)
        key = turned[:, self.heads :].transpose(0, 1)
        value = value.transpose(0, 1)
        mixed = [part.attend(index, query, key, value) for part in parts]
        seen = mixed[0] if len(mixed) == 1 else torch.cat(mixed)
        x = _add_linear(x, seen.reshape(count, -1), self.out)
        norm = self.before_mlp
        y = rms_norm(x, (width,), norm.weight, norm.variance_epsilon)
        gate, up = linear(y, self.up, self.up_bias).chunk(2, dim=-1)
        return _add_linear(x, silu(gate) * up, self.down)

    def _normed(self, turning: Tensor) -> Tensor:
        norm = self.q_norm
        q, k = turning[:, : self.heads], turning[:, self.heads :]
        return torch.cat(
            (
                rms_norm(q, (self.size,), norm.weight, norm.variance_epsilon),
                rms_norm(k, (self.size,), self.k_norm.weight, self.k_norm.variance_epsilon),
            ),
            dim=1,
        )


def _add_linear(x: Tensor, y: Tensor, layer: nn.Linear) -> Tensor:
    """x + layer(y)."""
    if layer.bias is not None:
        x = x + layer.bias
    return torch.addmm(x, y, layer.weight.t())


def _join(*layers: nn.Linear) -> Tuple[Tensor, Optional[Tensor]]:
    """Weights, and biases, of linear layers as one; the layers' own become views of it."""
    weight = torch.cat([layer.weight.detach() for layer in layers])
    biases = [layer.bias for layer in layers]
    if any(b is None for b in biases) != all(b is None for b in biases):
        raise UnsupportedModelError("some projections have a bias and some have none")
    bias = None if biases[0] is None else torch.cat([b.detach() for b in biases])
    row = 0
    for layer in layers:
        end = row + layer.weight.shape[0]
        layer.weight.data = weight[row:end]
        if bias is not None:
            layer.bias.data = bias[row:end]
        row = end
    return weight, bias


def _rotations(rotary: Any, length: int, dtype: torch.dtype) -> Tuple[Tensor, Tensor]:
    """cos and sin of every position, (length, 1, head_dim).

    The sign that turning by half a head brings is in sin, so that turning is a roll.
    """
    with torch.no_grad():
        cos, sin = rotary(torch.zeros(1, dtype=dtype), torch.arange(length)[None])
    sin = sin[0].clone()
    sin[:, : sin.shape[-1] // 2] *= -1
    return cos[0][:, None].contiguous(), sin[:, None].contiguous()
