"""A checkpoint becomes a Hugging Face folder: the trainer's weights, whole or not there."""

import json
import os
import resource
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file
from trained_run import TINY, make_run, trained_weights
from transformers import AutoModelForCausalLM, AutoTokenizer

from rlagent import export as command
from rlagent.backends.embedded.checkpoint import Checkpoint, write_checkpoint
from rlagent.base.endings import RunError
from rlagent.base.lock import waited_for
from rlagent.config.chat_templates import template_text
from rlagent.records.checkpoints import WEIGHTS, find_checkpoint
from rlagent.records.folder import RunFolder
from rlagent.records.parents import (
    RECORD,
    STAMP,
    export_folder,
    lineage_of_folder,
    lineage_words,
)
from rlagent.serving.export import (
    TRAINERS_EXPORT,
    export,
    ready_folder,
    require_exported,
    weights_folder,
)
from rlagent.serving.trained import find_trained


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return make_run(tmp_path_factory.mktemp("runs"), 10, 20)


@pytest.fixture
def run(made: RunFolder, tmp_path: Path) -> RunFolder:
    return RunFolder(shutil.copytree(made.path, tmp_path / "outputs" / made.name))


def logits(model: torch.nn.Module) -> torch.Tensor:
    with torch.no_grad():
        return model(input_ids=torch.arange(3, 60)[None]).logits


def call(run: RunFolder, *arguments: str) -> int:
    return command.main([run.name, "--root", str(run.path.parent), *arguments])


def test_an_export_has_the_logits_of_the_weights_that_were_trained(
    run: RunFolder, tmp_path: Path
) -> None:
    assert call(run, "--step", "10", "--to", str(tmp_path / "model")) == 0
    expected = AutoModelForCausalLM.from_pretrained(TINY, dtype=torch.float32)
    before = logits(expected)
    expected.load_state_dict(trained_weights(10), strict=False)
    found = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    assert found.dtype == torch.float32
    assert (logits(found) - logits(expected)).abs().max() < 1e-5
    assert (before - logits(expected)).abs().max() > 1e-2
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "model")
    assert tokenizer.chat_template == AutoTokenizer.from_pretrained(TINY).chat_template


def test_the_card_says_what_it_was_made_from_and_how_good_it_is(
    run: RunFolder, tmp_path: Path
) -> None:
    assert call(run, "--to", str(tmp_path / "model")) == 0
    card = (tmp_path / "model" / "README.md").read_text()
    head = yaml.safe_load(card.split("---")[1])
    assert head["license"] == "apache-2.0"
    assert "| steps | 20 of 20 |" in card
    assert "20.0 % [20.0, 20.0], 64 tasks" in card
    assert "python -m rlagent.train seed=1" in card
    assert "+experiment=NAME model=tiny dataset=gsm8k_tiny model.path=FOLDER" in card
    assert str(tmp_path) not in card


@pytest.mark.slow
def test_an_export_may_have_another_dtype(run: RunFolder, tmp_path: Path) -> None:
    assert call(run, "--to", str(tmp_path / "model"), "--dtype", "bfloat16") == 0
    tensors = load_file(tmp_path / "model" / "model.safetensors")
    assert {value.dtype for value in tensors.values()} == {torch.bfloat16}


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (("--step", "7", "--to", "new"), 2, "there are base, 10, 20, `last` (20), `best` (20)"),
        (("--to", "full"), 2, "is a folder with files in it; name a folder that is not there"),
    ],
)
def test_what_cannot_be_exported_is_said_in_a_line(
    run: RunFolder,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
    arguments: tuple[str, ...],
    status: int,
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").touch()
    assert call(run, *arguments) == status
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert sorted(os.listdir(tmp_path)) == ["full", "outputs"]
    assert os.listdir(tmp_path / "full") == ["mine.txt"]


def test_a_checkpoint_of_another_model_is_refused(
    run: RunFolder, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    trained = find_trained(run.name, "20", run.path.parent)
    save_file({"other.weight": torch.zeros(2)}, trained.kept.folder / WEIGHTS)
    with pytest.raises(Exception, match="do not fit the model"):
        export(trained, tmp_path / "model")
    assert os.listdir(tmp_path) == ["outputs"]


def test_on_a_full_disk_nothing_is_left_of_it(
    run: RunFolder, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, before[1]))
    try:
        assert call(run, "--to", str(tmp_path / "model")) == 1
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert capsys.readouterr().err.count("\n") == 1
    assert os.listdir(tmp_path) == ["outputs"]


def test_engines_get_an_export_that_is_made_once_until_the_weights_are_others(
    run: RunFolder,
) -> None:
    trained = find_trained(run.name, "last", run.path.parent)
    folder = Path(ready_folder(trained))
    assert folder.is_relative_to(run.path)
    first = (folder / STAMP).stat().st_mtime_ns
    assert ready_folder(trained) == str(folder)
    assert (folder / STAMP).stat().st_mtime_ns == first
    shutil.rmtree(trained.kept.folder)
    write_checkpoint(run.checkpoints, Checkpoint(20, trained_weights(5), {}, {}))
    assert find_checkpoint(run, "last").step == 20
    assert ready_folder(trained) == str(folder)
    assert (folder / STAMP).stat().st_mtime_ns != first


def test_an_export_that_another_command_has_made_in_the_meantime_is_taken(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained = find_trained(run.name, "20", run.path.parent)
    folder = export_folder(run, 20)
    folder.mkdir(parents=True)
    (folder / STAMP).write_text("{}")

    @contextmanager
    def after_another(file: Path) -> Iterator[None]:
        shutil.rmtree(folder)
        export(trained, folder)
        (folder / "in use").touch()
        with waited_for(file):
            yield

    monkeypatch.setattr("rlagent.serving.export.waited_for", after_another)
    assert ready_folder(trained) == str(folder)
    assert (folder / "in use").is_file()


def test_engines_get_the_base_model_itself(run: RunFolder) -> None:
    assert ready_folder(find_trained(run.name, "base", run.path.parent)) == TINY


def test_measuring_takes_the_trainers_own_folder_where_weights_are_in_it_else_an_export(
    run: RunFolder,
) -> None:
    trained = find_trained(run.name, "20", run.path.parent)
    written = trained.kept.folder / TRAINERS_EXPORT
    written.mkdir(parents=True)
    # As verl leaves it, with LoRA or before the last step.
    (written / "config.json").write_text("{}")
    assert weights_folder(trained) == str(export_folder(run, 20))
    (written / "model.safetensors").touch()
    assert weights_folder(trained) == str(written)
    assert weights_folder(find_trained(run.name, "base", run.path.parent)) == TINY


def test_a_run_that_starts_from_a_checkpoint_finds_it_exported_once_with_its_line(
    run: RunFolder,
) -> None:
    folder = export_folder(run, 20)
    assert "step 20 of mine-1a2b3c4d" in require_exported(str(folder))
    assert lineage_words(lineage_of_folder(str(folder))) == "step 20 of mine-1a2b3c4d (tiny)"
    first = (folder / STAMP).stat().st_mtime_ns
    assert require_exported(str(folder)) == ""
    # What is left of a checkpoint that was pruned since.
    shutil.rmtree(run.checkpoints / "global_step_20")
    assert require_exported(str(folder)) == ""
    assert (folder / STAMP).stat().st_mtime_ns == first
    shutil.rmtree(folder)
    with pytest.raises(RunError, match="no checkpoint '20'"):
        require_exported(str(folder))
    assert require_exported("Qwen/Qwen3-8B") == ""


def test_the_card_says_what_the_model_was_trained_on_before(run: RunFolder, tmp_path: Path) -> None:
    line = [{"run": "sft-1", "step": 4, "model": "tiny", "base": "some/model"}]
    (run.path / RECORD).write_text(json.dumps({"model": TINY, "lineage": line}))
    export(find_trained(run.name, "20", run.path.parent), tmp_path / "model")
    card = (tmp_path / "model" / "README.md").read_text()
    assert "| trained before | step 4 of sft-1 (tiny) |" in card
    assert "base_model: some/model" in card
    assert lineage_of_folder(str(tmp_path / "model"))[1:] == line


def test_a_template_of_the_run_is_exported_with_the_model_the_base_too(run: RunFolder) -> None:
    written = yaml.safe_load(run.config_yaml.read_text())
    written["model"]["chat_template"] = "builtin:chatml_tools.jinja"
    run.config_yaml.write_text(yaml.safe_dump(written))
    for step in ("base", "20"):
        folder = ready_folder(find_trained(run.name, step, run.path.parent))
        there = AutoTokenizer.from_pretrained(folder).chat_template
        assert there == template_text("builtin:chatml_tools.jinja")
