"""Jobs of a Hydra sweeper that is not ours run through the pool, by Hydra's own machinery."""

import sys
import textwrap
from pathlib import Path

import pytest
from hydra.core.plugins import Plugins
from hydra.core.singleton import Singleton

from rlagent import train
from rlagent.records.sweep_store import SweepFolder
from rlagent.sweep.source import Trial

SWEEPER = """
from hydra.core.config_store import ConfigStore
from hydra.plugins.sweeper import Sweeper

ConfigStore.instance().store(
    group="hydra/sweeper", name="two_batches",
    node={"_target_": "hydra_plugins.two_batches.TwoBatches"}, provider="test",
)

class TwoBatches(Sweeper):
    def setup(self, *, hydra_context, task_function, config):
        from hydra.core.plugins import Plugins
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config)

    def sweep(self, arguments):
        first = self.launcher.launch([[*arguments, "seed=1"], [*arguments, "seed=2"]], 0)
        print("first", [job.return_value for job in first])
        second = self.launcher.launch([[*arguments, "seed=3"]], 2)
        print("second", second[0].status.name)
"""


WORDS = ["-m", "+experiment=gsm8k_react", "hardware=cpu", "hydra/sweeper=two_batches"]


@pytest.fixture
def sweeper(monkeypatch, tmp_path: Path) -> None:
    """A sweeper of a user, found by Hydra."""
    (tmp_path / "hydra_plugins").mkdir()
    (tmp_path / "hydra_plugins" / "two_batches.py").write_text(textwrap.dedent(SWEEPER))
    monkeypatch.syspath_prepend(str(tmp_path))
    # Hydra looks for plug-ins once in a process.
    monkeypatch.delitem(Singleton._instances, Plugins, raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.mark.slow
def test_a_foreign_sweeper_gets_objectives_and_failures_of_its_batches(
    monkeypatch, capsys, tmp_path: Path, sweeper
) -> None:
    def stand_in(trial: Trial, *rest: object) -> list[str]:
        config = trial.resolved.config
        code = f"""
            import sys
            from rlagent.records.folder import RunFolder
            folder = RunFolder({str(Path(config.run.dir) / trial.folder_name)!r})
            folder.append_metrics("explorer", 1, {{"eval/success": {config.seed / 10}}})
            sys.exit({int(config.seed == 3)})"""
        return [sys.executable, "-c", textwrap.dedent(code)]

    monkeypatch.setattr("rlagent.sweep.main.command_line", stand_in)
    assert train.main([*WORDS, f"run.dir={tmp_path}/outputs"]) == 0
    text = capsys.readouterr().out
    assert "first [0.1, 0.2]" in text
    assert "second FAILED" in text
    (folder,) = (tmp_path / "outputs").glob("sweep-*")
    sweep = SweepFolder(folder).read()
    assert [(row.number, row.overrides, row.state) for row in sweep.trials] == [
        (0, ["seed=1"], "finished"),
        (1, ["seed=2"], "finished"),
        (2, ["seed=3"], "failed"),
    ]
    assert sweep.sweeper == "TwoBatches"


@pytest.mark.slow
def test_a_stop_while_a_batch_runs_ends_the_sweeper_before_its_next_one(
    monkeypatch, capsys, tmp_path: Path, sweeper
) -> None:
    # Stands in for `rlagent stop`, which sends the launcher the same signal.
    code = "import os, signal; os.kill(os.getppid(), signal.SIGTERM); signal.pause()"
    monkeypatch.setattr("rlagent.sweep.main.command_line", lambda *_: [sys.executable, "-c", code])
    assert train.main([*WORDS, f"run.dir={tmp_path}/outputs"]) == 1
    text = capsys.readouterr().out
    assert "trial 1 (seed=1) stopped" in text
    assert "first [" not in text
    (folder,) = (tmp_path / "outputs").glob("sweep-*")
    assert SweepFolder(folder).read().state == "stopped"
