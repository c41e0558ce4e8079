"""The command line and the presets become a LearnConfig, strictly."""

import itertools

import pytest

from rlagent.base.errors import ConfigError
from rlagent.base.origins import leaves, origins
from rlagent.config.compose import compose, draft, from_mapping, to_mapping, to_yaml
from rlagent.config.prepare import prepare
from rlagent.config.presets import preset_table
from rlagent.config.schema import LearnConfig
from rlagent.config.trinity_schema import algorithm_types
from rlagent.machine.resources import Machine
from tests.configured import configured

# One preset of each group at a time, so that each is composed once.
ROWS = list(
    itertools.zip_longest(*[[f"{g}={name}" for name in names] for g, names in preset_table()])
)


def refusals(*overrides: str) -> list[str]:
    return [str(problem) for problem in draft(overrides).problems]


@pytest.mark.parametrize("presets", ROWS, ids=range(len(ROWS)))
def test_every_shipped_preset_composes(presets: tuple[str | None, ...]) -> None:
    assert draft([preset for preset in presets if preset]).problems == []


def test_every_asked_for_preset_is_shipped() -> None:
    shipped = dict(preset_table())
    assert {
        *("auto", "tiny", "smollm2_135m", "external"),
        *("qwen3_0_6b", "qwen3_1_7b", "qwen3_4b", "qwen3_8b"),
    } <= set(shipped["model"])
    assert {"auto", "gsm8k", "gsm8k_tiny"} <= set(shipped["dataset"])
    assert {"auto", "cpu", "1gpu", "2gpu", "4gpu", "8gpu", "2x8gpu"} <= set(shipped["hardware"])
    assert set(shipped["monitor"]) == {"wandb", "tensorboard", "local"}
    assert "gsm8k_react" in shipped["+experiment"]
    assert "fast" in shipped["+debug"]


def test_algorithm_presets_carry_the_names_of_trinitys_registry() -> None:
    names = dict(preset_table())["algorithm"]
    assert len(names) == 16
    assert {configured(f"algorithm={name}").algorithm.name for name in names} <= set(
        algorithm_types()
    )


def test_the_defaults_of_presets_and_schema_agree_where_no_preset_speaks() -> None:
    config = compose()
    assert config.run == LearnConfig().run
    assert config.algorithm == LearnConfig().algorithm


def test_an_experiment_is_overridden_by_the_command_line() -> None:
    config = compose(["+experiment=gsm8k_react", "algorithm=grpo", "run.name=mine", "seed=3"])
    assert (config.algorithm.name, config.run.name, config.seed) == ("grpo", "mine", 3)


def test_trinity_settings_and_workflow_arguments_need_no_plus() -> None:
    config = compose(["trinity.trainer.save_interval=5", "workflow.args.hint=short"])
    assert config.trinity == {"trainer": {"save_interval": 5}}
    assert config.workflow.args == {"hint": "short"}


def test_arguments_of_trinitys_functions_need_no_plus_and_join_those_of_the_preset() -> None:
    made = compose(["algorithm=dapo", "algorithm.policy_loss_args.clip_range_low=0.1"])
    assert made.algorithm.policy_loss_args == {"clip_range_low": 0.1, "clip_range_high": 0.28}
    made = compose(["algorithm.advantage_args={epsilon: 1e-5}"])
    assert made.algorithm.advantage_args == {"epsilon": 1e-5}


def test_all_mistakes_of_a_command_line_are_found_at_once() -> None:
    found = refusals(
        "model=tinyy",
        "algorithm.lrr=1",
        "seed=many",
        "trinity.trainer.save_intervall=5",
        "workflow",
        "++hardware.gpuz=3",
        "algorithm.kl_coef=strong",
    )
    assert len(found) == 7
    assert any("model=tinyy" in line and "did you mean tiny?" in line for line in found)
    assert any("algorithm.lrr=1" in line and "algorithm.lr?" in line for line in found)
    assert any("seed=many" in line and "whole number" in line for line in found)
    assert any("trinity.trainer.save_interval?" in line for line in found)
    assert any(line.startswith("workflow: is neither a flag nor key=value") for line in found)
    assert any("hardware.gpuz=3" in line for line in found)
    assert any("algorithm.kl_coef=strong" in line for line in found)
    assert all("\n" not in line for line in found)


def test_a_typo_is_refused_whatever_stands_before_it() -> None:
    lines = refusals(*(f"{prefix}algorithm.totl_steps=3" for prefix in ("", "+", "++")))
    assert len(lines) == 3
    for line in lines:
        assert "there is no such key; did you mean algorithm.total_steps?" in line


def test_a_key_without_its_group_is_found() -> None:
    (line,) = refusals("total_steps=3")
    assert "did you mean algorithm.total_steps?" in line


def test_several_values_without_m_say_to_add_it() -> None:
    (line,) = refusals("seed=1,2")
    assert line.startswith("seed=1,2: several values are a sweep; add -m")


def test_an_experiment_without_plus_says_how_to_write_it() -> None:
    (line,) = refusals("experiment=gsm8k_react")
    assert line.endswith("write +experiment=gsm8k_react")


def test_an_unknown_preset_names_the_nearest() -> None:
    (line,) = refusals("hardware=cpuu")
    assert line.endswith("4gpu, 8gpu, auto, cpu; did you mean cpu?")


def test_the_only_preset_that_there_is_is_named_once() -> None:
    (line,) = refusals("+debug=fats")
    assert line.endswith("fats: there is no such preset; did you mean fast?")
    (line,) = refusals("+debug=other")
    assert line == "debug=other: there is no such preset; there is only fast"


def test_habits_from_elsewhere_are_answered_with_what_to_write() -> None:
    expected = {
        "+model=tiny": "write model=tiny",
        "+seed=1": "write seed=1",
        "~seed": "give it another value",
        "~model": "choose another preset",
        "modell=tiny": "did you mean model?",
        "modle=tiny": "did you mean model?",
        "model={a": "quote the value",
        "model=": "there is no such preset",
        "algorithm=3": "there is no such preset",
        "hardware/foo=bar": "there is no such group",
    }
    lines = refusals(*expected)
    assert len(lines) == len(expected)
    for line, remedy in zip(lines, expected.values(), strict=True):
        assert remedy in line


def test_our_helper_for_tests_composes_as_hydra_does() -> None:
    overrides = ["model=tiny", "hardware=8gpu", "seed=3", "workflow.args.hint=x"]
    composed = compose(["+experiment=gsm8k_react", *overrides])
    assert configured(*overrides) == composed
    assert origins(configured(*overrides)) == origins(composed)


def test_a_whole_number_is_taken_where_a_number_is_asked_for() -> None:
    assert compose(["hardware.gpu_memory_utilization=1"]).hardware.gpu_memory_utilization == 1.0


def test_mistakes_in_a_users_own_presets_are_all_found(tmp_path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "mine.yaml").write_text(
        "path: some/model\nlayers: 3\ntemperture: 0.5\nmax_model_len: [1]\n"
    )
    found = draft(["model=mine"], [str(tmp_path)]).problems
    assert {problem.key for problem in found} == {
        "model.layers",
        "model.temperture",
        "model.max_model_len",
    }
    assert any("did you mean model.temperature?" in str(problem) for problem in found)


@pytest.mark.parametrize("content", [b"name: x\n  bad: [\n", b"\xff\xfe", b"[1, 2]"])
@pytest.mark.parametrize("override", ["model=mine", "model.path=an/unknown-model"])
def test_a_preset_that_is_no_yaml_of_settings_is_a_mistake_in_the_configuration(
    tmp_path, content, override
) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "mine.yaml").write_bytes(content)
    folders = [str(tmp_path)]
    with pytest.raises(ConfigError, match=r"mine|a preset is no UTF-8"):
        prepare(draft(["+experiment=gsm8k_react", override], folders), Machine((), 2, 24), folders)


def test_a_users_own_presets_join_the_shipped_ones(tmp_path) -> None:
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "mine.yaml").write_text(
        "# @package _global_\ndefaults:\n  - override /model: tiny\nseed: 7\n"
    )
    config = compose(["+experiment=mine", "dataset=gsm8k_tiny"], [str(tmp_path)])
    assert (config.seed, config.model.name) == (7, "tiny")


def test_a_missing_folder_of_presets_is_named() -> None:
    with pytest.raises(ConfigError, match="no such folder"):
        compose([], ["/does/not/exist"])


def test_a_composed_configuration_survives_yaml() -> None:
    from omegaconf import OmegaConf

    config = compose(["+experiment=gsm8k_react", "trinity.buffer.total_steps=3"])
    data = OmegaConf.to_container(OmegaConf.create(to_yaml(config)))
    assert from_mapping(data) == (config, [])
    assert [key for key, _ in leaves(data)] == [key for key, _ in leaves(to_mapping(config))]


def test_hydra_writes_nothing_while_composing(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    compose(["+experiment=gsm8k_react"])
    assert list(tmp_path.iterdir()) == []
