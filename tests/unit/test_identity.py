"""Which changes make another trial, and which do not."""

import pytest

from rlagent.config.compose import compose
from rlagent.config.identity import identity, trial_id
from rlagent.config.resolve import resolve
from rlagent.machine.resources import GPU, Machine
from tests.configured import configured

REACT = "+experiment=gsm8k_react"


def of(*overrides: str) -> str:
    return trial_id(configured(*overrides))


def test_the_same_command_is_the_same_trial() -> None:
    assert of() == of()
    assert len(of()) == 8
    assert int(of(), 16) >= 0


@pytest.mark.parametrize(
    "override",
    [
        "run.dir=/tmp/elsewhere",
        "run.display=none",
        "run.fresh=true",
        "monitor=wandb",
        "monitor.project=mine",
        "algorithm.total_steps=500",
        "algorithm.save_interval=7",
        "hardware.ray=start",
        "workflow.packages=[json]",
        "workflow.requires=[tests.somewhere:lacks]",
        "workflow.concurrency=2",
    ],
)
def test_what_only_says_where_how_long_and_how_it_is_shown_is_left_out(override: str) -> None:
    assert of(override) == of()


@pytest.mark.parametrize(
    "override",
    [
        "seed=2",
        "algorithm.lr=1e-4",
        "algorithm=grpo",
        "model=tiny",
        "dataset=gsm8k_tiny",
        "workflow.args.hint=short",
        "hardware.layout=1x1+1",
        "algorithm.shuffle_rewards=true",
        "algorithm.discount=0.9",
        "algorithm.group_by=role",
        "trinity.trainer.grad_clip=2",
    ],
)
def test_what_changes_learning_makes_another_trial(override: str) -> None:
    assert of(override) != of()


def test_what_was_trained_before_a_key_was_there_is_the_same_trial() -> None:
    found = identity(configured())
    assert not {"discount", "group_by"} & found["algorithm"].keys()
    assert not {"packages", "requires", "concurrency"} & found["workflow"].keys()


def test_the_order_of_overrides_does_not_count() -> None:
    one = trial_id(compose([REACT, "seed=2", "algorithm.lr=1e-4"]))
    assert one == trial_id(compose(["algorithm.lr=1e-4", "seed=2", REACT]))
    assert one == of("seed=2", "algorithm.lr=1e-4")


def test_the_machine_does_not_count() -> None:
    config = configured()
    gpus = Machine((GPU("H100", 80),) * 8, 64, 512)
    assert resolve(config, gpus).trial_id == resolve(config, Machine((), 2, 24)).trial_id


def test_a_folder_counts_by_where_it_is(tmp_path, monkeypatch) -> None:
    (tmp_path / "data").mkdir()
    monkeypatch.chdir(tmp_path)
    assert of("dataset.path=./data") == of(f"dataset.path={tmp_path}/data")
    judge = "workflow.auxiliary_models=[{{name: judge, path: {}/data}}]"
    assert of(judge.format(".")) == of(judge.format(tmp_path))


def test_held_out_tasks_of_a_folder_are_the_same_from_everywhere_and_a_preset_is_one(
    tmp_path, monkeypatch
) -> None:
    def found(place: str) -> str:
        config = configured()
        config.evaluate.dataset = place
        return trial_id(config)

    (tmp_path / "held").mkdir()
    (tmp_path / "gsm8k_tiny").mkdir()
    elsewhere = found("./held"), found("gsm8k_tiny")
    monkeypatch.chdir(tmp_path)
    assert found("./held") == found(str(tmp_path / "held")) != elsewhere[0]
    assert found("gsm8k_tiny") == elsewhere[1]
