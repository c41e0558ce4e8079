"""Continuous batching: requests join and leave a running batch between two tokens.

Owns which request has which row, and what is reused of earlier ones; the model pass is in
forward.py, drawing in sampling.py, grammars in grammar.py, HTTP in server.py.
"""

from collections import deque
from dataclasses import dataclass, field
from typing import Any, Callable, Deque, Dict, List, Optional, Sequence, Tuple

import numpy as np
import torch
from torch import Tensor

from rlagent.backends.embedded import allowed
from rlagent.backends.embedded.engine.forward import Decode, Part, Prefill
from rlagent.backends.embedded.engine.kv import Lane, PrefixStore, RecentPrompts, longest_match
from rlagent.backends.embedded.engine.protocol import SamplingParams
from rlagent.backends.embedded.engine.sampling import draw
from rlagent.backends.embedded.micro_batches import common_prefix

MIN_TRUNK = 128
"""Tokens that prompts must share at least, to be worth a lane of their own."""
MAX_LANES = 4
FOLLOW = 16
"""A request waits one step for another to be cached if that saves it this many tokens."""


@dataclass(eq=False)
class Request:
    """One response to draw, and what has been drawn of it.

    Attributes:
        prompt: Token ids.
        params: How to draw.
        constraint: Grammar that the response must follow (grammar.Constraint); None: free.
        on_done: Called once, when finish_reason is set.
        on_token: Called with the request after each token.
        tokens: Drawn token ids, the end token included.
        logprobs: Their log-probabilities, of equal length.
        alternatives: For each token, the likeliest (token, logprob) pairs that were asked for.
        finish_reason: `stop`, `length` or `abort`.
        allowed: For each token, which could have been drawn, as allowed.py packs it; empty for a
            request that any token could follow.
        text_end: Characters of the text kept before a stop text; None: all.
    """

    prompt: List[int]
    params: SamplingParams
    constraint: Optional[Any] = None
    on_done: Optional[Callable[["Request"], None]] = None
    on_token: Optional[Callable[["Request"], None]] = None
    tokens: List[int] = field(default_factory=list)
    logprobs: List[float] = field(default_factory=list)
    alternatives: List[List[Tuple[int, float]]] = field(default_factory=list)
    allowed: List[np.ndarray] = field(default_factory=list)
    finish_reason: Optional[str] = None
    text_end: Optional[int] = None
    cancelled: bool = False
    array: np.ndarray = field(init=False, repr=False)
    generator: Optional[torch.Generator] = field(init=False, default=None, repr=False)
    feed: int = field(init=False, default=-1, repr=False)

    def __post_init__(self) -> None:
        if not self.prompt:
            raise ValueError("a prompt needs at least one token")
        self.array = np.asarray(self.prompt, dtype=np.int32)
        if self.params.seed is not None:
            self.generator = torch.Generator().manual_seed(self.params.seed)


@dataclass
class Limits:
    """Bounds on what the generator holds at once.

    Attributes:
        max_model_len: Tokens of a prompt and its response together.
        max_rows: Requests that decode together.
        prefill_tokens: New prompt tokens that one forward pass takes in.
        active_bytes: KV cache of the rows in use.
        store_bytes: KV cache kept of finished rows, for prompts that continue them.
    """

    max_model_len: int
    max_rows: int = 128
    prefill_tokens: int = 2048
    active_bytes: int = 4 << 30
    store_bytes: int = 1 << 30


class Generator:
    """Draws responses from a Hugging Face causal model. Not thread-safe: one thread steps it.

    Args:
        forward: The model's forward pass, of fallback.choose_forward.
        eos_ids: Tokens that end a response.
        decode: Token ids to text, for stop texts.
        limits: What may be held at once.
        seed: Of the generator of requests without a seed.
        masker: Applies grammars (grammar.Masker); None: requests have no constraint.
    """

    def __init__(
        self,
        forward: Any,
        eos_ids: Sequence[int],
        decode: Callable[[Sequence[int]], str],
        limits: Limits,
        seed: int = 0,
        masker: Optional[Any] = None,
    ) -> None:
        self.eos_ids = frozenset(eos_ids)
        self.decode = decode
        self.limits = limits
        self.masker = masker
        self.waiting: Deque[Request] = deque()
        self.generated = 0
        self.prefilled = 0
        self._random = torch.Generator().manual_seed(seed)
        self._forward = forward
        self._clock = 0
        self._lanes = [Lane(forward.shape, np.zeros(0, dtype=np.int32), None)]
        self.clear()

    # ---- what others call ----

    @property
    def active(self) -> int:
        """Requests that hold a row."""
        return sum(len(lane.rows) for lane in self._lanes)

    @property
    def busy(self) -> bool:
        """Whether step() has anything to do."""
        return bool(self.waiting) or self.active > 0

    def submit(self, request: Request) -> None:
        """Queue a request; `on_done` is called from a later step()."""
        self._recent.add(request.array)
        self.waiting.append(request)

    def clear(self) -> None:
        """Forget all cached keys and values, as after a change of weights.

        Raises:
            RuntimeError: While requests hold rows.
        """
        if self.active:
            raise RuntimeError("the cache cannot be cleared while requests are decoded")
        # The first lane, without a trunk, keeps its memory, which is needed again at once.
        root = self._lanes[0]
        self._lanes = [root]
        self._stores: Dict[int, PrefixStore] = {id(root): self._new_store()}
        self._recent = RecentPrompts()
        for request in self.waiting:
            self._recent.add(request.array)

    @torch.inference_mode()
    def step(self, admit: bool = True) -> None:
        """One forward pass: every row gets one token, and waiting requests get their prompt in.

        Args:
            admit: False leaves waiting requests waiting, so that the rows empty.
        """
        self._clock += 1
        prefills = self._admit() if admit else {}
        decodes = [
            Decode(lane, [r.feed for r in lane.rows[: len(lane.rows) - len(prefills.get(i, []))]])
            for i, lane in enumerate(self._lanes)
        ]
        parts: List[Part] = []
        owners: List[Request] = []
        for i, lane in enumerate(self._lanes):
            if decodes[i].tokens:
                lane.reserve(len(lane.rows), int(lane.lengths[: len(lane.rows)].max()) + 1)
                parts.append(decodes[i])
                owners.extend(lane.rows[: len(decodes[i].tokens)])
            for prefill in prefills.get(i, []):
                parts.append(prefill)
                owners.append(lane.rows[prefill.row])
        if not parts:
            return
        logits = self._forward.forward(parts)
        self._accept(owners, logits)
        for lane in self._lanes:
            self._release(lane)
        self._lanes = [
            lane for lane in self._lanes if lane.rows or not self._forget_if_retired(lane)
        ]

    def fail_all(self) -> List[Request]:
        """Drop every request, as after an error; returns them, their finish_reason unset."""
        dropped = list(self.waiting) + [r for lane in self._lanes for r in lane.rows]
        self.waiting.clear()
        for lane in self._lanes:
            lane.rows.clear()
        return dropped

    # ---- admission ----

    def _admit(self) -> Dict[int, List[Prefill]]:
        """Give rows to waiting requests; returns what each lane must prefill, by lane index."""
        prefills: Dict[Lane, List[Prefill]] = {}
        budget = self.limits.prefill_tokens
        leaders: List[Tuple[Lane, np.ndarray]] = []
        later: List[Request] = []
        room = self.limits.max_rows - self.active
        while self.waiting and room > 0 and budget > 0:
            request = self.waiting.popleft()
            if request.cancelled:
                self._finish(request, "abort")
                continue
            lane = self._lane_for(request.array)
            own = request.array[len(lane.trunk) :]
            if not self._fits(lane, len(own)):
                self.waiting.appendleft(request)
                break
            found, shared, stored = self._find(lane, own)
            if any(
                common_prefix(own, other) - shared >= FOLLOW
                for other_lane, other in leaders
                if other_lane is lane
            ):
                later.append(request)
                continue
            lane.reserve(len(lane.rows) + 1, len(own) + 1)
            row = lane.add(request)
            if shared:
                kv = (
                    self._stores[id(lane)].get(found, shared)
                    if stored
                    else lane.read(found, shared)
                )
                lane.load(row, own[:shared], kv)
            room -= 1
            rest = own[shared:]
            budget -= len(rest)
            self.prefilled += len(rest)
            while len(rest) > self.limits.prefill_tokens:
                piece, rest = (
                    rest[: self.limits.prefill_tokens],
                    rest[self.limits.prefill_tokens :],
                )
                self._forward.forward([Prefill(lane, row, piece)])
            leaders.append((lane, own))
            prefills.setdefault(lane, []).append(Prefill(lane, row, rest))
        self.waiting.extendleft(reversed(later))
        return {self._lanes.index(lane): parts for lane, parts in prefills.items()}

    def _find(self, lane: Lane, own: np.ndarray) -> Tuple[int, int, bool]:
        """(row or entry, shared tokens, whether it is an entry of the store).

        The last token is never taken from the cache: its logits are wanted.
        """
        row, shared = longest_match(
            lane.tokens[: len(lane.rows)], lane.lengths[: len(lane.rows)], own
        )
        entry, kept = self._stores[id(lane)].find(own)
        limit = len(own) - 1
        if kept >= shared:
            return entry, min(kept, limit), True
        return row, min(shared, limit), False

    def _fits(self, lane: Lane, size: int) -> bool:
        if not self.active:
            return True
        capacity = max(size + 1, lane.tokens.shape[1])
        rows = max(len(lane.rows) + 1, 1)
        others = sum(x.kv.numel() * x.kv.element_size() for x in self._lanes if x is not lane)
        return others + rows * capacity * self._forward.shape.bytes_per_token() <= (
            self.limits.active_bytes
        )

    # ---- lanes ----

    def _lane_for(self, prompt: np.ndarray) -> Lane:
        """The lane whose trunk the prompt begins with, made or shortened where that pays."""
        live = [lane for lane in self._lanes if not lane.retired]
        fitting = [
            lane
            for lane in live
            if len(lane.trunk) < len(prompt)
            and common_prefix(prompt, lane.trunk) == len(lane.trunk)
        ]
        best = max(fitting, key=lambda lane: len(lane.trunk))
        best.last_used = self._clock
        for lane in live:
            shared = min(common_prefix(prompt, lane.trunk), len(prompt) - 1)
            worth = max(MIN_TRUNK, len(lane.trunk) // 2, len(best.trunk) + 1)
            if lane.trunk_kv is not None and lane not in fitting and shared >= worth:
                lane.retired = True
                return self._add_lane(prompt[:shared], lane.trunk_kv[:, :, :, :shared])
        useful = max(MIN_TRUNK, 2 * len(best.trunk))
        branchings = self._recent.branchings(prompt)
        branchings = branchings[branchings >= useful]
        if not len(branchings):
            return best
        if len(live) >= MAX_LANES:
            idle = [x for x in live if len(x.trunk) and not x.rows and x is not best]
            if not idle:
                return best
            min(idle, key=lambda x: x.last_used).retired = True
        return self._add_lane(prompt[: int(branchings.min())], None)

    def _add_lane(self, trunk: np.ndarray, kv: Optional[Tensor]) -> Lane:
        if kv is None:
            kv = self._run_trunk(trunk)
        lane = Lane(self._forward.shape, trunk.copy(), kv.clone())
        lane.last_used = self._clock
        self._lanes.append(lane)
        self._stores[id(lane)] = self._new_store()
        return lane

    def _run_trunk(self, trunk: np.ndarray) -> Tensor:
        """Keys and values of a trunk: (layers, 2, kv_heads, tokens, head_dim)."""
        lane = Lane(self._forward.shape, np.zeros(0, dtype=np.int32), None)
        lane.reserve(1, len(trunk))
        row = lane.add(None)
        size = self.limits.prefill_tokens
        for start in range(0, len(trunk), size):
            self._forward.forward([Prefill(lane, row, trunk[start : start + size])])
        self.prefilled += len(trunk)
        return lane.read(row, len(trunk))

    def _forget_if_retired(self, lane: Lane) -> bool:
        if lane.retired:
            del self._stores[id(lane)]
        return lane.retired

    def _new_store(self) -> PrefixStore:
        return PrefixStore(self.limits.store_bytes)

    # ---- after the forward pass ----

    def _accept(self, owners: List[Request], logits: Tensor) -> None:
        self._mask(owners, logits)
        drawn = draw(
            logits, [r.params for r in owners], [r.generator for r in owners], self._random
        )
        self.generated += len(owners)
        for i, (request, token, logprob) in enumerate(
            zip(owners, drawn.tokens, drawn.logprobs, strict=True)
        ):
            request.tokens.append(token)
            request.logprobs.append(logprob)
            request.feed = token
            if request.params.top_logprobs:
                values, ids = drawn.distribution[i].topk(request.params.top_logprobs)
                request.alternatives.append(list(zip(ids.tolist(), values.tolist(), strict=True)))
            if request.params.restricts:
                request.allowed.append(allowed.pack(drawn.distribution[i]))
            elif request.constraint is not None:
                request.allowed.append(request.constraint.allowed)
            if request.constraint is not None:
                request.constraint.accept(token)
            request.finish_reason = self._reason(request, token)
            if request.on_token is not None:
                request.on_token(request)

    def _mask(self, owners: List[Request], logits: Tensor) -> None:
        constrained = [i for i, r in enumerate(owners) if r.constraint is not None]
        if constrained and self.masker is not None:
            self.masker.apply(
                logits,
                constrained,
                [owners[i].constraint for i in constrained],
                [self._left(owners[i]) for i in constrained],
            )
        for i, request in enumerate(owners):
            if len(request.tokens) < request.params.min_tokens and request.constraint is None:
                logits[i, list(self.eos_ids)] = float("-inf")

    def _left(self, request: Request) -> int:
        """Tokens that the request may still draw."""
        used = len(request.tokens)
        return min(
            request.params.max_tokens - used,
            self.limits.max_model_len - len(request.prompt) - used,
        )

    def _reason(self, request: Request, token: int) -> Optional[str]:
        goes_on = request.params.ignore_eos and request.constraint is None
        if token in self.eos_ids and not goes_on:
            return "stop"
        if request.params.stop:
            text = self.decode(request.tokens)
            ends = [place for place in map(text.find, request.params.stop) if place >= 0]
            if ends:
                request.text_end = min(ends)
                return "stop"
        if self._left(request) <= 0:
            return "length"
        return "abort" if request.cancelled else None

    def _release(self, lane: Lane) -> None:
        """Free the rows of finished requests; what they cached goes to the store."""
        store = self._stores[id(lane)]
        for row in range(len(lane.rows) - 1, -1, -1):
            request = lane.rows[row]
            if request.finish_reason is None:
                continue
            size = int(lane.lengths[row])
            store.put(lane.tokens[row, :size].copy(), lane.read(row, size))
            lane.remove(row)
            self._finish(request, request.finish_reason)

    def _finish(self, request: Request, reason: str) -> None:
        request.finish_reason = reason
        if request.on_done is not None:
            request.on_done(request)
