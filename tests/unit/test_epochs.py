"""A native YAML with epochs and no steps trains as many steps as its data makes, or is refused."""

import json
from pathlib import Path

import pytest
import yaml

from rlagent.base.errors import ConfigError
from rlagent.base.paths import asset_dir
from rlagent.config.load import load_config
from rlagent.config.resolve import Resolved, resolve
from rlagent.launch.epochs import with_steps
from rlagent.machine.resources import Machine
from rlagent.trinity.translate import to_trinity


def tasks(folder: Path, rows: int) -> str:
    """A folder of tables, whose rows nobody knows without reading them."""
    folder.mkdir()
    text = "".join(f"what is {n}?,{n}\n" for n in range(rows))
    (folder / "train.csv").write_text(f"question,answer\n{text}")
    return str(folder)


def native(tmp_path: Path, explorer_input: dict, **buffer: object) -> Resolved:
    """A native YAML as it is resolved on a CPU."""
    data = {
        "mode": "both",
        "name": "epochs",
        "algorithm": {"algorithm_type": "grpo", "repeat_times": 2},
        "model": {"model_path": str(asset_dir("tiny")), "max_model_len": 512},
        "cluster": {"node_num": 1, "gpu_per_node": 2},
        "buffer": {"batch_size": 4, "explorer_input": explorer_input, **buffer},
        "explorer": {"rollout_model": {"engine_type": "embedded", "engine_num": 1}},
        "trainer": {"trainer_type": "embedded", "total_steps": None},
    }
    (tmp_path / "native.yaml").write_text(yaml.safe_dump(data))
    return resolve(load_config(str(tmp_path / "native.yaml")), Machine((), 4, 16.0))


def test_steps_are_counted_in_the_data_of_every_taskset(tmp_path: Path) -> None:
    sets = [
        {"name": name, "storage_type": "file", "path": tasks(tmp_path / name, rows)}
        for name, rows in (("a", 9), ("b", 6))
    ]
    resolved = native(tmp_path, {"tasksets": sets}, total_epochs=2, total_steps=None)
    assert resolved.config.algorithm.total_steps == 0
    assert any("counted when the run reads them" in line for line in resolved.choices)
    counted = with_steps(resolved)
    # Trinity goes on from the first epoch into the second within a step.
    assert counted.config.algorithm.total_steps == counted.batch.steps == 30 // 4
    assert "steps: 7: 2 epochs of 15 tasks, 4 a step; otherwise buffer.total_steps" in (
        counted.choices
    )
    tree = to_trinity(counted, tmp_path / "run")
    assert (tree["buffer"]["total_steps"], tree["trainer"]["total_steps"]) == (7, 7)


def test_rows_of_a_local_file_are_counted_at_once(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    lines = [json.dumps({"question": str(n), "answer": "1"}) + "\n" for n in range(6)]
    (tmp_path / "data" / "train.jsonl").write_text("".join(lines))
    taskset = {"name": "a", "storage_type": "file", "path": str(tmp_path / "data")}
    resolved = native(tmp_path, {"taskset": taskset}, total_epochs=2)
    assert resolved.config.algorithm.total_steps == 3
    assert with_steps(resolved) is resolved


def test_rows_of_single_files_are_counted_too(tmp_path: Path) -> None:
    for name, rows in (("a", 9), ("b", 6)):
        lines = [json.dumps({"question": str(n), "answer": 1 if n else "one"}) for n in range(rows)]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(lines))
    sets = [
        {"name": name, "storage_type": "file", "path": str(tmp_path / f"{name}.jsonl")}
        for name in "ab"
    ]
    counted = with_steps(native(tmp_path, {"tasksets": sets}, total_epochs=2, total_steps=None))
    assert counted.config.algorithm.total_steps == 30 // 4


def test_data_that_makes_no_step_is_refused(tmp_path: Path) -> None:
    taskset = {"name": "a", "storage_type": "file", "path": tasks(tmp_path / "a", 3)}
    with pytest.raises(
        ConfigError, match=r"the 3 training tasks make no step of buffer\.batch_size=4"
    ):
        with_steps(native(tmp_path, {"taskset": taskset}))


def test_data_that_cannot_be_read_is_refused_with_its_place(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    taskset = {"name": "a", "storage_type": "file", "path": str(tmp_path / "empty")}
    with pytest.raises(ConfigError, match=r"split .train. cannot be loaded: .*empty .*total_steps"):
        with_steps(native(tmp_path, {"taskset": taskset}))
