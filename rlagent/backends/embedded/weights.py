"""The weights in a checkpoint of the embedded trainer."""

from pathlib import Path

from safetensors.torch import load_file
from torch import Tensor

from rlagent.records.checkpoints import WEIGHTS


def read_weights(folder: Path) -> dict[str, Tensor]:
    """See rlagent.backends.base.Trainer.weights."""
    return load_file(folder / WEIGHTS)
