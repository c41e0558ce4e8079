"""A live run consists of Trinity's actors; only the model's compute is ours."""

import sys
from pathlib import Path
from typing import Any

import pytest
from ray import cloudpickle

from rlagent.config.command import parse_command
from rlagent.config.prepare import prepare
from rlagent.launch import launch
from rlagent.machine.resources import detect
from tests.cpu.runs import SMALL

# The actors' processes cannot import the tests.
cloudpickle.register_pickle_by_value(sys.modules[__name__])


def _ancestors(actor: Any) -> list[str]:
    return [f"{cls.__module__}.{cls.__qualname__}" for cls in type(actor).__mro__]


def _seen(session: Any) -> dict[str, list[str]]:
    """The classes of every actor of a session, by what it is."""
    import ray

    def ask(handle: Any, question: Any) -> Any:
        asked = lambda actor: question(getattr(actor, "behind", actor))  # noqa: E731
        return ray.get(handle.__ray_call__.remote(asked))

    def of_coordinator(question: Any) -> Any:
        return ask(session.explorer, lambda actor: question(actor.rollout_coordinator.behind))

    namespace = session.config.ray_namespace
    runner = of_coordinator(lambda one: next(iter(one.scheduler.runners.values())).runner)
    engine = ask(session.explorer, lambda actor: actor.models[0].model)
    queue = ray.get_actor("queue-experience_buffer", namespace=namespace)
    synchronizer = ray.get_actor("synchronizer", namespace=namespace)
    handles = {
        "explorer": session.explorer,
        "trainer": session.trainer,
        "runner": runner,
        "engine": engine,
        "queue": queue,
        "synchronizer": synchronizer,
    }
    seen = {name: ask(handle, _ancestors) for name, handle in handles.items()}
    return {
        **seen,
        "packing": ask(runner, _packing) + ask(session.explorer, _packing),
        "coordinator": of_coordinator(_ancestors),
        "scheduler": of_coordinator(lambda one: _ancestors(one.scheduler)),
        "train engine": ask(session.trainer, lambda actor: _ancestors(actor.engine)),
        "policy loss": ask(
            session.trainer,
            lambda actor: [_name(actor.config.algorithm.policy_loss_fn)],
        ),
        "advantage": of_coordinator(
            lambda one: [
                type(getattr(step, "operator", step)).__module__
                for step in one.experience_pipeline.operators
            ]
        ),
    }


def _packing(actor: Any) -> list[str]:
    """What packs the experiences that this process hands on."""
    from trinity.common import experience

    return [experience.st_save.__module__]


def _name(policy_loss: str) -> str:
    from trinity.algorithm import POLICY_LOSS_FN

    return POLICY_LOSS_FN.get(policy_loss).__module__


@pytest.mark.slow
def test_explorer_buffer_algorithm_and_synchronizer_are_trinitys(tmp_path: Path, monkeypatch):
    from rlagent.launch import session

    found: dict[str, list[str]] = {}

    def look(self: Any, step: int) -> dict[str, float]:
        found.update(_seen(self))
        return {}

    monkeypatch.setattr(session.Session, "evaluate", look)
    command = parse_command(
        [*SMALL, f"run.dir={tmp_path}", "monitor=local", "algorithm.total_steps=1"]
    )
    outcome = launch.launch(prepare(command.draft(), detect(), command.config_dirs))
    assert outcome.exit_code == 0, outcome.cause
    assert "trinity.explorer.explorer.Explorer" in found["explorer"]
    assert "trinity.trainer.trainer.Trainer" in found["trainer"]
    assert "trinity.explorer.rollout_coordinator.RolloutCoordinator" in found["coordinator"]
    assert "trinity.explorer.scheduler.Scheduler" in found["scheduler"]
    assert "trinity.explorer.workflow_runner.WorkflowRunner" in found["runner"]
    assert "trinity.buffer.storage.queue.QueueStorage" in found["queue"]
    assert "trinity.manager.synchronizer.Synchronizer" in found["synchronizer"]
    assert found["packing"] == ["rlagent.upstream.trinity"] * 2
    assert found["policy loss"] == ["trinity.algorithm.policy_loss_fn.ppo_policy_loss"]
    # Ours say what is compared, and note what came of it.
    worked_out = [step for step in found["advantage"] if not step.startswith("rlagent.")]
    assert worked_out == ["trinity.algorithm.advantage_fn.multi_step_grpo_advantage"]
    embedded = {
        name
        for name, classes in found.items()
        if any(cls.startswith("rlagent.backends.embedded") for cls in classes)
    }
    assert embedded == {"engine", "train engine"}
