"""The guides in docs/: their commands can be typed, and the messages that they explain exist."""

import ast
import json
import re
import shlex
from pathlib import Path

import pytest

from rlagent import plan
from rlagent.base.paths import asset_dir
from rlagent.cli import COMMANDS

REPOSITORY = Path(__file__).parents[2]
# What was measured once says how it was measured then.
GUIDES = [page for page in sorted((REPOSITORY / "docs").glob("*.md")) if page.stem != "history"]
# Files of one's own, and runs that are there.
LEFT_OUT = re.compile(r"FILE|NAME|my_agent|(tasks|conversations)\.jsonl|--config-dir|RUN|#|\.\.\.")


def commands(page: Path) -> list[str]:
    """What a page shows to be typed, in back-ticks or as indented lines."""
    text = page.read_text()
    inline = re.findall(r"`((?:python -m rlagent\.|rlagent )[^`]+)`", text)
    blocks = re.findall(r"^    ((?:python -m rlagent\.|rlagent ).+)$", text, re.M)
    return inline + blocks


@pytest.mark.parametrize("page", GUIDES, ids=lambda page: page.stem)
def test_every_training_that_a_guide_shows_composes(page, capsys, monkeypatch):
    monkeypatch.chdir(REPOSITORY)
    for command in commands(page):
        match = re.match(r"(?:python -m rlagent\.train|rlagent plan) (.+)", command)
        if match is None or LEFT_OUT.search(command):
            continue
        typed = match[1].partition(" > ")[0].replace("FOLDER", str(asset_dir("gsm8k_tiny")))
        words = [word for word in shlex.split(typed) if word not in ("--yaml", "--origin")]
        assert plan.main(words) == 0, f"{command}\n{capsys.readouterr().err}"


def test_the_preset_of_an_own_agent_composes_as_it_is_shown(tmp_path, monkeypatch, capsys):
    page = (REPOSITORY / "docs" / "own-agent.md").read_text()
    (code, *_) = re.findall(r"```python\n(.*?)```", page, re.S)
    shown = re.findall(r"`(my/\S+\.yaml)`:\n\n```yaml\n(.*?)```", page, re.S)
    assert [name for name, _ in shown] == ["my/workflow/solver.yaml", "my/experiment/solver.yaml"]
    rows = [json.dumps({"question": f"{n} + 1?", "answer": str(n + 1)}) for n in range(40)]
    for name, text in [("my_agent.py", code), ("tasks.jsonl", "\n".join(rows)), *shown]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    command = ["--config-dir", "my", "+experiment=solver", "hardware=cpu"]
    assert plan.main(command) == 0, capsys.readouterr().err


def test_the_site_leads_to_every_guide():
    site = (REPOSITORY / "mkdocs.yml").read_text()
    assert sorted(re.findall(r": (\S+\.md)$", site.partition("\nnav:")[2], re.M)) == [
        page.name for page in GUIDES
    ]


def test_every_command_that_a_guide_names_is_there():
    named = {
        match[1]
        for page in GUIDES
        for command in commands(page)
        if (match := re.match(r"(?:python -m rlagent\.|rlagent )([a-z]+)", command))
    }
    assert named <= COMMANDS.keys() | {"train"}
    assert len(named) > 12


def _texts() -> str:
    """All text in the package's sources, values that are put in as `...`."""
    found = []
    for file in (REPOSITORY / "rlagent").rglob("*.py"):
        inside = set()
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.JoinedStr):
                inside |= {id(part) for part in node.values}
                found.append(
                    "".join(p.value if isinstance(p, ast.Constant) else "..." for p in node.values)
                )
            elif isinstance(node, ast.Constant) and id(node) not in inside:
                found.append(str(node.value))
    return "\n".join(found)


def test_every_message_that_is_explained_is_one_of_ours():
    page = (REPOSITORY / "docs" / "troubleshooting.md").read_text()
    messages = re.findall(r"^\| `([^`]+)` \|", page, re.M)
    assert len(messages) > 30
    texts = _texts()
    for message in messages:
        for piece in message.split("..."):
            assert piece.strip(" `,;=") in texts, message
