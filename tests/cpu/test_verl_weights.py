"""Sharded checkpoints of verl are put together on a CPU, exactly as they were trained."""

import json
import shutil
from pathlib import Path

import pytest
import torch
import torch.multiprocessing as mp
from configured import configured
from trained_run import TINY, trained_weights
from transformers import AutoModelForCausalLM
from verl_shards import RANKS, save_shard

from rlagent.backends.verl.weights import read_weights
from rlagent.config.compose import to_yaml
from rlagent.config.resolve import resolve
from rlagent.machine.resources import GPU, Machine
from rlagent.records.folder import RunFolder
from rlagent.serving.export import export
from rlagent.serving.trained import find_trained

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    made = RunFolder(tmp_path_factory.mktemp("runs") / "mine-5e6f7a8b")
    made.make()
    gpus = Machine((GPU("NVIDIA H200", 141.0),) * 3, 16, 128)
    resolved = resolve(configured("hardware.gpus=3", "hardware.layout=1x1+2", "model=tiny"), gpus)
    assert resolved.config.hardware.engine == "vllm"
    made.config_yaml.write_text(to_yaml(resolved.config))
    made.write_status(state="finished", steps_asked=5)
    folder = made.checkpoints / "global_step_5" / "actor"
    folder.mkdir(parents=True)
    (folder.parent / ".full_checkpoint").touch()
    (made.checkpoints / "latest_checkpointed_iteration.txt").write_text("5")
    mp.spawn(save_shard, (str(folder), str(made.path / "store")), RANKS)
    return made


def test_the_shards_make_the_weights_that_were_trained(run: RunFolder) -> None:
    found = read_weights(run.checkpoints / "global_step_5")
    for name, expected in trained_weights(7).items():
        assert torch.equal(found[name], expected), name


def test_an_export_of_shards_has_the_logits_of_the_trainer(run: RunFolder, tmp_path: Path) -> None:
    export(find_trained(run.name, "last", run.path.parent), tmp_path / "model", "float32")
    found = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    expected = AutoModelForCausalLM.from_pretrained(TINY, dtype=torch.float32)
    expected.load_state_dict(trained_weights(7), strict=False)
    ids = torch.arange(3, 60)[None]
    with torch.no_grad():
        gap = (found(input_ids=ids).logits - expected(input_ids=ids).logits).abs().max()
    assert gap < 1e-5
    assert json.loads((tmp_path / "model" / "rlagent.json").read_text())["step"] == 5


def test_shards_that_are_not_all_there_are_named(run: RunFolder, tmp_path: Path) -> None:
    shutil.copytree(run.path, tmp_path / run.name)
    actor = tmp_path / run.name / "checkpoints" / "global_step_5" / "actor"
    (actor / "model_world_size_2_rank_1.pt").unlink()
    with pytest.raises(Exception, match=r"rank_1\.pt is missing.*base"):
        find_trained(run.name, "last", tmp_path)
