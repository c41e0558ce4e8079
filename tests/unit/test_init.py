"""`rlagent init` writes a folder whose parts fit together, and overwrites nothing."""

import subprocess
import sys
from pathlib import Path

import pytest

from rlagent import init, plan
from rlagent.config.command import parse_command

KINDS = sorted(init.KINDS)


@pytest.fixture(params=KINDS)
def made(request, tmp_path, monkeypatch, capsys):
    """A new folder of each kind, in which we are."""
    monkeypatch.chdir(tmp_path)
    assert init.main(["mine", "--kind", request.param]) == 0
    monkeypatch.chdir(tmp_path / "mine")
    return tmp_path / "mine"


def test_there_is_a_folder_of_templates_for_each_kind():
    folders = [item.name for item in init.TEMPLATES.iterdir() if item.is_dir()]
    assert sorted(folders) == KINDS


def test_its_name_stands_wherever_one_is_needed(made, capsys):
    files = [path for path in made.rglob("*") if path.is_file()]
    assert "NAME" not in "".join(str(path) + path.read_text() for path in files)
    assert (made / "conf" / "experiment" / "mine.yaml") in files


def test_the_preset_can_run_as_it_is(made, capsys):
    command = ["--config-dir", "conf", "+experiment=mine", "hardware=cpu"]
    assert plan.main(command) == 0, capsys.readouterr().err
    config = parse_command(command).draft().config
    assert config.run.name == "mine"
    assert "outputs/mine-" in capsys.readouterr().out


def test_it_passes_the_linter(made):
    for command in (["check"], ["format", "--check"]):
        ruff = [sys.executable, "-m", "ruff", *command, "--isolated", "."]
        done = subprocess.run(ruff, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("", "must be a letter"),
        ("../mine", "must be a letter"),
        ("1st", "must be a letter"),
        ("a b", "must be a letter"),
        ("a" * 65, "at most 63"),
        ("True", "means something else to a command line or YAML"),
        ("on", "means something else to a command line or YAML"),
        ("gsm8k_react", "is the name of an experiment that comes with rlagent"),
        ("there", "there is a there here already"),
    ],
)
def test_a_name_that_cannot_be_taken_is_refused_and_nothing_is_written(
    name, said, tmp_path, monkeypatch, capsys
):
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "agent.py").write_text("mine")
    monkeypatch.chdir(tmp_path)
    assert init.main([name]) == 2
    assert said in capsys.readouterr().err
    assert [item.name for item in tmp_path.iterdir()] == ["there"]
    assert (tmp_path / "there" / "agent.py").read_text() == "mine"


def test_a_folder_that_came_meanwhile_is_not_written_over(tmp_path: Path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "agent.py").write_text("theirs")
    with pytest.raises(OSError, match="not empty"):
        init.write("agent", "mine", tmp_path)
    assert [item.name for item in tmp_path.iterdir()] == ["mine"]
    assert (tmp_path / "mine" / "agent.py").read_text() == "theirs"
