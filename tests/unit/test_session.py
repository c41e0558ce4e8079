"""What the driver makes of explorer and trainer: each way in which they end, or do not.

Instead of calls of Ray's actors there are futures, which the tests end.
"""

import sys
from concurrent.futures import FIRST_COMPLETED, Future, wait
from types import SimpleNamespace

import pytest
from ray.exceptions import GetTimeoutError

from rlagent.base.endings import OutOfStepError, RunError, StallError
from rlagent.launch import session
from rlagent.trinity.translate import WHOLE_STEPS

CONFIG = SimpleNamespace(algorithm=SimpleNamespace(sample_strategy=WHOLE_STEPS))


class Role:
    """The handle of an actor; whatever it is asked for is one future."""

    def __init__(self, *results):
        self.answer = Future()
        for result in results:
            self.answer.set_result(result)
        self.prepare = self.explore = self.train = SimpleNamespace(remote=lambda: self.answer)


@pytest.fixture
def make(monkeypatch, tmp_path):
    def get(future):
        try:
            return future.result()
        except LookupError as error:
            raise session.RayTaskError("explore", f"LookupError: {error}", error) from error

    def ready(futures, timeout):
        return wait(futures, timeout, FIRST_COMPLETED)

    monkeypatch.setattr(session, "ray", SimpleNamespace(wait=ready, get=get))

    def make(explorer, trainer, patience=600.0, on_tick=lambda: False):
        monkeypatch.setattr(session, "create_trainer", lambda config: trainer)
        monkeypatch.setattr(session, "create_explorer", lambda config, processes: explorer)
        one = session.Session(
            CONFIG, 1, on_tick, print, lambda: 0.0, patience, lambda: (patience,) * 2, tmp_path
        )
        one.explorer, one.trainer = explorer, trainer
        return one

    return make


def test_a_role_that_never_ends_fails_the_run_when_its_patience_is_spent(make):
    with pytest.raises(StallError, match=r"run\.stall_timeout=0.* waiting for the explorer"):
        make(Role(), Role(4), patience=0.0).train(4)


def test_fewer_steps_than_asked_fail_the_run(make):
    with pytest.raises(RunError, match="3 of the 4 asked steps were trained"):
        make(Role(3), Role(3)).train(4)


def test_an_explorer_that_fails_after_the_trainers_last_step_fails_the_run(make):
    explorer, ticks = Role(), []

    def on_tick():
        # At the first tick the trainer has ended, and the explorer has not.
        if not ticks:
            explorer.answer.set_exception(LookupError("its state cannot be saved"))
        return bool(ticks.append("tick"))

    with pytest.raises(RunError, match=r"explorer: .*its state cannot be saved"):
        make(explorer, Role(4), on_tick=on_tick).train(4)


def test_an_explorer_that_is_ahead_with_batches_of_a_fixed_number_is_not_waited_for(
    make, monkeypatch
):
    monkeypatch.setattr(CONFIG.algorithm, "sample_strategy", "default")
    make(Role(), Role(4), patience=0.0).train(4)


def test_a_trainer_that_continues_from_another_step_than_the_explorer_is_refused(make, monkeypatch):
    # Which imports Trinity.
    buffer = SimpleNamespace(create_queue=lambda config: None)
    monkeypatch.setitem(sys.modules, "rlagent.trinity.buffer", buffer)
    with pytest.raises(OutOfStepError, match="from step 2 but the explorer from 3") as caught:
        make(Role(3), Role(2)).start()
    assert caught.value.trainer_step == 2


def test_without_a_trainer_the_engines_measure_the_weights_that_they_have(make, monkeypatch):
    explorer, trainers = Role(0), []
    explorer.startup_marks = SimpleNamespace(remote=lambda: done({"engines_ready": 1.0}))
    explorer.evaluate = SimpleNamespace(remote=lambda step: done({"eval/success": 0.5}))
    one = make(explorer, None)
    monkeypatch.setattr(session, "create_trainer", trainers.append)
    one.trains = False
    assert one.start() == 0
    assert one.evaluate(4) == {"eval/success": 0.5}
    assert one.startup["engines_ready"] == 1.0
    assert trainers == []


def done(result):
    future = Future()
    future.set_result(result)
    return future


def test_the_end_of_actors_whose_ray_is_lost_hides_no_cause(make, monkeypatch):
    def lost(*_, **__):
        raise GetTimeoutError("GCS server is dead")

    one = make(Role(), Role())
    monkeypatch.setattr(session.ray, "kill", lost, raising=False)
    monkeypatch.setattr(session.ray, "get_actor", lost, raising=False)
    monkeypatch.setattr(session, "remove_groups_of", SimpleNamespace(apply=lost))
    monkeypatch.setattr(CONFIG, "ray_namespace", "test", raising=False)
    one.close()
