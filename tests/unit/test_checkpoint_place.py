"""No two runs share a directory of checkpoints, wherever it is."""

from pathlib import Path

import pytest

from rlagent import LearnConfig
from rlagent.base.errors import ConfigError
from rlagent.config.resolve import resolve
from rlagent.launch.checkpoint_place import elsewhere, place_checkpoints
from rlagent.machine.resources import Machine
from rlagent.records.files import move_contents_aside
from rlagent.records.folder import RunFolder
from rlagent.trinity.translate import to_trinity
from tests.configured import configured

NATIVE = """
project: p
group: g
name: n
checkpoint_root_dir: ./checkpoints
algorithm: {algorithm_type: grpo, repeat_times: 2, optimizer: {lr: 1.0e-4}}
model: {model_path: builtin:tiny, max_model_len: 512}
cluster: {node_num: 1, gpu_per_node: 2}
buffer: {total_steps: 1, batch_size: 4, explorer_input: {taskset: {path: builtin:gsm8k_tiny}}}
explorer: {rollout_model: {engine_type: embedded}}
trainer: {trainer_type: embedded}
"""


def native(folder: Path) -> LearnConfig:
    (file := folder / "native.yaml").write_text(NATIVE)
    return LearnConfig.load_config(str(file))


def run_folder(path: Path) -> RunFolder:
    path.mkdir(parents=True)
    return RunFolder(path)


@pytest.mark.parametrize("kind", ["native", "ours"])
def test_trinity_keeps_a_run_in_its_run_folder_whatever_directory_is_named(kind, tmp_path):
    config = native(tmp_path)
    if kind == "ours":
        config = configured("hardware=cpu", "trinity.checkpoint_root_dir=/elsewhere")
    tree = to_trinity(resolve(config, Machine((), 2, 24)), tmp_path / "run-1")
    place = [tree[key] for key in ("checkpoint_root_dir", "project", "group", "name")]
    assert Path(*place) == RunFolder(tmp_path / "run-1").checkpoints
    assert elsewhere(config) == ("./checkpoints" if kind == "native" else "/elsewhere")


def test_without_a_directory_checkpoints_are_in_the_run_folder_itself(tmp_path):
    assert elsewhere(configured()) is None
    folder = run_folder(tmp_path / "run-1")
    place_checkpoints(folder, None)
    assert not folder.checkpoints.exists()


def test_a_directory_given_elsewhere_gets_one_of_its_own_for_each_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    places = []
    for run_dir in ("a/run-1", "a/run-2", "b/run-1"):
        folder = run_folder(tmp_path / run_dir)
        place_checkpoints(folder, "kept")
        (folder.checkpoints / "step").write_text(run_dir)
        places.append(folder.checkpoints.resolve())
    assert places == [tmp_path / "kept" / name for name in ("run-1", "run-2", "run-1.1")]


def test_a_resumed_run_finds_its_own_again_and_a_fresh_one_finds_nothing(tmp_path):
    folder = run_folder(tmp_path / "run-1")
    place_checkpoints(folder, str(tmp_path / "kept"))
    (folder.checkpoints / "step").write_text("5")
    place_checkpoints(folder, str(tmp_path / "kept"))
    assert (folder.checkpoints / "step").read_text() == "5"
    move_contents_aside(folder.path)
    place_checkpoints(folder, str(tmp_path / "kept"))
    assert list(folder.checkpoints.iterdir()) == []
    assert (tmp_path / "run-1.1" / "checkpoints" / "step").read_text() == "5"


def test_a_run_whose_directory_elsewhere_was_deleted_can_write_there_again(tmp_path):
    folder = run_folder(tmp_path / "run-1")
    place_checkpoints(folder, str(tmp_path / "kept"))
    folder.checkpoints.resolve().rmdir()
    place_checkpoints(folder, str(tmp_path / "kept"))
    assert folder.checkpoints.is_dir()


def test_a_directory_that_cannot_be_made_is_named_with_the_remedy(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"checkpoint_root_dir=.*the run folder keeps them"):
        place_checkpoints(run_folder(tmp_path / "run-1"), str(tmp_path / "file"))


def test_project_group_and_name_of_a_native_yaml_are_the_dashboards(tmp_path):
    config = native(tmp_path)
    assert (config.monitor.project, config.monitor.group, config.run.name) == ("p", "g", "n")


@pytest.mark.parametrize(
    ("field", "key"),
    [("project", "monitor.project"), ("group", "monitor.group"), ("name", "run.name")],
)
def test_trinitys_names_of_a_place_are_refused_with_the_key_that_counts(field, key):
    with pytest.raises(ConfigError, match=rf"trinity\.{field}=mine.*set {key}=mine"):
        resolve(configured("hardware=cpu", f"trinity.{field}=mine"), Machine((), 2, 24))
