"""The explorer's and the trainer's actor, without what they import (see forwarding.py)."""

from typing import Any

import ray

from rlagent.backends.registry import engine_of_type
from rlagent.base import alive
from rlagent.base.forwarding import forwarding
from rlagent.trinity.processes import SharedProcesses

_FROM_SYNCHRONIZER = ("is_alive", "setup_weight_sync_group", "teardown_weight_sync_group")
"""What Trinity's Synchronizer calls of both."""


@forwarding(
    *_FROM_SYNCHRONIZER,
    "set_state_dict_meta",
    "prepare",
    "explore",
    "evaluate",
    "sample",
    "sync_weight",
    "sync_from_trainer",
    "startup_marks",
)
class ExplorerActor:
    """The process of `rlagent.trinity.explorer.AgentExplorer`.

    Args:
        config: Trinity's, checked.
        runner_processes: Processes for agent code.
    """

    def __init__(self, config: Any, runner_processes: int) -> None:
        alive.start("explorer", "starting")
        processes = SharedProcesses(config, runner_processes)
        # They import while this process does, and while the engines load.
        processes.start()
        from rlagent.trinity.explorer import AgentExplorer

        self.behind = AgentExplorer(config, processes)


@forwarding(
    *_FROM_SYNCHRONIZER,
    "get_weight_sync_info",
    "prepare",
    "train",
    "sync_weight",
    "request_stop",
    "startup_marks",
)
class TrainerActor:
    """The process of `rlagent.trinity.trainer.AgentTrainer`; arguments as there."""

    def __init__(self, config: Any) -> None:
        alive.start("trainer", "starting")
        from rlagent.trinity.trainer import AgentTrainer

        self.behind = AgentTrainer(config)


def create_explorer(config: Any, runner_processes: int) -> Any:
    """Create the explorer actor under Trinity's name for it."""
    options: dict[str, Any] = {}
    by_nccl = config.synchronizer.sync_method.value == "nccl"
    engine = engine_of_type(config.explorer.rollout_model.engine_type)
    if engine.fetches_weights and not by_nccl:
        # vLLM's workers are no workers of Ray: to fetch weights they look for a Ray to join,
        # and would start one of their own. Not without need: it keeps this actor, and those
        # that it makes, from the processes that Ray has ready.
        address = ray.get_runtime_context().gcs_address
        options["runtime_env"] = {"env_vars": {"RAY_ADDRESS": address}}
    actor = ray.remote(ExplorerActor).options(
        name=config.explorer.name, namespace=config.ray_namespace, num_cpus=0, **options
    )
    return actor.remote(config, runner_processes)


def create_trainer(config: Any) -> Any:
    """Create the trainer actor under Trinity's name for it."""
    actor = ray.remote(TrainerActor).options(
        name=config.trainer.name, namespace=config.ray_namespace, num_cpus=0
    )
    return actor.remote(config)
