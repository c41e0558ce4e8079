"""A trainer that fell back to an older checkpoint: the explorer goes back with it, once."""

import json
from types import SimpleNamespace

import pytest

from rlagent.base.endings import OutOfStepError
from rlagent.launch import phases
from rlagent.records.folder import RunFolder
from rlagent.trinity.rewind import remember


class Roles:
    """A session: an explorer that reads where it stands from disk, a trainer at a given step."""

    def __init__(self, meta, trainer_step):
        self.meta, self.trainer_step, self.open, self.startup = meta, trainer_step, True, {}

    def start(self):
        there = self.meta.is_file()
        explorer_step = json.loads(self.meta.read_text())["latest_iteration"] if there else 0
        if explorer_step != self.trainer_step:
            raise OutOfStepError(self.trainer_step, explorer_step)
        return explorer_step

    def close(self):
        self.open = False


@pytest.fixture
def begun(tmp_path, monkeypatch):
    """An attempt whose explorer is at step 3; the steps of its trainers, one after the other."""
    folder = RunFolder(tmp_path / "run")
    checkpoints = folder.checkpoints
    checkpoints.mkdir(parents=True)
    for step in (1, 2, 3):
        remember(checkpoints, {"latest_iteration": step, "taskset_states": [{"next": 4 * step}]})
    meta = checkpoints / "explorer_meta.json"
    meta.write_text(json.dumps({"latest_iteration": 3}))
    quiet = SimpleNamespace(started=0.0, look=lambda: None, close=lambda: None)
    stage = SimpleNamespace(
        folder=folder,
        watch=quiet,
        marks=SimpleNamespace(times=dict),
        attempt=SimpleNamespace(number=1),
        head_is_lost=lambda: False,
    )
    config = SimpleNamespace(
        checkpoint_job_dir=str(checkpoints), explorer=SimpleNamespace(name="explorer")
    )
    made = []

    def begin(*trainer_steps):
        def session(*given):
            assert not any(one.open for one in made), "two would train into one folder"
            made.append(Roles(meta, trainer_steps[len(made)]))
            return made[-1]

        monkeypatch.setattr(phases, "_session", session)
        return phases.actors(stage, config)

    begin.made, begin.meta = made, meta
    return begin


def test_the_explorer_goes_back_to_where_its_trainer_could_continue(begun):
    with begun(2, 2) as (session, step):
        assert step == 2
        assert session.open
        state = json.loads(begun.meta.read_text())
        assert state == {"latest_iteration": 2, "taskset_states": [{"next": 8}]}
    assert [one.open for one in begun.made] == [False, False]


def test_a_trainer_that_fell_back_to_the_beginning_takes_the_explorer_there(begun):
    with begun(0, 0) as (_, step):
        assert step == 0
        assert not begun.meta.exists()
    assert [one.open for one in begun.made] == [False, False]


def test_roles_that_do_not_agree_after_that_either_fail_the_run(begun):
    said = r"from step 1 but the explorer from 2.*run\.fresh"
    with pytest.raises(OutOfStepError, match=said), begun(2, 1):
        pass
    assert [one.open for one in begun.made] == [False, False]
