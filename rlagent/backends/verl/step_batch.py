"""Whole steps for verl: a batch of any size, spread evenly over the trainer's data-parallel parts.

verl wants every part to get equally many rows. Rows that are missing are filled up with rows of
two tokens, none of them an action, so that they have no part in any loss; see step_loss.py for
the normalisers. Which rows go where is decided here, what is computed with them by verl.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from tensordict import TensorDict
from verl import DataProto
from verl.utils.seqlen_balancing import calculate_workload, get_seqlen_balanced_partitions

_ZERO = ("response_mask", "advantages", "returns", "token_level_scores", "token_level_rewards")
"""What must be zero in a row that does not count."""


class StepBatch:
    """The rows of one step, filled up and ordered for the parts.

    Args:
        rows: What the step produced, at least one row; it is not changed.
        parts: Data-parallel parts; each gets the same number of consecutive rows.

    Attributes:
        spread: The rows as verl is to have them.
    """

    def __init__(self, rows: DataProto, parts: int) -> None:
        self._rows = rows
        filled = fill_up(rows, parts)
        lengths = filled.batch["attention_mask"].sum(dim=-1)
        self._order = torch.tensor(balanced_order(lengths, parts))
        filled.reorder(self._order)
        self.spread = filled

    def take_back(self, computed: DataProto) -> DataProto:
        """The step's rows, in their own order, with the columns that were computed."""
        places = torch.argsort(self._order)[: len(self._rows)]
        for name, column in computed.batch.items():
            if name not in self._rows.batch.keys():  # noqa: SIM118 (a TensorDict refuses `in`)
                self._rows.batch[name] = column[places]
        return self._rows


def fill_up(rows: DataProto, multiple: int) -> DataProto:
    """A copy of `rows` with as many rows that do not count as make their number a multiple."""
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


def balanced_order(lengths: torch.Tensor, parts: int) -> list[int]:
    """Indices of the rows such that each part's consecutive share is about the same work.

    Args:
        lengths: Tokens of each row; their number is a multiple of `parts`.
        parts: Data-parallel parts.
    """
    work = calculate_workload(lengths)
    shares: Sequence[Sequence[int]] = get_seqlen_balanced_partitions(
        work, k_partitions=parts, equal_size=True
    )
    return [index for share in shares for index in sorted(share, key=lambda i: (work[i], i))]
