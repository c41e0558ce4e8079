"""What a preset of an algorithm asks of Trinity, and that the guide tells of each."""

import re
from pathlib import Path

from rlagent.base.paths import conf_dir
from rlagent.config.resolve import resolve
from rlagent.config.trinity_functions import algorithm_defaults, arguments_of, registry
from rlagent.machine.resources import Machine
from rlagent.trinity.translate import to_trinity
from tests.configured import configured

GUIDE = (Path(__file__).parents[2] / "docs" / "algorithms.md").read_text()
PARTS = re.split(r"^## (.*)$", GUIDE, flags=re.M)
SECTIONS = dict(zip(PARTS[1::2], PARTS[2::2], strict=True))
PRESETS = {file.stem for file in (conf_dir() / "algorithm").glob("*.yaml")}


def tree(*overrides: str) -> dict:
    return to_trinity(resolve(configured("hardware=cpu", *overrides), Machine((), 2, 16)), "/run")


def test_the_guide_has_a_section_with_formula_source_and_use_for_each_preset():
    assert PRESETS - set(SECTIONS) == set()
    for name in PRESETS:
        assert re.search(r"^    \S", SECTIONS[name], flags=re.M), name
        for said in ("Source: ", "Take it "):
            assert said in SECTIONS[name], (name, said)


def test_every_knob_that_the_guide_names_is_an_argument_of_that_algorithm():
    for name in PRESETS:
        defaults = algorithm_defaults(name)
        losses = registry("algorithm/policy_loss_fn"), defaults["policy_loss_fn"]
        advantages = registry("algorithm/advantage_fn"), defaults.get("advantage_fn")
        for prefix, (known, function) in (
            ("policy_loss_args", losses),
            ("advantage_args", advantages),
        ):
            for knob in re.findall(rf"`{prefix}\.(\w+)", SECTIONS[name]):
                taken = arguments_of(known[function])
                # None: it takes any, and hands them on.
                assert taken is None or knob in taken, (name, prefix, knob)


def test_raft_trains_on_what_succeeded_alone():
    operators = tree("algorithm=raft", "workflow.success_reward=0.5")["data_processor"]
    assert operators["experience_pipeline"]["operators"] == [
        {"name": "reward_filter", "args": {"threshold": 0.5}}
    ]
    assert "operators" not in tree("algorithm=grpo")["data_processor"]["experience_pipeline"]
