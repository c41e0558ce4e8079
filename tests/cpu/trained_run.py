"""A run of the tiny model on a CPU as training leaves it, its checkpoints made without training."""

from pathlib import Path

import torch
from configured import configured
from transformers import AutoModelForCausalLM

from rlagent.backends.embedded.checkpoint import Checkpoint, write_checkpoint
from rlagent.base.paths import resolve_path
from rlagent.config.compose import to_yaml
from rlagent.config.resolve import resolve
from rlagent.machine.resources import Machine
from rlagent.records.folder import RunFolder

TINY = resolve_path("builtin:tiny")


def trained_weights(seed: int) -> dict[str, torch.Tensor]:
    """Those of the tiny model, moved at random, of tied ones the first, as the trainer has them."""
    chance = torch.Generator().manual_seed(seed)
    model = AutoModelForCausalLM.from_pretrained(TINY, dtype=torch.float32)
    return {
        name: value + 0.01 * torch.randn(value.shape, generator=chance)
        for name, value in model.named_parameters()
    }


def make_run(root: Path, *steps: int) -> RunFolder:
    """A run of the tiny model on a CPU with checkpoints of steps."""
    run = RunFolder(root / "mine-1a2b3c4d")
    run.make()
    resolved = resolve(configured("hardware=cpu"), Machine((), 4, 16.0))
    run.config_yaml.write_text(to_yaml(resolved.config))
    run.write_status(state="finished", steps_asked=20, command="python -m rlagent.train seed=1")
    for step in steps:
        write_checkpoint(run.checkpoints, Checkpoint(step, trained_weights(step), {}, {}))
        run.append_metrics("explorer", step, {"eval/success": step / 100, "eval/tasks": 64})
    return run
