"""What becomes of a run with LoRA: its adapter for peft, and the model with it merged."""

from pathlib import Path

import pytest
import torch
from configured import configured
from trained_run import TINY
from transformers import AutoModelForCausalLM

from rlagent import export as command
from rlagent.backends.embedded.checkpoint import Checkpoint, write_checkpoint
from rlagent.backends.embedded.trainer.lora import Adapter
from rlagent.backends.embedded.trainer.trainer import load_model
from rlagent.config.compose import to_yaml
from rlagent.config.resolve import resolve
from rlagent.machine.resources import Machine
from rlagent.records.folder import RunFolder
from rlagent.serving.export import ready_folder
from rlagent.serving.trained import find_trained

LORA = {"rank": 8, "alpha": 32, "dropout": 0.0, "target_modules": ["all-linear"]}


def logits(model: torch.nn.Module) -> torch.Tensor:
    with torch.no_grad():
        return model(input_ids=torch.arange(3, 60)[None]).logits


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[RunFolder, torch.Tensor]:
    """A run with an adapter that was moved at random, and the logits of base + adapter."""
    run = RunFolder(tmp_path_factory.mktemp("runs") / "mine-1a2b3c4d")
    run.make()
    config = configured("hardware=cpu", "model.lora.rank=8")
    run.config_yaml.write_text(to_yaml(resolve(config, Machine((), 4, 16.0)).config))
    run.write_status(state="finished", steps_asked=20, command="python -m rlagent.train seed=1")
    torch.manual_seed(0)
    model = load_model(TINY)
    adapter = Adapter(model, LORA, TINY)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.02 * torch.randn_like(parameter))
    weights, config_json = adapter.weights(), adapter.config()
    write_checkpoint(run.checkpoints, Checkpoint(20, weights, {}, {}, config_json))
    run.append_metrics("explorer", 20, {"eval/success": 0.2, "eval/tasks": 64})
    return run, logits(model)


def call(run: RunFolder, *arguments: str) -> int:
    return command.main([run.name, "--root", str(run.path.parent), *arguments])


def test_merged_an_export_has_the_logits_of_base_and_adapter(made, tmp_path: Path) -> None:
    run, expected = made
    assert call(run, "--to", str(tmp_path / "model")) == 0
    found = AutoModelForCausalLM.from_pretrained(tmp_path / "model").eval()
    assert (logits(load_model(TINY)) - expected).abs().max() > 1e-2
    torch.testing.assert_close(logits(found), expected, rtol=0, atol=1e-5)
    assert "| LoRA | rank 8, alpha 32 |" in (tmp_path / "model" / "README.md").read_text()


def test_an_exported_adapter_is_read_by_peft_on_the_base_that_it_names(made, tmp_path) -> None:
    from peft import AutoPeftModelForCausalLM

    run, expected = made
    assert call(run, "--adapter", "--to", str(tmp_path / "adapter")) == 0
    read = AutoPeftModelForCausalLM.from_pretrained(tmp_path / "adapter", dtype=torch.float32)
    assert torch.equal(logits(read.eval()), expected)
    assert not (tmp_path / "adapter" / "model.safetensors").exists()
    card = (tmp_path / "adapter" / "README.md").read_text()
    assert "library_name: peft" in card
    assert "It is an adapter of builtin:tiny" in card


def test_engines_get_the_merged_model(made) -> None:
    run, expected = made
    folder = ready_folder(find_trained(run.name, "last", run.path.parent))
    served = load_model(folder)
    torch.testing.assert_close(logits(served), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--adapter"], "--to FOLDER"),
        (["--adapter", "--to", "x", "--dtype", "bfloat16"], "without --push and --dtype"),
        (["--adapter", "--to", "x", "--step", "base"], "the base model has no adapter"),
    ],
)
def test_what_an_adapter_cannot_be_written_as_is_refused(
    made, arguments, said, capsys, tmp_path, monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert call(made[0], *arguments) == 2
    assert said in capsys.readouterr().err


def test_a_run_that_trained_the_whole_model_has_no_adapter(made, tmp_path, capsys) -> None:
    run = RunFolder(tmp_path / "outputs" / "whole-1a2b3c4d")
    run.make()
    run.config_yaml.write_text(made[0].config_yaml.read_text())
    run.write_status(state="finished", steps_asked=3)
    write_checkpoint(run.checkpoints, Checkpoint(3, {"a": torch.zeros(1)}, {}, {}))
    assert call(run, "--adapter", "--step", "3", "--to", str(tmp_path / "adapter")) == 2
    assert "the whole model was trained" in capsys.readouterr().err
