"""Trinity's schema, as read from its source."""

from pathlib import Path

import pytest

from rlagent.config.prepare import prepare
from rlagent.config.spec import find, keys_of
from rlagent.config.trinity_schema import algorithm_types, check_trinity, trinity_spec
from rlagent.machine.resources import GPU, Machine
from rlagent.trinity.parts import namespace
from tests.configured import drafted


def test_fields_types_and_words_of_trinity_are_known() -> None:
    spec = trinity_spec()
    assert spec is not None
    assert {"trainer.save_interval", "buffer.explorer_input.tasksets"} <= set(keys_of(spec))
    method = find(spec, "synchronizer.sync_method")
    assert method is not None
    assert set(method.choices) >= {"nccl", "checkpoint", "memory"}
    assert "multi_step_grpo" in algorithm_types()


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"trainer": {"no_such_key": 1}}, "there is no such key"),
        ({"trainer": {"save_intervall": 1}}, "did you mean trinity.trainer.save_interval?"),
        ({"trainer": {"save_interval": "often"}}, "must be a whole number"),
        ({"trainer": 3}, "is a group of settings"),
        ({"synchronizer": {"sync_style": "fixd"}}, "did you mean fixed?"),
        ({"algorithm": {"optimizer": {"betas": 0.9}}}, "must be a list"),
        ({"explorer": {"auxiliary_models": [{"engine_numb": 1}]}}, "engine_num"),
    ],
)
def test_wrong_settings_for_trinity_are_refused(settings: dict, reason: str) -> None:
    (problem,) = check_trinity(settings)
    assert reason in str(problem)


def test_open_parts_of_trinity_take_anything() -> None:
    assert check_trinity({"trainer": {"trainer_config": {"actor": {"any": 1}}}}) == []
    assert check_trinity({"algorithm": {"policy_loss_fn_args": {"clip_range": 0.1}}}) == []


@pytest.mark.parametrize("hardware", ["cpu", "1gpu", "2gpu", "8gpu", "2x8gpu"])
@pytest.mark.parametrize("monitor", ["wandb", "local"])
def test_what_we_give_to_trinity_fits_its_schema(hardware: str, monitor: str) -> None:
    translate = pytest.importorskip("rlagent.trinity.translate")
    machine = Machine((GPU("H100", 80),) * 8, 64, 512)
    overrides = [f"hardware={hardware}", f"monitor={monitor}"]
    resolved = prepare(drafted(*overrides), machine, plan_only=True)
    assert check_trinity(translate.to_trinity(resolved, "/tmp/run")) == []


def test_attempts_and_folders_share_no_actors() -> None:
    run = Path("/tmp/a/demo-0123abcd")
    names = {
        namespace(run, 1),
        namespace(run, 2),
        namespace(Path("/tmp/b/demo-0123abcd"), 1),
    }
    assert len(names) == 3
    assert all(name.startswith("rlagent-demo-0123abcd-") for name in names)
