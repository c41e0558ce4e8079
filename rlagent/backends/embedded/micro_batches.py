"""Turn experiences into micro-batches that compute shared tokens once.

Pure array work over token ids. It knows nothing of models, losses or Trinity's configuration; the
one thing it reads from an experience is its tokens, its prompt length and its action mask.

Multi-call agents make several experiences per rollout, each repeating the conversation so far, and
the rollouts of one task repeat its prompt. In a causal model the output at a position depends only
on what comes before it. So an experience whose input is a prefix of another one's needs no forward
pass of its own, and a prefix that all rows of a micro-batch share is computed once.
"""

from dataclasses import dataclass
from typing import List, Sequence, Tuple

import numpy as np

PREFIX_OVERHEAD = 64
"""Cost of one model call, in tokens. A call per micro-batch, a second one when it has a prefix."""

PREFIX_MEMORY = 0.1
"""Memory that a row needs per token of a shared prefix (its copy of keys and values), in tokens."""


@dataclass(frozen=True)
class Sample:
    """One experience as training sees it.

    Attributes:
        tokens: Token ids of prompt and response, int64, shape (length,).
        prompt_length: Tokens before the response, at least 1.
        actions: Indices into the response of the tokens that the model chose, increasing.
        response_length: length - prompt_length.
    """

    tokens: np.ndarray
    prompt_length: int
    actions: np.ndarray

    @property
    def response_length(self) -> int:
        """Tokens of the response, chosen by the model or not."""
        return len(self.tokens) - self.prompt_length

    @property
    def positions(self) -> np.ndarray:
        """Where the outputs stand that predict the actions: one before each action."""
        return self.actions + (self.prompt_length - 1)

    @property
    def targets(self) -> np.ndarray:
        """Token ids of the actions."""
        return self.tokens[self.actions + self.prompt_length]


@dataclass(frozen=True)
class Row:
    """One sequence to run, standing for every sample whose input is a prefix of it.

    Attributes:
        tokens: Input ids, up to the last one whose output is needed.
        start: First position whose output is needed; a shared prefix ends here at the latest.
        members: Indices of the samples that read their outputs from this row.
    """

    tokens: np.ndarray
    start: int
    members: Tuple[int, ...]


@dataclass(frozen=True)
class MicroBatch:
    """Rows that run together; their first `prefix` tokens are equal and run once."""

    rows: Tuple[Row, ...]
    prefix: int

    @property
    def width(self) -> int:
        """Tokens per row after the prefix, padding included."""
        return max(len(row.tokens) for row in self.rows) - self.prefix

    @property
    def computed_tokens(self) -> int:
        """Tokens that the model runs over, padding included."""
        return self.prefix + len(self.rows) * self.width

    @property
    def members(self) -> List[int]:
        """The samples of all rows, row by row."""
        return [index for row in self.rows for index in row.members]


def make_sample(tokens: np.ndarray, prompt_length: int, action_mask: np.ndarray) -> Sample:
    """Check one experience and reduce it to a sample.

    Args:
        tokens: Token ids, shape (length,).
        prompt_length: Tokens before the response.
        action_mask: Shape (length - prompt_length,); nonzero where the model chose the token.

    Raises:
        ValueError: If the lengths contradict each other.
    """
    response_length = len(tokens) - prompt_length
    if prompt_length < 1:
        raise ValueError(f"prompt_length={prompt_length}; a response needs a token before it")
    if len(action_mask) != response_length:
        raise ValueError(
            f"action mask of {len(action_mask)} for a response of {response_length} tokens "
            f"({len(tokens)} tokens less a prompt of {prompt_length})"
        )
    return Sample(
        tokens=np.asarray(tokens, dtype=np.int64),
        prompt_length=int(prompt_length),
        actions=np.flatnonzero(np.asarray(action_mask)),
    )


def merge_rows(samples: Sequence[Sample], indices: Sequence[int], share: bool = True) -> List[Row]:
    """Find the rows to run for some samples.

    Args:
        samples: All samples of the step; each of `indices` has at least one action.
        indices: Which of them to run.
        share: Let a sample whose input is a prefix of another one's read from that row. False
            gives one row per sample, for models that are not causal or not deterministic.

    Returns:
        Rows in lexicographic order of their tokens, so that equal prefixes are neighbours.
    """
    needed = {i: samples[i].tokens[: samples[i].positions[-1] + 1] for i in indices}
    # Big-endian bytes compare like the token sequences themselves.
    keys = {i: needed[i].astype(">i4").tobytes() for i in indices}
    order = sorted(indices, key=lambda i: (keys[i], i))
    rows: List[Row] = []
    members: List[int] = []
    for place, i in enumerate(order):
        members.append(i)
        follower = order[place + 1] if place + 1 < len(order) else None
        # A prefix of any later sequence is a prefix of the next one in this order too.
        if share and follower is not None and keys[follower].startswith(keys[i]):
            continue
        start = min(int(samples[m].positions[0]) for m in members)
        rows.append(Row(tokens=needed[i], start=start, members=tuple(members)))
        members = []
    return rows


def common_prefix(first: np.ndarray, second: np.ndarray) -> int:
    """Number of leading tokens that two sequences share."""
    size = min(len(first), len(second))
    if not size:
        return 0
    different = first[:size] != second[:size]
    place = int(different.argmax())
    return place if different[place] else size


def plan_micro_batches(
    rows: Sequence[Row], token_budget: int, share_prefix: bool = True
) -> List[MicroBatch]:
    """Cut rows into micro-batches so that few tokens are computed.

    Two orders are tried, equal prefixes together and equal lengths together; each is cut at the
    best places (dynamic programming over all cuts), and the cheaper one is taken.

    Args:
        rows: Rows as `merge_rows` returns them.
        token_budget: Most tokens of one micro-batch, padding included; twice the longest row if
            that is more, since a row cannot be cut and its neighbours may share most of it.
        share_prefix: Whether the model can run a common beginning once.
    """
    if not rows:
        return []
    token_budget = max(token_budget, 2 * max(len(row.tokens) for row in rows))
    by_beginning = list(rows)
    by_length = sorted(rows, key=lambda row: len(row.tokens))
    plans = [_best_cuts(order, token_budget, share_prefix) for order in (by_beginning, by_length)]
    return min(plans, key=lambda plan: plan[0])[1]


def _best_cuts(
    rows: Sequence[Row], token_budget: int, share_prefix: bool
) -> Tuple[float, List[MicroBatch]]:
    """The cheapest way to cut rows, kept in their order, and its cost in tokens."""
    count = len(rows)
    lengths = np.array([len(row.tokens) for row in rows], dtype=np.int64)
    starts = np.array([row.start for row in rows], dtype=np.int64)
    neighbours = [common_prefix(rows[i].tokens, rows[i + 1].tokens) for i in range(count - 1)]
    # For the group rows[first..last], entry `first` of each array; updated as `last` moves on.
    prefixes = np.zeros(count, dtype=np.int64)
    longest = np.zeros(count, dtype=np.int64)
    best = np.zeros(count + 1)
    cut = np.zeros(count + 1, dtype=np.int64)
    chosen_prefix = np.zeros(count + 1, dtype=np.int64)
    for last in range(count):
        if last:
            np.minimum(prefixes[:last], neighbours[last - 1], out=prefixes[:last])
        prefixes[last] = starts[last]
        np.minimum(prefixes[: last + 1], starts[last], out=prefixes[: last + 1])
        np.maximum(longest[: last + 1], lengths[last], out=longest[: last + 1])
        sizes = np.arange(last + 1, 0, -1)
        whole = sizes * longest[: last + 1]
        tokens, prefix = whole, np.zeros(last + 1, dtype=np.int64)
        if share_prefix:
            saved = (sizes - 1) * prefixes[: last + 1]
            worthwhile = saved > PREFIX_OVERHEAD
            prefix = np.where(worthwhile, prefixes[: last + 1], 0)
            tokens = whole - np.where(worthwhile, saved, 0)
        cost = tokens + PREFIX_OVERHEAD * (1 + (prefix > 0))
        memory = tokens + PREFIX_MEMORY * sizes * prefix
        total = np.where(memory <= token_budget, best[: last + 1] + cost, np.inf)
        first = int(np.argmin(total))
        best[last + 1] = total[first]
        cut[last + 1] = first
        chosen_prefix[last + 1] = prefix[first]
    batches: List[MicroBatch] = []
    end = count
    while end > 0:
        first = int(cut[end])
        batches.append(MicroBatch(rows=tuple(rows[first:end]), prefix=int(chosen_prefix[end])))
        end = first
    return float(best[count]), batches[::-1]


def share_out(batches: Sequence[MicroBatch], lanes: int) -> List[List[MicroBatch]]:
    """Give micro-batches to lanes that work side by side, the next largest to the least loaded.

    Returns:
        One list per lane, none empty; which batch goes where depends on the batches alone.
    """
    shares: List[List[MicroBatch]] = [[] for _ in range(min(lanes, len(batches)))]
    loads = [0] * len(shares)
    for batch in sorted(batches, key=lambda each: -each.computed_tokens):
        lane = loads.index(min(loads))
        shares[lane].append(batch)
        loads[lane] += batch.computed_tokens + PREFIX_OVERHEAD
    return shares
