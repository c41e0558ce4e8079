"""A run and a checkpoint of it, as the commands after training read them."""

from pathlib import Path

from rlagent.config.compose import to_yaml
from rlagent.config.resolve import resolve
from rlagent.machine.resources import Machine
from rlagent.records.folder import RunFolder
from rlagent.serving.trained import find_trained
from tests.configured import configured


def test_a_run_from_before_there_were_templates_to_choose_has_its_tokenizer_s_own(
    tmp_path: Path,
) -> None:
    run = RunFolder(tmp_path / "mine-1a2b3c4d")
    run.make()
    config = resolve(configured("hardware=cpu"), Machine((), 4, 16.0)).config
    lines = to_yaml(config).splitlines(keepends=True)
    kept = [line for line in lines if "chat_template:" not in line]
    assert len(kept) == len(lines) - 1
    run.config_yaml.write_text("".join(kept))
    run.write_status(state="finished", steps_asked=1)
    assert find_trained(run.name, "base", tmp_path).chat_template is None
