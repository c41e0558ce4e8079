"""Jobs of a Hydra sweeper that is not ours run through the pool, by Hydra's own machinery."""

import sys
import textwrap
from pathlib import Path

from hydra.core.plugins import Plugins
from hydra.core.singleton import Singleton

from rlagent import train
from rlagent.sweep.source import Trial
from rlagent.sweep.store import SweepFolder

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


def test_a_foreign_sweeper_gets_objectives_and_failures_of_its_batches(
    monkeypatch, capsys, tmp_path: Path
) -> None:
    (tmp_path / "hydra_plugins").mkdir()
    (tmp_path / "hydra_plugins" / "two_batches.py").write_text(textwrap.dedent(SWEEPER))
    monkeypatch.syspath_prepend(str(tmp_path))
    # Hydra looks for plug-ins once in a process.
    monkeypatch.delitem(Singleton._instances, Plugins, raising=False)

    def stand_in(trial: Trial, *rest: object) -> list[str]:
        config = trial.resolved.config
        code = f"""
            import sys
            from rlagent.run.folder import RunFolder
            folder = RunFolder({str(Path(config.run.dir) / trial.folder_name)!r})
            folder.append_metrics("explorer", 1, {{"eval/success": {config.seed / 10}}})
            sys.exit({int(config.seed == 3)})"""
        return [sys.executable, "-c", textwrap.dedent(code)]

    monkeypatch.setattr("rlagent.sweep.main.command_line", stand_in)
    monkeypatch.chdir(tmp_path)
    words = ["-m", "+experiment=gsm8k_react", "hardware=cpu", f"run.dir={tmp_path}/outputs"]
    assert train.main([*words, "hydra/sweeper=two_batches"]) == 0
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
