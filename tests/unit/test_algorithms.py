"""What a preset of an algorithm asks of Trinity, and that the guide tells of each."""

import re
from pathlib import Path

from rlagent.base.paths import conf_dir
from rlagent.config.resolve import resolve
from rlagent.machine.resources import Machine
from rlagent.trinity.translate import to_trinity
from tests.configured import configured

GUIDE = Path(__file__).parents[2] / "docs" / "algorithms.md"


def tree(*overrides: str) -> dict:
    return to_trinity(resolve(configured("hardware=cpu", *overrides), Machine((), 2, 16)), "/run")


def test_the_guide_has_a_section_with_formula_source_knobs_and_use_for_each_preset():
    presets = {file.stem for file in (conf_dir() / "algorithm").glob("*.yaml")}
    parts = re.split(r"^## (.*)$", GUIDE.read_text(), flags=re.M)
    sections = dict(zip(parts[1::2], parts[2::2], strict=True))
    assert presets - set(sections) == set()
    for name in presets:
        section = sections[name]
        assert re.search(r"^    \S", section, flags=re.M), name
        for said in ("Source: ", "Take it "):
            assert said in section, (name, said)


def test_raft_trains_on_what_succeeded_alone():
    operators = tree("algorithm=raft", "workflow.success_reward=0.5")["data_processor"]
    assert operators["experience_pipeline"]["operators"] == [
        {"name": "reward_filter", "args": {"threshold": 0.5}}
    ]
    assert "operators" not in tree("algorithm=grpo")["data_processor"]["experience_pipeline"]
