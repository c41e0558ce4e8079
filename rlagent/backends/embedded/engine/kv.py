"""The KV cache of the embedded engine: lanes of rows that share a prompt beginning, and a store
of finished rows whose keys and values a later prompt may continue.

Nothing here runs a model; forward.py reads and writes these tensors, generate.py decides who
gets a row.
"""

from collections import OrderedDict
from dataclasses import dataclass
from typing import Any, List, Optional, Tuple

import numpy as np
import torch
from torch import Tensor

Tokens = np.ndarray
"""One-dimensional int32 array of token ids."""


@dataclass(frozen=True)
class KVShape:
    """What one cached token consists of."""

    layers: int
    kv_heads: int
    head_dim: int
    dtype: torch.dtype

    def bytes_per_token(self) -> int:
        """Bytes of keys and values of one token over all layers."""
        return 2 * self.layers * self.kv_heads * self.head_dim * self.dtype.itemsize


def longest_match(matrix: np.ndarray, lengths: np.ndarray, query: Tokens) -> Tuple[int, int]:
    """The row that shares most leading tokens with `query`.

    Args:
        matrix: Token ids, shape (rows, capacity).
        lengths: Valid tokens of each row, shape (rows,).
        query: Token ids, shape (n,).

    Returns:
        (row, shared tokens); (-1, 0) without rows.
    """
    if not len(lengths) or not len(query):
        return -1, 0
    shared = shared_lengths(matrix, lengths, query)
    best = int(shared.argmax())
    return best, int(shared[best])


def shared_lengths(matrix: np.ndarray, lengths: np.ndarray, query: Tokens) -> np.ndarray:
    """Leading tokens that each row shares with `query`, shape (rows,); arguments as above."""
    size = min(matrix.shape[1], len(query))
    different = matrix[:, :size] != query[:size]
    shared = np.where(different.any(axis=1), different.argmax(axis=1), size)
    return np.minimum(shared, lengths)


class RecentPrompts:
    """The last distinct prompts, to find what new ones have in common with them."""

    def __init__(self, count: int = 64) -> None:
        self._matrix = np.zeros((count, 64), dtype=np.int32)
        self._lengths = np.zeros(count, dtype=np.int64)
        self._known: OrderedDict[bytes, int] = OrderedDict()

    def add(self, prompt: Tokens) -> None:
        """Remember a prompt, in place of the oldest one where there are too many."""
        key = prompt.tobytes()
        if key in self._known:
            return
        full = len(self._known) == len(self._lengths)
        place = self._known.popitem(last=False)[1] if full else len(self._known)
        while self._matrix.shape[1] < len(prompt):
            self._matrix = np.pad(self._matrix, ((0, 0), (0, self._matrix.shape[1])))
        self._known[key] = place
        self._matrix[place, : len(prompt)] = prompt
        self._lengths[place] = len(prompt)

    def branchings(self, prompt: Tokens) -> np.ndarray:
        """Where other prompts and this one part, in tokens from the beginning.

        A prompt that merely goes on where another ended is one conversation: not counted.
        """
        shared = shared_lengths(self._matrix, self._lengths, prompt)
        return shared[(shared < self._lengths) & (shared < len(prompt))]


class Lane:
    """Rows that all begin with the same tokens, the trunk, which is cached once.

    Keys and values of the trunk have shape (layers, 2, kv_heads, trunk, head_dim); those of the
    rows, (layers, 2, rows, kv_heads, capacity, head_dim), hold what follows the trunk. Rows in use
    are always the first `len(self.rows)`, so that a decode step reads a plain slice.
    """

    def __init__(self, shape: KVShape, trunk: Tokens, trunk_kv: Optional[Tensor]) -> None:
        self.shape = shape
        self.trunk = trunk
        self.trunk_kv = trunk_kv
        self.rows: List[Any] = []
        self.retired = False
        self.last_used = 0
        self._allocate(8, 64)

    def _allocate(self, rows: int, capacity: int) -> None:
        s = self.shape
        # Zeros, not garbage: masked positions are multiplied by probability 0, and 0 x nan is nan.
        self.kv = torch.zeros((s.layers, 2, rows, s.kv_heads, capacity, s.head_dim), dtype=s.dtype)
        self.tokens = np.zeros((rows, capacity), dtype=np.int32)
        self.lengths = np.zeros(rows, dtype=np.int64)

    def reserve(self, rows: int, capacity: int) -> None:
        """Make room for this many rows of this many tokens after the trunk."""
        have_rows, have_capacity = self.tokens.shape
        if rows <= have_rows and capacity <= have_capacity:
            return
        while have_rows < rows:
            have_rows += max(8, have_rows // 2)
        while have_capacity < capacity:
            have_capacity += max(64, have_capacity // 2)
        kv, tokens, lengths, used = self.kv, self.tokens, self.lengths, len(self.rows)
        self._allocate(have_rows, have_capacity)
        self.kv[:, :, :used, :, : kv.shape[4]] = kv[:, :, :used]
        self.tokens[:used, : tokens.shape[1]] = tokens[:used]
        self.lengths[:used] = lengths[:used]

    def add(self, owner: Any) -> int:
        """Take the next row; reserve() must have made room for it."""
        self.rows.append(owner)
        self.lengths[len(self.rows) - 1] = 0
        return len(self.rows) - 1

    def load(self, row: int, tokens: Tokens, kv: Tensor) -> None:
        """Fill a row's beginning; kv has shape (layers, 2, kv_heads, tokens, head_dim)."""
        size = len(tokens)
        self.kv[:, :, row, :, :size] = kv
        self.tokens[row, :size] = tokens
        self.lengths[row] = size

    def read(self, row: int, size: int) -> Tensor:
        """Keys and values of a row's first tokens, a view."""
        return self.kv[:, :, row, :, :size]

    def remove(self, row: int) -> None:
        """Free a row; the last row moves into its place."""
        last = len(self.rows) - 1
        if row != last:
            size = int(self.lengths[last])
            self.kv[:, :, row, :, :size] = self.kv[:, :, last, :, :size]
            self.tokens[row, :size] = self.tokens[last, :size]
            self.lengths[row] = size
            self.rows[row] = self.rows[last]
        self.rows.pop()


class PrefixStore:
    """Finished rows of one lane, the least recently used dropped beyond a number of bytes."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.bytes = 0
        self._entries: OrderedDict[int, Tuple[Tokens, Tensor]] = OrderedDict()
        self._matrix = np.zeros((16, 64), dtype=np.int32)
        self._lengths = np.zeros(16, dtype=np.int64)
        self._free = list(range(16))

    def __len__(self) -> int:
        return len(self._entries)

    def find(self, query: Tokens) -> Tuple[int, int]:
        """(entry, shared tokens) of the entry that shares most leading tokens; (-1, 0): none."""
        if not self._entries:
            return -1, 0
        return longest_match(self._matrix, self._lengths, query)

    def get(self, entry: int, size: int) -> Tensor:
        """Keys and values of an entry's first tokens; counts as a use."""
        self._entries.move_to_end(entry)
        return self._entries[entry][1][:, :, :, :size]

    def put(self, tokens: Tokens, kv: Tensor) -> None:
        """Keep a row; kv of shape (layers, 2, kv_heads, tokens, head_dim) is copied."""
        need = kv.numel() * kv.element_size()
        if need > self.max_bytes or not len(tokens):
            return
        entry, shared = self.find(tokens)
        if shared == len(tokens):
            self._entries.move_to_end(entry)
            return
        if shared and shared == self._lengths[entry]:
            # The new row continues the old one, which nothing but the new one can now serve.
            self._drop(entry)
        while self.bytes + need > self.max_bytes:
            self._drop(next(iter(self._entries)))
        self._grow(len(tokens))
        slot = self._free.pop()
        self._matrix[slot, : len(tokens)] = tokens
        self._lengths[slot] = len(tokens)
        self._entries[slot] = (tokens, kv.clone(memory_format=torch.contiguous_format))
        self.bytes += need

    def _drop(self, entry: int) -> None:
        _, kv = self._entries.pop(entry)
        self.bytes -= kv.numel() * kv.element_size()
        self._lengths[entry] = 0
        self._free.append(entry)

    def _grow(self, size: int) -> None:
        rows, capacity = self._matrix.shape
        new_rows = rows if self._free else rows * 2
        new_capacity = capacity
        while new_capacity < size:
            new_capacity *= 2
        if (new_rows, new_capacity) == (rows, capacity):
            return
        matrix = np.zeros((new_rows, new_capacity), dtype=np.int32)
        matrix[:rows, :capacity] = self._matrix
        lengths = np.zeros(new_rows, dtype=np.int64)
        lengths[:rows] = self._lengths
        self._free.extend(range(rows, new_rows))
        self._matrix, self._lengths = matrix, lengths
