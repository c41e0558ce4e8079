"""Explorer and trainer continue from the same step, whoever was ahead."""

import json

import pytest

from rlagent.records.checkpoints import FULL_FLAG, LATEST_CHECKPOINT, step_folder
from rlagent.trinity.rewind import remember, rewind_explorer


def _checkpoint(folder, step):
    made = step_folder(folder, step)
    made.mkdir()
    (made / FULL_FLAG).touch()
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


@pytest.mark.parametrize(
    ("note", "words"),
    [("", "holds no step number"), ("7\n", "names step 7, which is not there"), ("[2]", "no step")],
)
def test_a_wrong_note_gives_the_newest_checkpoint_that_is_there(tmp_path, note, words):
    for step in (1, 2):
        remember(tmp_path, _state(step))
        _checkpoint(tmp_path, step)
    step_folder(tmp_path, 3).mkdir()  # mere weights
    (tmp_path / LATEST_CHECKPOINT).write_text(note)
    lines = []
    assert rewind_explorer(tmp_path, "explorer", say=lines.append) == 2
    assert json.loads((tmp_path / "explorer_meta.json").read_text()) == _state(2)
    assert (tmp_path / LATEST_CHECKPOINT).read_text() == "2"
    (line,) = lines
    assert words in line
    assert "is of step 2" in line


@pytest.mark.parametrize("note", ["", "7"])
def test_a_wrong_note_without_any_checkpoint_is_an_error_with_the_remedy(tmp_path, note):
    (tmp_path / LATEST_CHECKPOINT).write_text(note)
    with pytest.raises(RuntimeError, match=r"nor is any other checkpoint.*run\.fresh=true"):
        rewind_explorer(tmp_path, "explorer")


@pytest.mark.parametrize("damaged", ["", "[1]", '{"latest_iter'])
def test_a_damaged_state_of_the_explorer_is_an_error_with_the_remedy(tmp_path, damaged):
    _checkpoint(tmp_path, 1)
    (tmp_path / "explorer_history.jsonl").write_text('{"other": 1}\n{"latest_iter')
    (tmp_path / "explorer_meta.json").write_text(damaged)
    with pytest.raises(RuntimeError, match=r"not the explorer's state.*run\.fresh=true"):
        rewind_explorer(tmp_path, "explorer")


def test_a_lost_state_is_an_error_with_the_remedy(tmp_path):
    _checkpoint(tmp_path, 5)
    with pytest.raises(RuntimeError, match=r"run\.fresh=true"):
        rewind_explorer(tmp_path, "explorer")
