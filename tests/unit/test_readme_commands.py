"""The commands that the README shows are ones that can be typed."""

import re
import shlex
from pathlib import Path

from rlagent import plan
from rlagent.base.paths import asset_dir
from rlagent.cli import COMMANDS
from rlagent.report.importance import FEWEST

REPOSITORY = Path(__file__).parents[2]
README = (REPOSITORY / "README.md").read_text()


def test_every_command_of_the_gallery_composes(capsys, monkeypatch):
    monkeypatch.chdir(REPOSITORY)
    commands = re.findall(r"`((?:python -m rlagent\.train|rlagent plan) [^`]+)`", README)
    assert len(commands) > 8
    # Those about a run or a file of one's own are guides' too, which say what they need.
    for command in (each for each in commands if not re.search("RUN|FILE", each)):
        typed = command.partition(" > ")[0]
        words = shlex.split(typed.replace("FOLDER", str(asset_dir("gsm8k_tiny"))))
        words = words[words.index("plan") + 1 :] if "plan" in words else words[3:]
        words = [word for word in words if word != "--yaml"]
        if words:
            assert plan.main(words) == 0, f"{command}\n{capsys.readouterr().err}"


def test_every_command_that_it_names_is_there():
    named = set(re.findall(r"`rlagent ([a-z]+)", README))
    assert named <= COMMANDS.keys()
    assert len(named) > 12


def test_it_says_how_many_trials_importance_needs():
    assert f"importance of each parameter (from {FEWEST} finished trials on)" in README


def test_what_is_promised_as_a_file_is_written_to_one():
    (row,) = [line for line in README.splitlines() if line.startswith("|") and "--yaml" in line]
    assert re.search(r"--yaml > \S+\.yaml`", row)
