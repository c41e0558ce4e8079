"""Weights packed into one buffer are read from it as they are; opening it elsewhere needs a GPU."""

import asyncio
from types import SimpleNamespace

import parity
import pytest
import torch

from rlagent.backends import shared_weights
from rlagent.backends.shared_weights import Place, offer, pack, taken, unpack
from rlagent.backends.vllm.engine_arguments import SHARED_WEIGHTS

# The second leaves no room for a number of four bytes at an edge of four.
PLACES = [
    Place("embed", "bfloat16", (5, 4)),
    Place("scale", "bfloat16", ()),
    Place("bias", "float32", (3,)),
]
SIZE = sum(place.size for place in PLACES)


def weights() -> list[tuple[str, torch.Tensor]]:
    torch.manual_seed(0)
    return [
        (place.name, torch.randn(place.shape).to(getattr(torch, place.dtype))) for place in PLACES
    ]


def packed() -> torch.Tensor:
    buffer = torch.empty(SIZE, dtype=torch.uint8)
    pack(weights(), PLACES, buffer)
    return buffer


def test_what_is_unpacked_is_what_was_packed() -> None:
    for (name, given), (found, weight) in zip(weights(), unpack(PLACES, packed()), strict=True):
        assert name == found
        assert torch.equal(given, weight)


def test_nothing_is_copied_to_unpack() -> None:
    buffer = packed()
    assert unpack(PLACES, buffer)[0][1].data_ptr() == buffer.data_ptr()


@pytest.mark.parametrize("wrong", [weights()[::-1], weights()[:1]], ids=["order", "number"])
def test_other_weights_than_the_places_say_are_refused(wrong) -> None:
    with pytest.raises(ValueError, match=r"in the place of|longer than"):
        pack(wrong, PLACES, torch.empty(SIZE, dtype=torch.uint8))


def test_weights_that_lie_on_other_gpus_are_refused(monkeypatch) -> None:
    monkeypatch.setattr(shared_weights, "_uuid", lambda device: f"GPU-{device}")
    with pytest.raises(ValueError, match=r"on the GPUs \['GPU-0'\], not on GPU-1"):
        taken(offer(PLACES, {"GPU-0": ()}), 1)


@pytest.mark.parametrize(
    ("shared", "asked"),
    [(True, [("share", 3), ("withdraw",)]), (None, [("upload", 3)])],
)
def test_a_trainer_shares_its_weights_and_withdraws_them_before_it_trains(
    shared, asked, tmp_path, monkeypatch
) -> None:
    found = []

    def noted(name):
        return lambda *given: found.append((name, *given))

    with parity.verl_on_cpu(tmp_path, monkeypatch):
        from rlagent.backends.verl import trainer

        class Trainer(trainer.StepTrainer):
            """One whose workers note what they are asked for."""

            def __init__(self) -> None:
                engine = SimpleNamespace(extra_engine_args=shared and {SHARED_WEIGHTS: shared})
                explorer = SimpleNamespace(rollout_model=engine)
                self.global_config = SimpleNamespace(explorer=explorer)
                self.global_steps = 3
                self.actor_rollout_wg = SimpleNamespace(
                    share_weights=noted("share"),
                    withdraw_weights=noted("withdraw"),
                    upload_state_dict=noted("upload"),
                )

        ours = Trainer()
        asyncio.run(ours.upload_state_dict())
        asyncio.run(ours.train_step([]))
    assert found == asked
