"""Explorer and trainer continue from the same step, whoever was ahead."""

import json

import pytest

from rlagent.run.folder import LATEST_CHECKPOINT
from rlagent.trinity.rewind import remember, rewind_explorer


def _checkpoint(folder, step):
    (folder / LATEST_CHECKPOINT).write_text(str(step))


def _state(step):
    return {"latest_iteration": step, "taskset_states": [{"current_index": 4 * step}]}


def test_an_explorer_that_is_ahead_goes_back_to_the_checkpoint(tmp_path):
    for step in (1, 2, 3):
        remember(tmp_path, _state(step))
    (tmp_path / "explorer_meta.json").write_text(json.dumps(_state(3)))
    _checkpoint(tmp_path, 2)
    assert rewind_explorer(tmp_path, "explorer") == 2
    assert json.loads((tmp_path / "explorer_meta.json").read_text()) == _state(2)


def test_the_newest_state_of_a_step_counts(tmp_path):
    remember(tmp_path, _state(1))
    remember(tmp_path, {"latest_iteration": 1, "taskset_states": [{"current_index": 99}]})
    _checkpoint(tmp_path, 1)
    rewind_explorer(tmp_path, "explorer")
    state = json.loads((tmp_path / "explorer_meta.json").read_text())
    assert state["taskset_states"] == [{"current_index": 99}]


def test_without_a_checkpoint_both_start_from_the_beginning(tmp_path):
    remember(tmp_path, _state(1))
    (tmp_path / "explorer_meta.json").write_text(json.dumps(_state(1)))
    assert rewind_explorer(tmp_path, "explorer") == 0
    assert not (tmp_path / "explorer_meta.json").exists()


def test_a_damaged_note_of_the_newest_checkpoint_is_an_error_with_the_remedy(tmp_path):
    (tmp_path / LATEST_CHECKPOINT).write_text("")
    with pytest.raises(RuntimeError, match=r"holds no step number.*run\.fresh=true"):
        rewind_explorer(tmp_path, "explorer")


def test_a_lost_state_is_an_error_with_the_remedy(tmp_path):
    _checkpoint(tmp_path, 5)
    with pytest.raises(RuntimeError, match=r"run\.fresh=true"):
        rewind_explorer(tmp_path, "explorer")
