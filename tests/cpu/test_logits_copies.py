"""How many copies of the logits live at once in verl's engine, which its memory hangs on."""

import socket
from typing import Any

import pytest
import torch
import torch.distributed as dist
import verl_ranks
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from rlagent.backends.verl import logits
from rlagent.planner import constants


class Copies(TorchDispatchMode):
    """Counts the storages of tensors of `rows` or more rows of `width` that live at once."""

    def __init__(self, width: int, rows: int) -> None:
        super().__init__()
        self.width, self.rows, self.most = width, rows, 0
        self._living: dict[int, StorageWeakRef] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(made):
            if _is_like(tensor, self.width, self.rows):
                storage = tensor.untyped_storage()
                self._living[storage._cdata] = StorageWeakRef(storage)
        self._living = {key: ref for key, ref in self._living.items() if not ref.expired()}
        self.most = max(self.most, len(self._living))
        return made


def _is_like(value: Any, width: int, rows: int) -> bool:
    if not isinstance(value, torch.Tensor) or value.shape[-1:] != (width,):
        return False
    return value.numel() >= rows * width


@pytest.fixture
def one_rank():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{probe.getsockname()[1]}"
    dist.init_process_group("gloo", init_method=address, rank=0, world_size=1)
    yield
    dist.destroy_process_group()


@pytest.mark.parametrize(
    ("coefficient", "copies"),
    [(0.0, constants.LOGITS_COPIES), (0.01, constants.LOGITS_COPIES_ENTROPY)],
)
def test_as_many_copies_of_the_logits_live_at_once_as_the_planner_counts(
    one_rank, monkeypatch, coefficient, copies
) -> None:
    from trinity.trainer.verl.monkey_patch import left_right_2_no_padding
    from verl.utils import tensordict_utils as tu

    engine = verl_ranks.engine_on_cpu(True)
    vocab = engine.module.config.vocab_size
    logits.use_in_verl(coefficient > 0, engine)
    # Pieces in float32 are smaller than what is counted.
    monkeypatch.setattr(logits, "PIECE_BYTES", 4 * vocab * 50)
    rows = verl_ranks.rows_of(40)
    data = left_right_2_no_padding(rows.to_tensordict())
    tu.assign_non_tensor(
        data,
        calculate_entropy=True,
        global_batch_size=40,
        mini_batch_size=40,
        temperature=1.0,
        compute_loss=True,
        use_dynamic_bsz=True,
        use_remove_padding=True,
        max_token_len_per_gpu=5000,
    )
    settings = verl_ranks.algorithm("token-mean")
    settings.entropy_loss_fn_args = {"entropy_coef": coefficient}
    with Copies(vocab, 200) as living:
        engine.forward_backward_batch(data, verl_ranks.StepLoss(settings, False))
    assert living.most == copies
