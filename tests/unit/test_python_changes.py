"""What a script sets on a loaded configuration counts, or is refused."""

from pathlib import Path

import pytest

from rlagent import LearnConfig
from rlagent.config.identity import trial_id
from rlagent.config.python_changes import with_python_changes
from rlagent.config.resolve import resolve
from rlagent.machine.resources import Machine
from rlagent.trinity.translate import to_trinity
from tests.unit.test_checkpoint_place import NATIVE


@pytest.fixture
def config(tmp_path: Path) -> LearnConfig:
    (file := tmp_path / "native.yaml").write_text(NATIVE)
    return LearnConfig.load_config(str(file))


def handed_over(config: LearnConfig) -> dict:
    changed, problems = with_python_changes(config)
    assert problems == []
    return to_trinity(resolve(changed, Machine((), 2, 24)), "/runs/run-1")


def refused(config: LearnConfig) -> list[str]:
    return [str(problem) for problem in with_python_changes(config)[1]]


def test_an_unchanged_file_is_handed_over_as_it_is(config):
    assert with_python_changes(config)[0] == config


@pytest.mark.parametrize(
    ("group", "name", "value", "path"),
    [
        ("algorithm", "lr", 3e-4, "algorithm.optimizer.lr"),
        ("algorithm", "repeat_times", 8, "algorithm.repeat_times"),
        ("algorithm", "batch_size", 2, "buffer.batch_size"),
        ("algorithm", "total_steps", 7, "trainer.total_steps"),
        ("algorithm", "clip_range", 0.1, "algorithm.policy_loss_fn_args.clip_range"),
        ("model", "max_response_tokens", 99, "model.max_response_tokens"),
        ("model", "temperature", 0.5, "model.temperature"),
        ("dataset", "split", "test", "buffer.explorer_input.taskset.split"),
    ],
)
def test_a_mirrored_field_of_a_native_configuration_reaches_trinity(
    config, group, name, value, path
):
    setattr(getattr(config, group), name, value)
    tree = handed_over(config)
    for part in path.split("."):
        tree = tree[part]
    assert tree == value


def test_the_seed_of_a_native_configuration_is_that_of_engines_and_trainer(config):
    config.seed = 7
    tree = handed_over(config)
    assert tree["explorer"]["rollout_model"]["seed"] == 7
    assert tree["trainer"]["trainer_config"]["seed"] == 7


def test_a_temperature_of_the_taskset_is_changed_where_it_stands(config):
    taskset = config.native["buffer"]["explorer_input"]["taskset"]
    taskset["rollout_args"] = {"temperature": 1.0}
    config.model.temperature = 0.5
    tree = handed_over(config)
    read = tree["buffer"]["explorer_input"]["taskset"]["rollout_args"]["temperature"]
    assert read == 0.5


def test_the_first_of_several_tasksets_is_the_mirrored_one(config):
    sets = config.native["buffer"]["explorer_input"]
    sets["tasksets"] = [sets.pop("taskset"), {"path": "other"}]
    config.dataset.path = "mine"
    tasksets = handed_over(config)["buffer"]["explorer_input"]["tasksets"]
    assert [taskset["path"] for taskset in tasksets] == ["mine", "other"]


def test_trinity_set_in_python_is_laid_over_the_file(config):
    config.trinity = {"algorithm": {"optimizer": {"lr": 2e-5}}, "trainer": {"grad_clip": 0.3}}
    tree = handed_over(config)
    assert tree["algorithm"]["optimizer"]["lr"] == 2e-5
    assert tree["algorithm"]["algorithm_type"] == "grpo"
    assert tree["trainer"]["grad_clip"] == 0.3


def test_what_is_ours_alone_stays_as_it_was_set(config):
    config.workflow.timeout = 5.0
    config.run.name = "mine"
    changed, problems = with_python_changes(config)
    assert (changed.workflow.timeout, changed.run.name, problems) == (5.0, "mine", [])


def test_what_cannot_count_is_refused_by_name(config):
    config.algorithm.shuffle_rewards = True
    config.dataset.eval_tasks = 3
    found = refused(config)
    assert len(found) == 2
    assert found[0].startswith("dataset.eval_tasks=3: changes nothing of a native")
    assert found[1].startswith("algorithm.shuffle_rewards=true: changes nothing of a native")


def test_a_field_and_trinity_that_contradict_each_other_are_refused(config):
    config.algorithm.lr = 1e-5
    config.trinity = {"algorithm": {"optimizer": {"lr": 2e-5}}}
    (line,) = refused(config)
    assert "contradicts trinity.algorithm.optimizer.lr=2e-05" in line


@pytest.mark.parametrize("own", [True, False])
def test_an_attribute_that_is_no_field_is_refused_with_the_nearest(config, own):
    config = LearnConfig() if own else config
    config.algorithm.lrr = 1e-5
    (line,) = refused(config)
    assert line == "algorithm.lrr=1e-05: there is no such key; did you mean algorithm.lr?"


def test_wrong_types_and_unknown_fields_of_trinity_are_refused(config):
    config.workflow.timeout = "long"
    assert "workflow.timeout=long: must be a number" in refused(config)
    config.workflow.timeout = 1.0
    config.trinity = {"trainer": {"grad_clipp": 1}}
    (line,) = refused(config)
    assert "did you mean trinity.trainer.grad_clip?" in line


def test_a_change_makes_another_trial_and_more_steps_continue_it(config):
    before = trial_id(with_python_changes(config)[0])
    config.algorithm.total_steps = 9
    assert trial_id(with_python_changes(config)[0]) == before
    config.algorithm.lr = 3e-4
    assert trial_id(with_python_changes(config)[0]) != before
