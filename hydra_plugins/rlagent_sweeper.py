"""Where Hydra finds our sweeper; what it does is rlagent.sweep's, imported when it is needed."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Dict

from hydra.core.config_store import ConfigStore
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf


@dataclass
class RlagentSweeperConf:
    """`hydra/sweeper=rlagent`, the default of conf/config.yaml."""

    _target_: str = "hydra_plugins.rlagent_sweeper.RlagentSweeper"
    # What differs between trials unless the command line says otherwise: key and values, such as
    # algorithm.lr: tag(log, interval(1e-5, 1e-3)). How it is searched: the settings sweep.*.
    params: Dict[str, Any] = field(default_factory=dict)


def _node() -> DictConfig:
    node = OmegaConf.structured(RlagentSweeperConf)
    # Its keys are not ours to name.
    OmegaConf.set_struct(node.params, False)
    return node


ConfigStore.instance().store(
    group="hydra/sweeper", name="rlagent", node=_node(), provider="rlagent"
)


class RlagentSweeper(Sweeper):
    """Runs a grid, or a search with Optuna (sweep.sampler), through rlagent's pool.

    `python -m rlagent.train -m` takes the same way without Hydra in between.
    """

    def __init__(self, params: dict[str, Any]) -> None:
        self.params = params

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        """Take what Hydra composed; each trial composes its own."""
        self.composed = config

    def sweep(self, arguments: list[str]) -> Sequence[Any] | None:
        """Run the sweep; ends the process with its exit status unless that is 0."""
        from rlagent.sweep.hydra_jobs import sweep

        code = sweep(self.composed)
        if code:
            sys.exit(code)
        return None
