"""One forward pass of a Hugging Face causal model over rows of many lengths at once.

All tokens of a step are laid end to end, as one sequence of batch size 1; only attention sees
which row a token belongs to. It is exchanged through transformers' attention interface, so the
model's own code runs otherwise. Who is in a step is decided in generate.py.
"""

from dataclasses import dataclass, field
from typing import Any, List, Optional, Sequence, Tuple, Union

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from rlagent.backends.embedded.engine.kv import KVShape, Lane


class UnsupportedModelError(Exception):
    """The model does something in attention that the cached forward pass does not do."""


@dataclass
class Decode:
    """One more token for each of the first `count` rows of a lane."""

    lane: Lane
    tokens: List[int]
    first: int = 0
    mask: Tensor = field(init=False)
    rows: Tensor = field(init=False)
    places: Tensor = field(init=False)
    longest: int = field(init=False)

    def prepare(self, first: int) -> Tuple[np.ndarray, np.ndarray]:
        """Note the new tokens in the lane; returns (token ids, absolute positions)."""
        lane, count = self.lane, len(self.tokens)
        self.first = first
        places = lane.lengths[:count].copy()
        tokens = np.asarray(self.tokens, dtype=np.int64)
        lane.tokens[np.arange(count), places] = tokens
        lane.lengths[:count] += 1
        self.longest = int(places.max()) + 1
        self.rows = torch.arange(count)
        self.places = torch.from_numpy(places)
        hidden = torch.arange(self.longest)[None, :] > self.places[:, None]
        self.mask = torch.zeros(hidden.shape, dtype=lane.shape.dtype).masked_fill_(
            hidden, float("-inf")
        )[:, None, None, :]
        return tokens, places + len(lane.trunk)

    def outputs(self) -> List[int]:
        """Places, in the step, of the tokens whose logits are wanted."""
        return list(range(self.first, self.first + len(self.tokens)))

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Attention of the new tokens.

        Args:
            query: (heads, tokens of the step, head_dim), already scaled.
            key: (kv_heads, tokens of the step, head_dim); value likewise.

        Returns:
            (count, heads, head_dim).
        """
        lane, count = self.lane, len(self.tokens)
        span = slice(self.first, self.first + count)
        heads, _, size = query.shape
        kv_heads = key.shape[0]
        group = heads // kv_heads
        keys, values = lane.kv[layer, 0], lane.kv[layer, 1]
        keys[self.rows, :, self.places] = key[:, span].transpose(0, 1)
        values[self.rows, :, self.places] = value[:, span].transpose(0, 1)
        keys, values = keys[:count, :, : self.longest], values[:count, :, : self.longest]
        own = query[:, span].transpose(0, 1).reshape(count, kv_heads, group, size)
        scores = torch.matmul(own, keys.transpose(2, 3)).add_(self.mask)
        if lane.trunk_kv is None:
            mixed = torch.matmul(scores.softmax(-1), values)
            return mixed.reshape(count, heads, size)
        trunk_keys, trunk_values = lane.trunk_kv[layer, 0], lane.trunk_kv[layer, 1]
        trunk = trunk_keys.shape[1]
        shared = query[:, span].reshape(kv_heads, group * count, size)
        trunk_scores = torch.matmul(shared, trunk_keys.transpose(1, 2))
        trunk_scores = trunk_scores.view(kv_heads, group, count, trunk).permute(2, 0, 1, 3)
        weights = torch.cat((trunk_scores, scores), dim=-1).softmax(-1)
        mixed = torch.matmul(weights[..., trunk:], values)
        above = weights[..., :trunk].permute(1, 2, 0, 3).reshape(kv_heads, group * count, trunk)
        below = torch.matmul(above, trunk_values).view(kv_heads, group, count, size)
        return (mixed + below.permute(2, 0, 1, 3)).reshape(count, heads, size)


@dataclass
class Prefill:
    """Further tokens of one row, after those that it already holds."""

    lane: Lane
    row: int
    tokens: np.ndarray
    wants_logits: bool = True
    first: int = 0
    start: int = 0
    mask: Optional[Tensor] = None

    def prepare(self, first: int) -> Tuple[np.ndarray, np.ndarray]:
        """Note the new tokens in the lane; returns (token ids, absolute positions)."""
        lane, size = self.lane, len(self.tokens)
        self.first = first
        self.start = int(lane.lengths[self.row])
        before = len(lane.trunk) + self.start
        lane.tokens[self.row, self.start : self.start + size] = self.tokens
        lane.lengths[self.row] += size
        if size > 1:
            self.mask = torch.ones(size, before + size, dtype=torch.bool).tril_(before)
        return self.tokens.astype(np.int64), np.arange(before, before + size)

    def outputs(self) -> List[int]:
        """Places, in the step, of the tokens whose logits are wanted."""
        return [self.first + len(self.tokens) - 1] if self.wants_logits else []

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Attention of the new tokens; shapes as in Decode.attend."""
        lane, size = self.lane, len(self.tokens)
        span = slice(self.first, self.first + size)
        end = self.start + size
        keys, values = lane.kv[layer, 0, self.row], lane.kv[layer, 1, self.row]
        keys[:, self.start : end] = key[:, span]
        values[:, self.start : end] = value[:, span]
        keys, values = keys[:, :end], values[:, :end]
        if lane.trunk_kv is not None:
            keys = torch.cat((lane.trunk_kv[layer, 0], keys), dim=1)
            values = torch.cat((lane.trunk_kv[layer, 1], values), dim=1)
        mixed = scaled_dot_product_attention(
            query[None, :, span],
            keys[None],
            values[None],
            attn_mask=self.mask,
            scale=1.0,
            enable_gqa=query.shape[0] != keys.shape[0],
        )
        return mixed[0].transpose(0, 1)


Part = Union[Decode, Prefill]


class CachedForward:
    """Runs a model over the parts of a step, with the lanes' KV cache.

    Raises:
        UnsupportedModelError: By `forward`, for attention with sliding windows shorter than the
            longest sequence, score caps or sinks, and for models without the interface.
    """

    def __init__(self, model: Any, max_model_len: int) -> None:
        from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

        self.model = model
        self.max_model_len = max_model_len
        self._parts: Optional[Sequence[Part]] = None
        self._calls = 0
        config = model.config.get_text_config()
        heads = config.num_attention_heads
        self.shape = KVShape(
            layers=config.num_hidden_layers,
            kv_heads=getattr(config, "num_key_value_heads", None) or heads,
            head_dim=getattr(config, "head_dim", None) or config.hidden_size // heads,
            dtype=next(model.parameters()).dtype,
        )
        name = f"rlagent_lanes_{id(self)}"
        ALL_ATTENTION_FUNCTIONS.register(name, self._attention)
        try:
            model.set_attn_implementation(name)
        except ValueError as error:
            raise UnsupportedModelError(str(error)) from error

    def forward(self, parts: Sequence[Part]) -> Tensor:
        """Logits, float32, one row for each output of each part in order: (outputs, vocab)."""
        tokens, positions, outputs, first = [], [], [], 0
        for part in parts:
            ids, places = part.prepare(first)
            tokens.append(ids)
            positions.append(places)
            outputs.extend(part.outputs())
            first += len(ids)
        self._parts, self._calls = parts, 0
        try:
            logits = self.model(
                input_ids=torch.from_numpy(np.concatenate(tokens))[None],
                position_ids=torch.from_numpy(np.concatenate(positions))[None],
                use_cache=False,
                logits_to_keep=torch.tensor(outputs, dtype=torch.long),
            ).logits[0]
        finally:
            self._parts = None
        if self._calls != self.shape.layers:
            raise UnsupportedModelError(
                f"{self._calls} of {self.shape.layers} layers used the attention interface"
            )
        return logits.float()

    def _attention(
        self,
        module: Any,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attention_mask: Optional[Tensor],
        scaling: Optional[float] = None,
        dropout: float = 0.0,
        **kwargs: Any,
    ) -> Tuple[Tensor, None]:
        """transformers' attention interface: (1, heads, tokens, head_dim) -> (1, tokens, ...)."""
        self._refuse_special(kwargs)
        if scaling is None:
            scaling = query.shape[-1] ** -0.5
        if self._parts is None:
            mixed = scaled_dot_product_attention(
                query,
                key,
                value,
                is_causal=query.shape[2] > 1,
                scale=scaling,
                enable_gqa=query.shape[1] != key.shape[1],
            )
            return mixed.transpose(1, 2), None
        self._calls += 1
        layer = module.layer_idx
        query, key, value = query[0] * scaling, key[0], value[0]
        mixed = [part.attend(layer, query, key, value) for part in self._parts]
        return (mixed[0] if len(mixed) == 1 else torch.cat(mixed))[None], None

    def _refuse_special(self, kwargs: Any) -> None:
        for name in ("softcap", "s_aux", "position_bias"):
            if kwargs.get(name) is not None:
                raise UnsupportedModelError(f"attention with {name}")
        window = kwargs.get("sliding_window")
        if window is not None and window < self.max_model_len:
            raise UnsupportedModelError(f"a sliding window of {window} tokens")
