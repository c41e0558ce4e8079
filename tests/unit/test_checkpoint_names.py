"""A checkpoint of a run is named base, best, last or by its step, and a wrong name lists them."""

import json
import zipfile
from pathlib import Path

import pytest

from rlagent.config.resolve import resolve
from rlagent.machine.resources import Machine
from rlagent.records.checkpoints import (
    LATEST_CHECKPOINT,
    MANIFEST,
    OPTIMIZER,
    STATE,
    WEIGHTS,
    CheckpointError,
    checksum_of,
    find_checkpoint,
    kept_checkpoints,
    prune,
    step_folder,
)
from rlagent.records.folder import RunFolder
from rlagent.trinity.translate import to_trinity
from tests.configured import configured


def keep(run: RunFolder, step: int) -> Path:
    folder = step_folder(run.checkpoints, step)
    (folder / "actor").mkdir(parents=True)
    for name in (WEIGHTS, OPTIMIZER, STATE):
        (folder / name).write_text(f"{name} of step {step}")
    files = {
        name: {"bytes": (folder / name).stat().st_size, "crc32": checksum_of(folder / name)}
        for name in (WEIGHTS, OPTIMIZER, STATE)
    }
    (folder / MANIFEST).write_text(json.dumps({"step": step, "files": files}))
    (run.checkpoints / LATEST_CHECKPOINT).write_text(str(step))
    return folder


def keep_shards(run: RunFolder, step: int, ranks: int = 2) -> Path:
    folder = step_folder(run.checkpoints, step)
    (folder / "actor").mkdir(parents=True)
    (folder / ".full_checkpoint").touch()
    for rank in range(ranks):
        path = folder / f"actor/model_world_size_{ranks}_rank_{rank}.pt"
        with zipfile.ZipFile(path, "w") as file:
            file.writestr("data.pkl", f"weights of step {step}, rank {rank}" * 99)
    (run.checkpoints / LATEST_CHECKPOINT).write_text(str(step))
    return folder


def measure(run: RunFolder, **success: float) -> None:
    for step, value in success.items():
        run.append_metrics("explorer", int(step[1:]), {"eval/success": value, "eval/tasks": 16})


def flip_a_byte(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    made = RunFolder(tmp_path / "mine-1a2b3c4d")
    for step in (10, 20, 30):
        keep(made, step)
    measure(made, s0=0.3, s10=0.5, s15=0.9, s20=0.7, s30=0.6)
    return made


@pytest.mark.parametrize(
    ("name", "step"),
    [("base", 0), ("0", 0), ("10", 10), ("020", 20), ("last", 30), ("best", 20)],
)
def test_a_name_means_a_step_of_which_best_is_the_kept_one_with_most_success(
    run: RunFolder, name: str, step: int
) -> None:
    kept = find_checkpoint(run, name)
    assert kept.step == step
    assert kept.folder == (step_folder(run.checkpoints, step) if step else None)


def test_of_equal_success_the_later_step_is_the_best(run: RunFolder) -> None:
    measure(run, s30=0.7)
    assert find_checkpoint(run, "best").step == 30


@pytest.mark.parametrize("name", ["15", "bst", "", "9" * 5000, "²", "-1", "step 10"])
def test_a_name_that_means_nothing_lists_what_there_is(run: RunFolder, name: str) -> None:
    with pytest.raises(CheckpointError) as raised:
        find_checkpoint(run, name)
    assert "there are base, 10, 20, 30, `last` (30), `best` (20)" in str(raised.value)


def test_without_a_checkpoint_only_the_base_can_be_named(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "new")
    assert find_checkpoint(run, "base").folder is None
    for name in ("last", "best", "3"):
        with pytest.raises(CheckpointError, match="kept none yet, only `base`"):
            find_checkpoint(run, name)


def test_best_is_not_known_before_a_kept_step_was_measured(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "new")
    keep(run, 10)
    measure(run, s0=0.9, s5=0.9)
    with pytest.raises(CheckpointError, match="`best` once a kept step was evaluated"):
        find_checkpoint(run, "best")


def test_a_flipped_byte_is_named_and_the_whole_one_before_is_offered(run: RunFolder) -> None:
    flip_a_byte(step_folder(run.checkpoints, 20) / OPTIMIZER)
    flip_a_byte(step_folder(run.checkpoints, 30) / WEIGHTS)
    with pytest.raises(CheckpointError, match=r"model\.safetensors is damaged.* is 10$"):
        find_checkpoint(run, "last")
    assert find_checkpoint(run, "10").step == 10


def test_where_all_are_damaged_the_base_is_offered(run: RunFolder) -> None:
    for step in (10, 20, 30):
        flip_a_byte(step_folder(run.checkpoints, step) / WEIGHTS)
    with pytest.raises(CheckpointError, match=r"whole is base$"):
        find_checkpoint(run, "last")


def test_a_flipped_byte_in_a_shard_of_verl_is_named(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "sharded")
    keep_shards(run, 10)
    folder = keep_shards(run, 20)
    flip_a_byte(folder / "actor/model_world_size_2_rank_1.pt")
    with pytest.raises(CheckpointError, match=r"rank_1\.pt is damaged.* is 10$"):
        find_checkpoint(run, "last")
    assert find_checkpoint(run, "10").step == 10


def test_a_missing_shard_of_verl_is_named(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "sharded")
    (keep_shards(run, 10) / "actor/model_world_size_2_rank_0.pt").unlink()
    with pytest.raises(CheckpointError, match=r"rank_0\.pt is missing.* is base$"):
        find_checkpoint(run, "10")


def test_a_checkpoint_that_verl_is_still_writing_is_none_yet(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "sharded")
    keep_shards(run, 10)
    keep_shards(run, 20)
    (run.checkpoints / LATEST_CHECKPOINT).write_text("10")
    assert [kept.step for kept in kept_checkpoints(run)] == [0, 10]
    assert find_checkpoint(run, "last").step == 10


def test_the_newest_checkpoints_stay_and_the_best_beside_them(tmp_path) -> None:
    run = RunFolder(tmp_path / "demo-1")
    for step in (2, 4, 6, 8, 10):
        keep(run, step)
    measure(run, s2=0.3, s4=0.7, s6=0.4, s8=0.5)
    prune(run, 2)
    assert [kept.step for kept in kept_checkpoints(run)] == [0, 4, 8, 10]
    # A better one takes its place.
    measure(run, s10=0.9)
    keep(run, 12)
    prune(run, 1)
    assert [kept.step for kept in kept_checkpoints(run)] == [0, 10, 12]


def test_a_damaged_checkpoint_that_a_resume_went_back_from_does_not_count_as_newest(
    tmp_path,
) -> None:
    run = RunFolder(tmp_path / "demo-1")
    for step in (10, 20, 30):
        keep(run, step)
    flip_a_byte(step_folder(run.checkpoints, 30) / WEIGHTS)
    # Resumed from step 20, and stopped two steps later.
    keep(run, 22)
    prune(run, 1)
    assert find_checkpoint(run, "22").step == 22
    assert [kept.step for kept in kept_checkpoints(run)] == [0, 22, 30]


def test_trinity_leaves_the_checkpoints_where_the_best_is_kept(tmp_path) -> None:
    between = ("hardware=cpu", "algorithm.eval_interval=5")
    for overrides, theirs in ((between, 0), ((*between, "algorithm.keep_best=false"), 2)):
        resolved = resolve(configured(*overrides), Machine((), 2, 8.0))
        tree = to_trinity(resolved, tmp_path)
        assert tree["trainer"]["max_checkpoints_to_keep"] == theirs
    assert tree["trainer"]["save_interval"] != 5
    assert (
        to_trinity(resolve(configured(*between), Machine((), 2, 8.0)), tmp_path)["trainer"][
            "save_interval"
        ]
        == 5
    )


@pytest.mark.parametrize(
    ("overrides", "is_said"),
    [
        ((), False),
        (("algorithm.save_interval=10",), True),
        (("algorithm.sync_interval=3",), True),
        (("algorithm.max_lag=1",), True),
        (("algorithm.max_lag=1", "algorithm.save_interval=1"), False),
        (("algorithm.save_interval=10", "algorithm.keep_best=false"), False),
    ],
)
def test_a_best_checkpoint_that_may_not_be_saved_is_said(overrides, is_said) -> None:
    asked = configured("hardware=cpu", "algorithm.eval_interval=5", *overrides)
    choices = resolve(asked, Machine((), 2, 8.0)).choices
    assert any(line.startswith("best checkpoint: only where") for line in choices) == is_said
