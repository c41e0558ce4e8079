"""Whole steps for verl: a batch of any size, spread evenly over the data-parallel ranks.

verl wants every rank to get equally many rows. What is missing is padded with rows of two tokens,
none of them an action, which add nothing to any loss; see step_loss.py for the normalisers. Which
rows go where is decided here, what is computed with them by verl.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from tensordict import TensorDict
from verl import DataProto
from verl.utils.seqlen_balancing import calculate_workload, get_seqlen_balanced_partitions

_ZERO = ("response_mask", "advantages", "returns", "token_level_scores", "token_level_rewards")
"""What must be zero in a padding row."""


class StepBatch:
    """The rows of one step, padded and ordered for the ranks.

    Args:
        rows: What the step produced, at least one row; it is not changed.
        ranks: Data-parallel ranks; each gets the same number of consecutive rows.

    Attributes:
        spread: The rows in the order for verl.
    """

    def __init__(self, rows: DataProto, ranks: int) -> None:
        self._rows = rows
        padded = pad_to_multiple(rows, ranks)
        lengths = padded.batch["attention_mask"].sum(dim=-1)
        self._order = torch.tensor(balanced_order(lengths, ranks))
        padded.reorder(self._order)
        self.spread = padded

    def take_back(self, computed: DataProto) -> DataProto:
        """The step's rows, in their own order, with the columns that were computed."""
        places = torch.argsort(self._order)[: len(self._rows)]
        for name, column in computed.batch.items():
            if name not in self._rows.batch.keys():  # noqa: SIM118 (a TensorDict refuses `in`)
                self._rows.batch[name] = column[places]
        return self._rows


def pad_to_multiple(rows: DataProto, multiple: int) -> DataProto:
    """A copy of `rows` with padding rows up to a multiple of a number."""
    missing = -len(rows) % multiple
    chosen = [*range(len(rows)), *([0] * missing)]
    tensors = {name: column[chosen] for name, column in rows.batch.items()}
    real = len(rows)
    prompt = rows.batch["prompts"].shape[1]
    if missing:
        # Prompts are padded on the left, responses on the right: the two tokens where they meet
        # are there in every row.
        mask = torch.zeros_like(tensors["attention_mask"][real:])
        mask[:, prompt - 1 : prompt + 1] = 1
        tensors["attention_mask"][real:] = mask
        positions = torch.zeros_like(tensors["position_ids"][real:])
        positions[..., prompt] = 1
        tensors["position_ids"][real:] = positions
        for name in _ZERO:
            if name in tensors:
                tensors[name][real:] = 0
    others: dict[str, Any] = {
        name: np.concatenate([column, column[[0] * missing]])
        for name, column in rows.non_tensor_batch.items()
    }
    return DataProto(
        batch=TensorDict(tensors, batch_size=[len(chosen)]),
        non_tensor_batch=others,
        meta_info=dict(rows.meta_info),
    )


def balanced_order(lengths: torch.Tensor, ranks: int) -> list[int]:
    """Indices of the rows such that each rank's consecutive share is about the same work.

    Args:
        lengths: Tokens of each row; their number is a multiple of `ranks`.
        ranks: Data-parallel ranks.
    """
    work = calculate_workload(lengths)
    shares: Sequence[Sequence[int]] = get_seqlen_balanced_partitions(
        work, k_partitions=ranks, equal_size=True
    )
    return [index for share in shares for index in sorted(share, key=lambda i: (work[i], i))]
