"""Weights packed into one buffer are read from it as they are; opening it elsewhere needs a GPU."""

import pytest
import torch

from rlagent.backends import shared_weights
from rlagent.backends.shared_weights import Place, offer, pack, taken, unpack

PLACES = [Place("embed", "bfloat16", (5, 4)), Place("scale", "bfloat16", ())]


def weights() -> list[tuple[str, torch.Tensor]]:
    torch.manual_seed(0)
    return [
        (place.name, torch.randn(place.shape, dtype=torch.float32).bfloat16()) for place in PLACES
    ]


def packed() -> torch.Tensor:
    buffer = torch.empty(42, dtype=torch.uint8)
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
        pack(wrong, PLACES, torch.empty(42, dtype=torch.uint8))


def test_weights_that_lie_on_other_gpus_are_refused(monkeypatch) -> None:
    monkeypatch.setattr(shared_weights, "_uuid", lambda device: f"GPU-{device}")
    with pytest.raises(ValueError, match=r"on the GPUs \['GPU-0'\], not on GPU-1"):
        taken(offer(PLACES, {"GPU-0": ()}), 1)
