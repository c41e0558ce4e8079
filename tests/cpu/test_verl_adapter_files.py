"""verl's worker writes an adapter in peft's form, so that it can be read all the while."""

import json
from types import SimpleNamespace

import parity
import torch
from peft import LoraConfig, TaskType, get_peft_model
from safetensors.torch import load_file, save_file

from rlagent.records.checkpoints import ADAPTER, ADAPTER_CONFIG


def test_an_adapter_can_be_read_while_its_checkpoint_writes_it_again(tmp_path, monkeypatch) -> None:
    config = LoraConfig(task_type=TaskType.FEATURE_EXTRACTION, r=2, target_modules=["0"])
    model = get_peft_model(torch.nn.Sequential(torch.nn.Linear(64, 64)), config)
    seen = []

    def look(weights, file) -> None:
        there = tmp_path / ADAPTER_CONFIG
        seen.append(json.loads(there.read_text())["lora_alpha"] if there.exists() else None)
        save_file(weights, file)

    with parity.verl_on_cpu(tmp_path, monkeypatch):
        from rlagent.backends.verl import worker

        class Worker(worker.StepWorker):
            """One whose model is there, without the Ray actor that it is."""

            def __init__(self) -> None:
                self._rank = 0
                self.actor = SimpleNamespace(engine=SimpleNamespace(module=model))

        monkeypatch.setattr(worker, "save_file", look)
        ours = Worker()
        ours._save_lora(str(tmp_path / "actor"))
        before = load_file(tmp_path / ADAPTER)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(1)
        config.lora_alpha = 99
        ours._save_lora(str(tmp_path / "actor"))
    assert seen == [None, 8]
    assert json.loads((tmp_path / ADAPTER_CONFIG).read_text())["lora_alpha"] == 99
    after = load_file(tmp_path / ADAPTER)
    assert all(torch.allclose(after[name], before[name] + 1) for name in before)
    assert sorted(path.name for path in (tmp_path / "actor").iterdir()) == ["lora_adapter"]
