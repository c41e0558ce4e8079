"""What a person wrote is what runs, also where it equals a default; or it is refused by name."""

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rlagent import LearnConfig
from rlagent.base.errors import ConfigError
from rlagent.base.origins import AUTO, COMMAND_LINE, PYTHON, get, leaves, origin_of, origins, put
from rlagent.config.compose import SPEC, Draft, compose, draft, from_mapping, to_mapping, to_yaml
from rlagent.config.identity import trial_id
from rlagent.config.overlay import Shared
from rlagent.config.prepare import prepare
from rlagent.config.python_changes import with_python_changes
from rlagent.config.resolve import Resolved, resolve
from rlagent.config.spec import Spec
from rlagent.machine.resources import GPU, Machine
from rlagent.train import main as train
from tests.configured import configured

REACT = "+experiment=gsm8k_react"
CPU = Machine((), 2, 24)
H100 = Machine((GPU("H100", 80),), 64, 512)
DEFAULTS = dict(leaves(to_mapping(LearnConfig())))


def resolved(*overrides: str) -> Resolved:
    return resolve(configured(*overrides), CPU, plan_only=True)


# ---- every field ----


def values_of(spec: Spec, default: Any) -> Iterator[Any]:
    """Some values that a field takes: its default, the ends of its range, each of its words."""
    yield default
    if spec.optional:
        yield None
    if spec.kind == "list":
        yield []
    if "bool" in spec.types:
        yield from (True, False)
    limits = spec.limits
    if limits is not None:
        yield from limits.choices
        yield from (end for end in (limits.least, limits.also) if end is not None)


def fields(spec: Spec, prefix: str = "") -> Iterator[tuple[str, Spec]]:
    for name, child in spec.fields.items():
        key = f"{prefix}{name}"
        if child.kind == "struct":
            yield from fields(child, f"{key}.")
        else:
            yield key, child


FIELDS = dict(fields(SPEC))


def unknown(key: str, value: Any) -> bool:
    """Whether a value says that the model's config.json is to be read."""
    return key.startswith("model.shape.") and value == 0 and not isinstance(value, bool)


# With GPUs each plan weighs layouts.
@pytest.mark.parametrize("hardware", ["cpu", pytest.param("1gpu", marks=pytest.mark.slow)])
@pytest.mark.parametrize("key", FIELDS)
def test_any_value_that_is_written_is_that_of_the_run_or_refused_by_name(key, hardware) -> None:
    base = configured(f"hardware={hardware}")
    for value in values_of(FIELDS[key], DEFAULTS.get(key, {})):
        if value == AUTO or unknown(key, value):
            continue
        config = copy.deepcopy(base)
        put(config, key, copy.deepcopy(value), COMMAND_LINE)
        try:
            made, refused = prepare(Draft(config, []), CPU, plan_only=True), ""
        except ConfigError as error:
            refused = str(error)
        if refused:
            assert key.rpartition(".")[2] in refused, value
        else:
            assert get(made.config, key) == value
            assert origin_of(origins(made.config), key) == COMMAND_LINE


def test_what_resolving_fills_says_why() -> None:
    for hardware in ("cpu", "auto", "8gpu"):
        for machine in (CPU, H100):
            made = resolve(configured(f"hardware={hardware}"), machine, plan_only=True)
            found = origins(made.config)
            # Whatever is set while resolving without a reason counts as set by a script.
            assert PYTHON not in found.values()
            before = dict(leaves(to_mapping(made.composed)))
            after = dict(leaves(to_mapping(made.config)))
            changed = [key for key in after if after[key] != before.get(key)]
            assert [key for key in changed if not origin_of(found, key).startswith("auto: ")] == []


def test_every_key_of_a_command_line_is_noted() -> None:
    texts = {"true": True, "false": False, "null": None}
    words = {value: text for text, value in texts.items() if value is not None}
    typed = [
        f"{key}={words.get(value, value) if isinstance(value, bool) else value}"
        for key, value in DEFAULTS.items()
        if isinstance(value, (bool, int, float)) or value == AUTO
    ]
    typed += [f"{key}=null" for key, value in DEFAULTS.items() if value is None]
    found = origins(compose([REACT, *typed]))
    keys = {text.partition("=")[0] for text in typed}
    # `auto` for the name and the place of model and data says that nobody wrote it.
    noted = {key for key in keys if found.get(key) == COMMAND_LINE}
    assert {key for key in keys - noted if DEFAULTS[key] != AUTO} == set()
    assert len(noted) > 80


# ---- what was dropped ----


def test_a_null_wins_over_the_preset_of_a_model_that_auto_takes() -> None:
    made = resolved("hardware=1gpu", "model.reasoning_parser=null", "model.enable_thinking=null")
    assert (made.config.model.reasoning_parser, made.config.model.enable_thinking) == (None, None)
    assert made.config.model.path.startswith("Qwen/")
    assert made.trial_id != resolved("hardware=1gpu").trial_id


def test_a_value_of_a_recipe_wins_where_it_is_the_schemas_default() -> None:
    made = resolved("hardware=cpu", "model.recipe.lr=1e-6")
    assert made.config.algorithm.lr == 1e-6
    assert made.config.model.recipe.batch_size == 16
    assert made.trial_id != resolved("hardware=cpu").trial_id


def test_a_null_wins_over_the_preset_of_data_that_auto_takes() -> None:
    made = resolved("hardware=8gpu", "dataset.subset=null")
    assert (made.config.dataset.path, made.config.dataset.subset) == ("openai/gsm8k", None)
    assert made.trial_id != resolved("hardware=8gpu").trial_id


def test_a_null_asks_for_the_algorithms_own_kl_where_the_recipe_has_one() -> None:
    assert resolved("hardware=cpu").config.algorithm.kl_coef == 0
    made = resolved("hardware=cpu", "algorithm.kl_coef=null")
    assert made.config.algorithm.kl_coef is None
    assert made.trial_id != resolved("hardware=cpu").trial_id


def test_a_model_named_by_the_path_of_a_preset_keeps_what_was_written_of_its_recipe() -> None:
    named = ["hardware=1gpu", "model.path=Qwen/Qwen3-0.6B"]
    config = resolved(*named, "model.recipe.max_response_tokens=1024").config
    assert (config.model.name, config.model.max_model_len) == ("qwen3_0_6b", 8192)
    assert config.model.max_response_tokens == 1024


@pytest.mark.parametrize("field", ["model.shape.layers=7", "model.shape.tied=false"])
def test_a_shape_that_the_model_lacks_is_refused_also_where_auto_takes_the_model(field) -> None:
    with pytest.raises(ConfigError, match=r"config\.json of builtin:tiny says") as caught:
        resolved("hardware=cpu", field)
    assert field in str(caught.value)


def test_an_attention_that_the_cpu_lacks_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"hardware\.attention=packed: .*hardware\.engine"):
        resolved("hardware=cpu", "hardware.attention=packed")


# ---- where it was written ----


def test_presets_ones_own_and_the_command_line_are_told_apart(tmp_path: Path) -> None:
    (tmp_path / "experiment").mkdir()
    mine = tmp_path / "experiment" / "mine.yaml"
    mine.write_text("# @package _global_\nmodel:\n  enable_thinking: null\nseed: 1\n")
    words = ["+experiment=mine", "hardware=1gpu", "workflow.args={turns: 5}", "model.top_k=auto"]
    config = compose(words, [str(tmp_path)])
    found = origins(config)
    assert found["model.enable_thinking"] == found["seed"] == str(mine)
    assert found["hardware.gpus"] == "conf/hardware/1gpu.yaml"
    assert found["workflow.args.turns"] == COMMAND_LINE
    assert "model.top_k" not in found
    assert "model.reasoning_parser" not in found
    made = resolve(config, CPU, plan_only=True)
    assert made.config.model.enable_thinking is None
    assert made.config.model.reasoning_parser == "deepseek_r1"


def test_the_trials_of_a_sweep_carry_the_same_origins_as_each_alone() -> None:
    shared = Shared()
    for words in (["hardware=cpu", "seed=1"], ["hardware=cpu", "model.recipe.lr=1e-6"]):
        made = draft([REACT, *words], shared=shared)
        assert origins(made.config) == origins(compose([REACT, *words]))
    assert resolve(made.config, CPU).config.algorithm.lr == 1e-6


def test_what_a_script_sets_wins_also_within_a_list(tmp_path: Path) -> None:
    (file := tmp_path / "mine.yaml").write_text("model: {path: auto}\nhardware: {gpus: 1}\n")
    config = LearnConfig.load_config(str(file))
    config.model.candidates.append("qwen3_0_6b")
    config.model.reasoning_parser = None
    config.dataset.subset = None
    changed, problems = with_python_changes(config)
    made = resolve(changed, CPU, plan_only=True).config
    assert problems == []
    assert (made.model.name, made.model.reasoning_parser) == ("qwen3_0_6b", None)
    assert (made.model.enable_thinking, made.dataset.subset) == (True, None)
    assert origins(made)["model.candidates"] == origins(made)["dataset.subset"] == PYTHON


def test_a_default_of_ours_that_a_script_sets_reaches_trinity(tmp_path: Path) -> None:
    native = "algorithm: {algorithm_type: grpo}\nbuffer: {batch_size: 2}\ncluster: {node_num: 1}\n"
    (file := tmp_path / "native.yaml").write_text(native)
    config = LearnConfig.load_config(str(file))
    config.algorithm.weight_decay = LearnConfig().algorithm.weight_decay
    changed, problems = with_python_changes(config)
    assert problems == []
    assert changed.native["algorithm"]["optimizer"]["weight_decay"] == 0.01


# ---- files ----


@pytest.mark.parametrize(
    "words",
    [
        ["hardware=cpu"],
        ["hardware=1gpu", "model.reasoning_parser=null", "dataset.subset=null"],
        ["hardware=cpu", "model.recipe.lr=1e-6", "algorithm.kl_coef=null"],
        ["hardware=8gpu", "model.path=Qwen/Qwen3-4B", "model.recipe.repeat_times=8"],
        ["hardware=cpu", "model=tiny", "dataset=gsm8k_tiny"],
    ],
)
def test_a_file_of_a_configuration_runs_as_the_configuration(words, tmp_path, capsys) -> None:
    config = configured(*words)
    made = resolve(config, CPU, plan_only=True)
    assert train([REACT, *words, "--cfg", "job"]) == 0
    for text in (to_yaml(config), capsys.readouterr().out):
        (file := tmp_path / "config.yaml").write_text(text)
        read = resolve(LearnConfig.load_config(str(file)), CPU, plan_only=True)
        assert to_mapping(read.config) == to_mapping(made.config)
        assert read.trial_id == made.trial_id
    file.write_text(to_yaml(made.config))
    again = resolve(LearnConfig.load_config(str(file)), CPU, plan_only=True).config
    assert to_mapping(again) == to_mapping(made.config)


def test_all_that_a_file_says_is_written_but_auto(tmp_path: Path) -> None:
    (file := tmp_path / "mine.yaml").write_text(
        "model: {path: auto, enable_thinking: null, top_k: auto}\n"
    )
    config = LearnConfig.load_config(str(file))
    assert origins(config) == {"model.enable_thinking": str(file)}


# ---- identity ----


@pytest.mark.parametrize(
    "override",
    [
        "seed=1",
        "model.temperature=1",
        "model.reasoning_parser=null",
        "algorithm.weight_decay=0.01",
        "model.recipe.total_steps=100",
        "dataset.eval_tasks=256",
    ],
)
def test_a_default_that_changes_nothing_when_it_is_written_makes_no_other_trial(override) -> None:
    assert resolved("hardware=cpu", override).trial_id == trial_id(configured("hardware=cpu"))


def test_the_origins_are_no_part_of_what_is_kept_of_a_configuration() -> None:
    config, problems = from_mapping({"seed": 3}, {"seed": "somewhere"})
    assert problems == []
    assert "somewhere" not in to_yaml(config)
    assert config == from_mapping({"seed": 3})[0]
