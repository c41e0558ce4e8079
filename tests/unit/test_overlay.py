"""The trials of a sweep are composed together as each would be alone."""

from collections.abc import Sequence

import pytest
from omegaconf import OmegaConf

from rlagent.base.origins import origins
from rlagent.config import compose
from rlagent.config.compose import draft
from rlagent.config.overlay import Shared

REACT = "+experiment=gsm8k_react"
PRESET = """# @package _global_
defaults:
  - override /hardware: cpu
  - override /algorithm: grpo
seed: 5
run:
  name: run-${seed}-${algorithm.lr}-${oc.env:HOME}
trinity:
  trainer:
    save_interval: ${algorithm.batch_size}
workflow:
  args:
    hint: ${model.path}
"""


@pytest.fixture
def folder(tmp_path):
    """Presets of one's own, with values that depend on others."""
    for group, text in (("experiment", PRESET), ("sweep", "# @package _global_\nhydra:\n"
                        "  sweeper:\n    params:\n      seed: 1,2\n")):  # fmt: skip
        (tmp_path / group).mkdir()
        (tmp_path / group / "mine.yaml").write_text(text)
    return str(tmp_path)


@pytest.fixture
def composed(monkeypatch):
    """What Hydra was asked to compose."""
    asked, real = [], compose.hydra_compose

    def ask(name, overrides, **rest):
        asked.append([word for word in overrides if not word.startswith("hydra.searchpath")])
        return real(name, overrides=overrides, **rest)

    monkeypatch.setattr(compose, "hydra_compose", ask)
    return asked


def parts(one: compose.Draft) -> tuple:
    """A draft as what can be compared, the order of its keys included."""
    shown = None if one.node is None else OmegaConf.to_yaml(one.node)
    flags = None if one.node is None else (one.node._metadata.flags, list(one.node))
    found = origins(one.config)
    return one.config, found, one.problems, shown, flags, one.incomplete, one.sweeper


def the_same(trials: list[list[str]], folders: Sequence[str] = ()) -> None:
    shared = Shared()
    for words in trials:
        assert parts(draft(words, folders, shared=shared)) == parts(draft(words, folders)), words


def test_values_are_laid_over_presets_that_were_composed_once(composed):
    trials = [[REACT, f"algorithm.lr={lr}", f"seed={seed}"] for lr in (0.1, 0.2) for seed in (1, 2)]
    shared = Shared()
    drafts = [draft(words, shared=shared) for words in trials]
    assert composed == [[REACT]]
    assert [one.config.seed for one in drafts] == [1, 2, 1, 2]
    assert [one.config.algorithm.lr for one in drafts] == [0.1, 0.1, 0.2, 0.2]
    the_same(trials[2:])


def test_values_of_every_kind_are_those_of_hydra():
    the_same(
        [
            [REACT, "trinity.trainer.save_interval=5", "workflow.args.hint=short"],
            [REACT, "+workflow.args.more={a: 1, b: [2, 3]}", "workflow.args.more.a=4"],
            [REACT, "++algorithm.lr=1e-3", "run.name=null", "hardware.gpus='auto'"],
            [REACT, "workflow.args={max_turns: 2}", "~workflow.args.max_turns"],
            [REACT, "hardware={gpus: 0, engine: embedded}", "hardware.gpus=auto"],
            [REACT, "seed=1", "seed=2", "algorithm.policy_loss_args={clip_range: 0.1}"],
        ]
    )


def test_each_choice_of_presets_is_composed_for_itself_whatever_the_order(composed):
    words = ["seed=2", "model=tiny", REACT, "algorithm.lr=1e-4", "algorithm=gspo"]
    trials = [[*words[:4], f"algorithm={name}", f"seed={seed}"]
              for name in ("grpo", "gspo") for seed in (1, 2)]  # fmt: skip
    shared = Shared()
    for trial in trials:
        draft(trial, shared=shared)
    assert [line[-1] for line in composed] == ["algorithm=grpo", "algorithm=gspo"]
    the_same([words, trials[0], ["model@model=tiny", REACT, "seed=1"]])


def test_what_depends_on_a_value_follows_it(folder):
    mine = "+experiment=mine"
    the_same(
        [
            [mine, "seed=8", "algorithm.lr=2e-4"],
            [mine, "algorithm.batch_size=6", "model=tiny"],
            [mine, "model.path=elsewhere", "run.name=${seed}-${hardware.engine}"],
            [mine, "seed=${algorithm.batch_size}", "algorithm.batch_size=3", "hardware=2gpu"],
            [mine, "+sweep=mine", "trinity.trainer.save_interval=9"],
        ],
        [folder],
    )
    shared = Shared()
    drafts = [draft([mine, f"seed={seed}"], [folder], shared=shared) for seed in (7, 8)]
    assert [one.config.run.name.split("-")[1] for one in drafts] == ["7", "8"]


@pytest.mark.slow
def test_mistakes_are_found_as_if_alone():
    the_same(
        [
            [REACT, "seed=many", "algorithm.lrr=1", "algorithm=grpoo"],
            [REACT, "seed=${nowhere}"],
            [REACT, "~workflow.args.not_there", "model.path=[a,b]"],
            [REACT, "seed=2"],
        ]
    )


def test_settings_of_hydra_itself_are_left_to_hydra(folder, composed):
    words = [f"hydra.searchpath=[file://{folder}]", "hydra.sweeper.params={seed: '4,5'}", "seed=1"]
    the_same([words, [REACT, *words[1:]]])
    shared = Shared()
    assert draft(words[1:], shared=shared).sweeper["params"] == {"seed": "4,5"}
    assert shared.bases == {}


def test_a_trial_does_not_touch_the_presets_of_the_next():
    shared = Shared()
    first = draft([REACT, "+workflow.args.more=[1]", "seed=3"], shared=shared)
    first.config.workflow.args["more"].append(2)
    assert parts(draft([REACT], shared=shared)) == parts(draft([REACT]))
