"""Models whose attention the cached forward pass cannot take over: slower, but any causal model.

Also decides which kind of pass a model gets, by comparing logits rather than by its name.
"""

from typing import Any, List, Sequence, Tuple, Union

import numpy as np
import torch
from torch import Tensor

from rlagent.backends.embedded.engine.compact import CompactForward
from rlagent.backends.embedded.engine.forward import CachedForward, Decode, Part, Prefill
from rlagent.backends.embedded.engine.kv import KVShape, Lane
from rlagent.records import warnings

_LARGEST_DIFFERENCE = 1e-2
"""Of logits, relative to their spread; a wrong mask or position is far above, rounding far below.
"""


class PlainForward:
    """Computes every row from scratch at each step; only its tokens are cached.

    Costs a whole pass over prompt and response for each token.
    """

    def __init__(self, model: Any) -> None:
        self.model = model
        self.shape = KVShape(layers=1, kv_heads=1, head_dim=1, dtype=torch.float32)

    def forward(self, parts: Sequence[Part]) -> Tensor:
        """Logits, float32, one row for each output of each part in order: (outputs, vocab)."""
        rows: List[np.ndarray] = []
        for part in parts:
            part.prepare(0)
            taken = range(len(part.tokens)) if isinstance(part, Decode) else [part.row]
            for index in taken:
                own = part.lane.tokens[index, : part.lane.lengths[index]]
                rows.append(np.concatenate((part.lane.trunk, own)))
        longest = max(len(row) for row in rows)
        ids = torch.zeros(len(rows), longest, dtype=torch.long)
        mask = torch.zeros(len(rows), longest, dtype=torch.long)
        for i, row in enumerate(rows):
            ids[i, : len(row)] = torch.from_numpy(row.astype(np.int64))
            mask[i, : len(row)] = 1
        logits = self.model(input_ids=ids, attention_mask=mask, use_cache=False).logits
        last = mask.sum(dim=1) - 1
        return logits[torch.arange(len(rows)), last].float()


def choose_forward(
    model: Any, max_model_len: int
) -> Union[CompactForward, CachedForward, PlainForward]:
    """The fastest forward pass that computes what the model computes."""
    before = model.config._attn_implementation
    with torch.no_grad():
        expected = _reference(model)
    reasons = []
    for kind in (CompactForward, CachedForward):
        try:
            with torch.no_grad():
                forward = kind(model, max_model_len)
                difference = _difference(forward, expected)
            if difference < _LARGEST_DIFFERENCE:
                return forward
            reason = f"its logits would differ by {difference:.2g} of their spread"
        # A model may trip over an unusual call in any way; each only means the next, slower kind.
        except Exception as error:
            reason = f"{type(error).__name__}: {error}"
        reasons.append(f"{kind.__name__}: {reason}")
    model.set_attn_implementation(before)
    why = "; ".join(reasons)
    warnings.say(f"{type(model).__name__} decodes without a KV cache, which is slow ({why})")
    return PlainForward(model)


_SAMPLE = np.arange(3, 40, dtype=np.int32)


def _reference(model: Any) -> Tensor:
    ids = torch.from_numpy(_SAMPLE.astype(np.int64))[None]
    return model(input_ids=ids, use_cache=False).logits[0].float()


def _difference(forward: Union[CompactForward, CachedForward], expected: Tensor) -> float:
    """Largest difference of logits over a prompt with a trunk, a further piece and single tokens.

    Relative to the spread of the expected ones.
    """
    empty = np.zeros(0, dtype=np.int32)
    root = Lane(forward.shape, empty, None)
    root.add(None)
    forward.forward([Prefill(root, 0, _SAMPLE[:12])])
    lane = Lane(forward.shape, _SAMPLE[:12], root.read(0, 12).clone())
    lane.add(None)
    lane.add(None)
    steps: List[Tuple[List[int], Sequence[Part]]] = [
        ([20, 24], [Prefill(lane, 0, _SAMPLE[12:21]), Prefill(lane, 1, _SAMPLE[12:25])]),
        ([21, 25], [Decode(lane, [int(_SAMPLE[21]), int(_SAMPLE[25])])]),
        ([22, 26], [Decode(lane, [int(_SAMPLE[22]), int(_SAMPLE[26])])]),
    ]
    worst = 0.0
    for places, parts in steps:
        got = forward.forward(parts)
        worst = max(worst, (got - expected[places]).abs().max().item())
    return worst / max(expected.std().item(), 1e-6)
