"""A preset of one's own wins over the shipped one of its name, wherever presets are read."""

from pathlib import Path

import pytest
import yaml

from rlagent.base.paths import conf_dir
from rlagent.config.command import parse_command
from rlagent.config.compose import compose, draft
from rlagent.config.overlay import Shared
from rlagent.config.prepare import prepare
from rlagent.config.presets import model_preset_of_path
from rlagent.machine.resources import GPU, Machine
from tests.configured import drafted

CPU = Machine((), 2, 24)

# Group, a shipped preset, a field of it, a value that it does not have.
OWN = [
    ("model", "tiny", "max_response_tokens", 77),
    ("dataset", "gsm8k_tiny", "eval_tasks", 7),
    ("algorithm", "rloo", "weight_decay", 0.5),
    ("hardware", "cpu", "threads", 1),
    ("workflow", "gsm8k_react", "timeout", 5.0),
    ("monitor", "local", "project", "mine"),
    ("sweep", "optuna", "n_trials", 3),
]


@pytest.fixture
def own(tmp_path: Path):
    """A folder of presets like the shipped ones, each with one other value."""
    for group, name, key, value in OWN:
        text = (conf_dir() / group / f"{name}.yaml").read_text()
        header = "# @package _global_\n" if "_global_" in text else ""
        settings = yaml.safe_load(text)
        (settings[group] if header else settings)[key] = value
        (tmp_path / group).mkdir()
        (tmp_path / group / f"{name}.yaml").write_text(header + yaml.safe_dump(settings))
    return tmp_path


def test_there_is_one_for_every_group_that_is_shipped():
    groups = {folder.name for folder in conf_dir().iterdir() if folder.is_dir()}
    assert groups - {group for group, *_ in OWN} == {"experiment", "debug"}


@pytest.mark.parametrize(("group", "name", "key", "value"), OWN, ids=[item[0] for item in OWN])
def test_an_own_preset_with_a_shipped_name_is_the_one_that_is_taken(own, group, name, key, value):
    plus = "+" if group == "sweep" else ""
    found = draft([f"{plus}{group}={name}"], [str(own)])
    assert found.problems == []
    assert getattr(getattr(found.config, group), key) == value
    shared = draft([f"{plus}{group}={name}"], [str(own)], shared=Shared())
    assert shared.config == found.config


def test_an_own_experiment_with_a_shipped_name_is_the_one_that_is_taken(tmp_path):
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "gsm8k_react.yaml").write_text("# @package _global_\nseed: 99\n")
    assert compose(["+experiment=gsm8k_react"], [str(tmp_path)]).seed == 99
    assert compose(["+experiment=gsm8k_react"]).seed != 99


@pytest.mark.parametrize("flag", ["--config-dir", "--config-path"])
def test_auto_takes_the_preset_that_its_name_alone_would_take(own, flag):
    if flag == "--config-path":
        (own / "config.yaml").write_text((conf_dir() / "config.yaml").read_text())
        for file in conf_dir().glob("*/*.yaml"):
            if not (copy := own / file.parent.name / file.name).exists():
                copy.parent.mkdir(exist_ok=True)
                copy.write_text(file.read_text())
    command = parse_command(["+experiment=gsm8k_react", flag, str(own)])
    resolved = prepare(command.draft(), CPU, command.config_dirs).config
    assert resolved.model.max_response_tokens == 77
    assert resolved.dataset.eval_tasks == 7
    # By its path it is the same preset.
    assert model_preset_of_path("builtin:tiny", command.config_dirs).max_response_tokens == 77


def test_among_the_candidates_an_own_preset_is_the_one_that_is_weighed(tmp_path):
    text = (conf_dir() / "model" / "qwen3_0_6b.yaml").read_text()
    (tmp_path / "model").mkdir()
    changed = text.replace("path: Qwen/Qwen3-0.6B", "path: mine/own-0.6B")
    assert changed != text
    (tmp_path / "model" / "qwen3_0_6b.yaml").write_text(changed)
    gpus = Machine((GPU("H100", 80),) * 2, 16, 256)
    found = drafted("model.candidates=[qwen3_0_6b]")
    assert prepare(found, gpus, [str(tmp_path)]).config.model.path == "mine/own-0.6B"


def test_a_configuration_beside_own_presets_is_no_other_primary_one(tmp_path):
    (tmp_path / "config.yaml").write_text("seed: 99\n")
    assert compose([], [str(tmp_path)]) == compose([])


def test_a_folder_with_a_quote_in_its_name_is_a_folder(tmp_path):
    (folder := tmp_path / "q'uote, {x}" / "model").mkdir(parents=True)
    (folder / "mine.yaml").write_text("path: builtin:tiny\nname: mine\n")
    assert compose(["model=mine"], [str(folder.parent)]).model.name == "mine"
