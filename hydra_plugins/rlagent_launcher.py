"""Where Hydra finds our launcher; what it does is rlagent.sweep's, imported when it is needed."""

from collections.abc import Sequence
from dataclasses import dataclass

from hydra.core.config_store import ConfigStore
from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


@dataclass
class RlagentLauncherConf:
    """`hydra/launcher=rlagent`, the default of conf/config.yaml."""

    _target_: str = "hydra_plugins.rlagent_launcher.RlagentLauncher"


ConfigStore.instance().store(
    group="hydra/launcher", name="rlagent", node=RlagentLauncherConf, provider="rlagent"
)


class RlagentLauncher(Launcher):
    """Runs the jobs of any sweeper through rlagent's pool."""

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        """Take what Hydra composed; each trial composes its own."""
        self.config = config

    def launch(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> Sequence[JobReturn]:
        """Run one batch of jobs."""
        from rlagent.sweep.hydra_jobs import launch

        return launch(self.config, job_overrides, initial_job_idx)
