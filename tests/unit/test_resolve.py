"""What `auto` becomes on invented machines."""

import dataclasses
import json

import pytest

from rlagent.base.errors import ConfigError
from rlagent.base.model_shape import ModelShape
from rlagent.base.paths import local_path
from rlagent.config.compose import compose, draft, to_mapping
from rlagent.config.estimate import planned_step, run_minutes
from rlagent.config.prepare import prepare
from rlagent.config.presets import model_preset
from rlagent.config.resolve import KEPT, Resolved, resolve
from rlagent.config.shapes import read_shape
from rlagent.config.weigh import weighed, weighed_taken
from rlagent.machine.resources import GPU, Machine
from rlagent.planner.layout import Layout
from rlagent.planner.memory import host_gib
from rlagent.planner.workload import Workload
from tests.configured import configured, drafted

CPU = Machine((), 2, 24)


def with_gpus(count: int, memory_gib: float = 80) -> Machine:
    return Machine((GPU("NVIDIA H100 80GB HBM3", memory_gib),) * count, 64, 1024)


def resolved(*overrides: str, machine: Machine = CPU, plan_only: bool = False) -> Resolved:
    return prepare(drafted(*overrides), machine, plan_only=plan_only)


def reasons(*overrides: str, machine: Machine = CPU, plan_only: bool = False) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        resolved(*overrides, machine=machine, plan_only=plan_only)
    return [str(problem) for problem in caught.value.problems]


def test_without_a_gpu_the_tiny_model_its_data_and_the_embedded_engine_are_taken() -> None:
    config = resolved().config
    assert config.model.path == "builtin:tiny"
    assert config.dataset.path == "builtin:gsm8k_tiny"
    assert config.hardware.engine == "embedded"
    assert config.hardware.layout == "1x1+1"
    assert config.hardware.threads == 2


@pytest.mark.parametrize(
    ("machine", "model", "layout"),
    [
        (with_gpus(8), "qwen3_8b", "4x1+4s2"),
        (with_gpus(4), "qwen3_4b", "2x1+2s2"),
        (with_gpus(2, 141), "qwen3_4b", "1x1+1"),
        (with_gpus(2, 24), "qwen3_0_6b", "1x1+1"),
        # With its state in host memory, where none fits otherwise.
        (with_gpus(2, 18), "qwen3_1_7b", "1x1+1"),
        (with_gpus(1, 24), "qwen3_0_6b", "1x1*1"),
    ],
)
def test_with_gpus_the_largest_model_that_fits_is_taken(
    machine: Machine, model: str, layout: str
) -> None:
    result = resolved(machine=machine)
    assert (result.config.model.name, str(result.layout)) == (model, layout)
    assert result.config.dataset.name == "gsm8k"
    assert any(f"model: {model}" in line and "otherwise model" in line for line in result.choices)


def test_no_layout_that_must_offload_is_taken_where_another_need_not() -> None:
    result = resolved(machine=Machine(with_gpus(8, 24).gpus, 64, 48))
    assert (result.config.model.name, str(result.layout)) == ("qwen3_1_7b", "3x1+5")
    assert result.config.hardware.offload is False


def test_a_state_that_waits_in_host_memory_is_said_and_has_to_fit_there() -> None:
    gpus = with_gpus(2).gpus
    there = resolved("model=qwen3_4b", machine=Machine(gpus, 64, 128))
    assert there.config.hardware.offload is True
    assert [line for line in there.choices if line.startswith("offload: ")]
    (lacking,) = reasons("model=qwen3_4b", machine=Machine(gpus, 64, 64))
    assert "hardware.offload=auto" in lacking
    assert "104 GiB in use, of 64 that there are" in lacking
    # With other mistakes, all at once.
    more = reasons("model=qwen3_4b", "algorithm.batch_size=9999", machine=Machine(gpus, 64, 64))
    assert [reason.split("=")[0] for reason in more] == ["hardware.offload", "algorithm.batch_size"]
    # Elsewhere it may be there.
    planned = ("model=qwen3_4b", "hardware=2gpu", "hardware.gpu=h100-80g")
    assert resolved(*planned, plan_only=True).config.hardware.offload is True
    # This one has little, whatever its GPUs are called.
    here = ("model=qwen3_4b", "hardware.gpu=h100-80g", "hardware.offload=true")
    (lacking,) = reasons(*here, machine=Machine(gpus, 64, 64))
    assert "take hardware.offload=auto, which keeps it on the GPUs" in lacking


def test_a_model_chosen_for_the_gpus_fits_the_host_too_or_says_what_is_short() -> None:
    two = with_gpus(2, 18).gpus
    small = resolved(machine=Machine(two, 64, 48))
    assert small.config.model.name == "qwen3_0_6b"
    (said,) = (line for line in small.choices if line.startswith("model: "))
    assert "48 GiB of host memory are too little for qwen3_1_7b" in said
    (none,) = (
        line
        for line in resolved(machine=Machine(with_gpus(4).gpus, 64, 8)).choices
        if line.startswith("model: ")
    )
    assert "qwen3_0_6b, though by the estimate 8 GiB of host memory are too little" in none


def test_layouts_that_are_compared_have_one_model_whichever_must_offload() -> None:
    machine = Machine(with_gpus(4).gpus, 64, 512)
    found = [
        resolved(f"hardware.layout={layout}", machine=machine) for layout in ("2x1+2", "3x1+1")
    ]
    assert [item.config.model.name for item in found] == ["qwen3_4b", "qwen3_4b"]
    assert [item.config.hardware.offload for item in found] == [False, True]
    assert not [line for item in found for line in item.choices if "without offloading" in line]
    (lacking,) = reasons("hardware.layout=3x1+1", machine=Machine(machine.gpus, 64, 64))
    assert lacking.startswith("hardware.offload=auto")


def test_a_trainer_over_several_nodes_shares_its_state_among_them() -> None:
    shape = model_preset("qwen3_4b").shape
    here, there = (
        host_gib(shape, Layout.parse(f"4x1+{gpus}"), Workload(4096), True, 4) for gpus in (4, 8)
    )
    assert there == pytest.approx(here / 2)


def test_micro_batches_that_were_asked_for_are_weighed_and_hold_the_longest_sequence() -> None:
    asked = "trinity.trainer.max_token_len_per_gpu="
    usual, large = (
        weighed_taken(resolved("model=qwen3_1_7b", *more, machine=with_gpus(2)))
        for more in ((), (f"{asked}24576",))
    )
    assert large.trainer.gib > usual.trainer.gib + 5
    (short,) = reasons("model=qwen3_1_7b", f"{asked}2048", machine=with_gpus(2))
    assert "12288" in short
    assert "take at least 12288" in short
    # Two GPUs share a sequence.
    shared = ("hardware.layout=2x1+2s2", "hardware.attention=flash_attention_2")
    four = dataclasses.replace(with_gpus(4), flash_attention="2.8.3")
    assert resolved("model=qwen3_1_7b", f"{asked}6144", *shared, machine=four).layout
    # It means nothing where micro-batches have a fixed number of sequences.
    fixed = ("model=qwen3_1_7b", f"{asked}2048", "trinity.trainer.use_dynamic_bsz=false")
    as_usual = weighed_taken(resolved(*fixed, machine=with_gpus(2)))
    assert as_usual.trainer.gib == usual.trainer.gib
    # The embedded trainer makes none.
    (foreign,) = reasons("model=tiny", f"{asked}16")
    assert foreign == f"{asked}16: means nothing on a CPU: it is for verl; leave it out"


@pytest.mark.parametrize(
    "machine", [CPU, with_gpus(1), with_gpus(8), with_gpus(2, 18), with_gpus(1, 24)]
)
def test_what_is_offered_instead_of_a_choice_is_never_that_choice(machine: Machine) -> None:
    result = resolved(machine=machine)
    config = to_mapping(result.config)
    for line in result.choices:
        key, _, value = line.rsplit("otherwise ", 1)[1].partition("=")
        node = config
        for part in key.split("."):
            node = node[part] if isinstance(node, dict) and part in node else {}
        taken = node.get("name") if isinstance(node, dict) else node
        assert str(taken) != value, line


@pytest.mark.parametrize(
    ("overrides", "machine"), [([], CPU), (["hardware=8gpu"], with_gpus(8)), ([], with_gpus(1))]
)
def test_no_auto_is_left_but_what_only_the_launch_can_know(
    overrides: list[str], machine: Machine
) -> None:
    data = to_mapping(resolved(*overrides, machine=machine).config)
    left = [
        f"{group}.{key}"
        for group, fields in data.items()
        if isinstance(fields, dict)
        for key, value in fields.items()
        if value == "auto"
    ]
    assert set(left) <= set(KEPT)


def test_eight_gpus_give_the_numbers_of_agentscopes_example() -> None:
    result = resolved("hardware=8gpu", plan_only=True)
    config = result.config
    assert config.algorithm.name == "multi_step_grpo"
    assert (config.algorithm.repeat_times, config.algorithm.batch_size) == (8, 32)
    assert config.algorithm.lr == 1e-6
    assert config.algorithm.sync_interval == 2
    assert config.algorithm.save_interval == 100
    assert config.algorithm.total_steps == 7473 // 32
    assert (config.model.max_response_tokens, config.model.max_model_len) == (16384, 24576)
    assert config.model.path == "Qwen/Qwen3-8B"
    assert config.model.enable_thinking is True
    assert config.model.reasoning_parser == "deepseek_r1"
    assert config.hardware.prefix_caching is False
    assert (config.dataset.path, config.dataset.subset) == ("openai/gsm8k", "main")
    assert str(result.layout) == "4x1+4s2"


def test_an_explicit_value_wins_over_the_recipe() -> None:
    config = resolved("algorithm.lr=0.5", "model.max_model_len=900", "model.top_p=0.9").config
    assert config.algorithm.lr == 0.5
    assert config.model.max_model_len == 900
    assert config.model.top_p == 0.9
    assert config.algorithm.repeat_times == 8


def test_a_model_named_by_the_path_of_a_preset_brings_its_recipe() -> None:
    config = resolved("model.path=Qwen/Qwen3-0.6B", machine=with_gpus(2)).config
    assert config.model.name == "qwen3_0_6b"
    assert config.model.shape.layers == 28


def test_one_value_of_a_recipe_can_be_set_beside_the_others() -> None:
    for overrides in (
        ["model.recipe.lr=1e-4"],
        ["model.path=builtin:tiny", "model.recipe.lr=1e-4"],
    ):
        config = resolved(*overrides).config
        assert (config.algorithm.lr, config.algorithm.batch_size) == (1e-4, 16)


@pytest.mark.parametrize(
    ("override", "reason"),
    [
        ("model.recipe.lr=5", "model.recipe.lr=5: must be at least 1e-12 and below 1"),
        ("model.recipe.batch_size=0", "model.recipe.batch_size=0: must be at least 1"),
        ("model.recipe.repeat_times=1", "algorithm.repeat_times=1: multi_step_grpo compares"),
        ("model.recipe.max_model_len=100", "leaves no room for a prompt"),
        ("algorithm.train_batch_size=7", "does not divide the 128 rollouts"),
        ("algorithm.lr_warmup_steps=60", "is not below algorithm.total_steps=60"),
    ],
)
def test_what_a_recipe_brings_is_checked_as_what_is_written(override: str, reason: str) -> None:
    (line,) = reasons("model=tiny", override)
    assert reason in line


def test_epochs_of_less_than_one_batch_are_refused(tmp_path) -> None:
    row = json.dumps({"question": "1 + 1?", "answer": "#### 2"})
    (tmp_path / "train.jsonl").write_text(f"{row}\n" * 3)
    asked = [f"dataset.path={tmp_path}", "dataset.eval_split=null", "algorithm.total_epochs=1"]
    assert any("algorithm.total_steps=0" in line for line in reasons(*asked))


def test_the_configuration_that_was_composed_is_not_changed() -> None:
    config = configured()
    before = dataclasses.asdict(config)
    resolve(config, CPU)
    assert dataclasses.asdict(config) == before


def test_gpus_that_are_not_there_are_refused_before_anything_starts() -> None:
    (line,) = reasons("hardware=8gpu")
    assert line.startswith("hardware.gpus=8: this machine has no GPUs; use hardware=auto")


def test_vllm_without_a_gpu_and_several_nodes_without_gpus_are_refused() -> None:
    (line,) = reasons("hardware.engine=vllm")
    assert line == "hardware.engine=vllm: no GPU was found; use hardware=cpu"
    (line,) = reasons("hardware.nodes=2")
    assert "runs on one node" in line


def test_vllm_with_a_preset_without_gpus_is_blamed_on_the_engine_and_the_preset() -> None:
    (line,) = reasons("hardware=cpu", "hardware.engine=vllm")
    assert line.startswith("hardware.engine=vllm: vLLM needs at least one GPU")
    assert "hardware.gpus is 0 with hardware=cpu; take hardware=cpu alone" in line
    (line,) = reasons("hardware.gpus=0", "hardware.engine=vllm")
    assert "hardware.gpus is 0; take" in line


def test_a_plan_may_be_made_for_other_machines() -> None:
    assert resolved("hardware=8gpu", plan_only=True).layout.total_gpus == 8
    small = resolved("hardware=2gpu", "hardware.gpu=l40s-48g", plan_only=True)
    assert small.config.model.name != "qwen3_8b" or small.config.hardware.offload


def test_a_model_that_fits_nowhere_says_so() -> None:
    (line,) = reasons("model=qwen3_8b", machine=with_gpus(2, 16))
    assert "fit no layout of 2 GPUs of 16 GiB" in line


def test_a_layout_that_lacks_memory_says_how_much_it_needs() -> None:
    (line,) = reasons("model=qwen3_8b", "hardware.layout=7x1+1", machine=with_gpus(8, 24))
    assert "GiB per trainer GPU" in line


def test_a_large_layout_on_a_cpu_names_logical_gpus() -> None:
    (line,) = reasons("hardware.layout=4x1+4")
    assert line.endswith("add hardware.logical_gpus=8 to try it on the CPU")
    result = resolved("hardware=cpu", "hardware.logical_gpus=8", "hardware.layout=4x1+4")
    assert str(result.layout) == "4x1+4"


def test_a_layout_for_more_gpus_than_planned_does_not_say_that_those_are_here() -> None:
    too_large, missing = reasons("hardware=8gpu", "hardware.layout=4x1+9")
    assert too_large == (
        "hardware.layout=4x1+9: needs 13 GPUs, more than the 8 planned for; "
        "hardware.layout=auto alone chooses a legal one"
    )
    assert missing.startswith("hardware.gpus=8: this machine has no GPUs; use")


def test_single_layout_fields_say_the_same_as_the_layout() -> None:
    fields = ["hardware.engines=2", "hardware.tensor_parallel=2", "hardware.trainer_gpus=4"]
    result = resolved("hardware=8gpu", *fields, plan_only=True)
    assert str(result.layout) == "2x2+4"


@pytest.mark.parametrize(
    ("override", "layout"),
    [
        ("hardware.engines=6", "6x1+2s2"),
        ("hardware.tensor_parallel=2", "2x2+4s2"),
        ("hardware.sequence_parallel=1", "4x1+4"),
    ],
)
def test_a_layout_given_in_part_is_completed_with_all_gpus(override: str, layout: str) -> None:
    assert str(resolved(override, machine=with_gpus(8)).layout) == layout


def test_a_part_that_no_layout_has_is_refused() -> None:
    (line,) = reasons("hardware.engines=9", machine=with_gpus(8))
    assert "no legal layout of 8 GPUs has hardware.engines=9" in line
    (line,) = reasons("hardware=cpu", "hardware.engines=2")
    assert "there is one engine and one trainer process" in line
    (line,) = reasons("hardware=cpu", "hardware.logical_gpus=4", "hardware.engines=4")
    assert "no legal layout of 4 GPUs" in line


def test_epochs_become_steps() -> None:
    result = resolved("algorithm.total_epochs=2", "hardware=8gpu", plan_only=True)
    assert result.config.algorithm.total_steps == 2 * 233


def test_the_batch_arithmetic_is_stated() -> None:
    batch = resolved("algorithm.batch_size=4", "algorithm.repeat_times=6").batch
    assert (batch.tasks, batch.repeat, batch.rollouts, batch.samples) == (4, 6, 24, None)
    assert any("24 = 4 x 6" in line for line in batch.lines())


@pytest.mark.parametrize(
    ("steps", "words"),
    [(1, "; 1 step is 0.0043 epochs"), (233, "; 233 steps are 1 epoch"), (466, "are 2 epochs")],
)
def test_one_epoch_is_no_epochs(steps: int, words: str) -> None:
    asked = ["hardware=8gpu", f"algorithm.total_steps={steps}"]
    assert resolved(*asked, plan_only=True).batch.lines()[-1].endswith(words)


def test_a_batch_that_exploring_may_not_fill_is_announced() -> None:
    def said(size: str) -> list[str]:
        asked = ["model=tiny", "algorithm.batch_size=4", "algorithm.repeat_times=2"]
        found = resolved(*asked, f"algorithm.train_batch_size={size}").warnings
        return [line for line in found if "train_batch_size" in line]

    (line,) = said("9")
    assert line.startswith("algorithm.train_batch_size=9 is more than the 8 rollouts of a step")
    assert said("8") == said("auto") == []


def test_a_long_run_and_a_download_are_announced() -> None:
    warnings = " ".join(resolved("hardware=8gpu", plan_only=True).warnings)
    assert "roughly" in warnings
    assert "hours" in warnings


def test_on_gpus_the_duration_follows_the_planners_seconds_per_step_of_the_layout_taken() -> None:
    asked = ("hardware=4gpu", "model=qwen3_1_7b")
    minutes = []
    for layout in ("2x1+2", "3x1+1"):
        result = resolved(*asked, f"hardware.layout={layout}", machine=with_gpus(4))
        planned = planned_step(result.config, result.layout, result.machine)
        (candidate,) = [item for item in weighed(result) if item.layout == result.layout]
        assert planned == candidate.time
        minutes.append(run_minutes(result.config, result.layout, 64, planned))
        assert minutes[-1] > planned.step * int(result.config.algorithm.total_steps) / 60
        said = next(line for line in result.warnings if "roughly" in line)
        assert f"{minutes[-1] / 60:.0f} hours" in said
    assert minutes[1] > minutes[0]


def test_the_run_that_make_train_starts_is_estimated_as_it_was_measured() -> None:
    result = resolved()
    # docs/history.md: 2 min 43 s to 5 min 6 s of training on two cores; RESULTS.md: about 6 min
    # from command to end.
    assert 2.7 < run_minutes(result.config, result.layout, 2) < 6
    assert not any("roughly" in line for line in result.warnings)


def test_an_evaluation_is_estimated_with_all_its_samples_and_without_what_a_step_refills() -> None:
    def minutes(*overrides: str) -> float:
        result = resolved(*overrides)
        return run_minutes(result.config, result.layout, 2)

    every = "algorithm.eval_interval=1"
    once, often = minutes(every), minutes(every, "evaluate.samples=3")
    alone = minutes(every, "dataset.eval_tasks=1")
    # One of 256 tasks is left of it.
    assert often - once == pytest.approx(2 * (once - alone) * 256 / 255)
    refills = ("algorithm.filter_groups=refill", every)
    more = minutes(*refills) - minutes(*refills, "dataset.eval_tasks=1")
    assert more == pytest.approx(once - alone, rel=0.1)


def test_the_planner_has_no_seconds_for_a_cpu_nor_for_a_model_of_unknown_shape() -> None:
    result = resolved()
    assert planned_step(result.config, result.layout, result.machine) is None
    on_gpus = resolved("model=qwen3_1_7b", machine=with_gpus(2))
    config = dataclasses.replace(
        on_gpus.config, model=dataclasses.replace(on_gpus.config.model, shape=ModelShape())
    )
    assert planned_step(config, on_gpus.layout, on_gpus.machine) is None
    assert run_minutes(config, on_gpus.layout, 64) > 0


def test_old_log_probabilities_are_recomputed_unless_set_otherwise() -> None:
    assert resolved().config.algorithm.recompute_old_logprobs is True
    off = resolved("algorithm.recompute_old_logprobs=false").config
    assert off.algorithm.recompute_old_logprobs is False


def write_rows(folder, split: str, count: int, **row: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for _ in range(count)))


@pytest.mark.parametrize(
    ("overrides", "reason"),
    [
        (["dataset.path=no_such_file.jsonl"], "there is no such file or folder"),
        (["dataset.path=/no/such/folder"], "there is no such file or folder"),
        (["dataset.split=trian"], "did you mean train?"),
        (["dataset.eval_split=test"], "has no test.jsonl"),
        (["dataset.columns=[question,truth]"], "has no truth; it has question, answer"),
        (["algorithm.batch_size=9"], "has only 8 training tasks"),
        (["model.max_model_len=100", "algorithm.batch_size=4"], "no room for a prompt"),
        (["model.path=/no/such/model", "algorithm.batch_size=4"], "there is no such folder"),
    ],
)
def test_data_and_model_are_looked_at_before_anything_starts(
    overrides: list[str], reason: str, tmp_path
) -> None:
    write_rows(tmp_path / "rows", "train", 8, question="1+1?", answer="#### 2")
    own = ["dataset=gsm8k", f"dataset.path={tmp_path / 'rows'}", "dataset.eval_split=null"]
    lines = reasons(*own, "algorithm.batch_size=4", *overrides)
    assert len(lines) == 1
    assert reason in lines[0]


def test_ones_own_rows_need_no_other_setting_than_their_path(tmp_path) -> None:
    write_rows(tmp_path / "rows", "train", 64, question="1+1?", answer="#### 2")
    write_rows(tmp_path / "rows", "test", 8, question="1+1?", answer="#### 2")
    result = resolved(f"dataset.path={tmp_path / 'rows'}")
    assert result.batch.rows == 64
    assert result.config.dataset.name == "rows"


def test_a_shape_that_contradicts_config_json_is_refused() -> None:
    (line,) = reasons("model.path=builtin:tiny", "model.shape.layers=3")[:1]
    assert "model.shape.layers=3" in line
    assert "says 4" in line


def test_mistakes_of_composing_checking_and_resolving_are_found_together() -> None:
    wrong = ["algorithm.lrr=1", "algorithm.batch_size=0", "model.path=/no/such/model", "seed=x"]
    with pytest.raises(ConfigError) as caught:
        prepare(draft(["+experiment=gsm8k_react", *wrong]), CPU)
    assert len(caught.value.problems) == 4


def test_numbers_are_named_as_they_were_typed() -> None:
    typed = ["model.temperature=-1", "workflow.timeout=-5.00", "algorithm.lr=1e0", "seed=1.50"]
    with pytest.raises(ConfigError) as caught:
        prepare(draft(["+experiment=gsm8k_react", *typed]), CPU)
    assert sorted(str(problem).partition(":")[0] for problem in caught.value.problems) == sorted(
        typed
    )


def test_a_number_that_was_not_typed_is_not_taken_for_one_that_was() -> None:
    words = ["algorithm.repeat_times=auto", "model=tiny", "model.recipe.repeat_times=1"]
    with pytest.raises(ConfigError, match=r"^algorithm\.repeat_times=1: multi_step_grpo compares"):
        prepare(draft(["+experiment=gsm8k_react", *words]), CPU)


def test_a_refused_experiment_does_not_complain_about_the_workflow_too() -> None:
    with pytest.raises(ConfigError) as caught:
        prepare(draft(["experiment=gsm8k_react"]), CPU)
    assert len(caught.value.problems) == 1


def test_a_single_file_of_rows_is_enough(tmp_path) -> None:
    write_rows(tmp_path / "rows", "mine", 64, question="1+1?", answer="#### 2")
    result = resolved(f"dataset.path={tmp_path / 'rows' / 'mine.jsonl'}")
    assert result.batch.rows == 64


def test_a_folder_in_another_format_is_left_to_the_library_that_reads_it(tmp_path) -> None:
    (tmp_path / "train.parquet").write_bytes(b"")
    assert resolved(f"dataset.path={tmp_path}").batch.rows is None


def test_the_shipped_models_shape_is_the_one_its_preset_states() -> None:
    assert read_shape("builtin:tiny") == model_preset("tiny").shape


def test_hub_models_and_local_folders_are_distinguished(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert local_path("Qwen/Qwen3-8B") is None
    (tmp_path / "Qwen" / "Qwen3-8B").mkdir(parents=True)
    assert local_path("Qwen/Qwen3-8B") is not None
    assert local_path("a/b/c") is not None
    assert local_path("rows.jsonl") is not None


def test_a_second_number_of_steps_for_trinity_is_refused():
    config = compose(["+experiment=gsm8k_react", "hardware=cpu", "algorithm.total_steps=10"])
    config.trinity = {"buffer": {"total_steps": 5}}
    with pytest.raises(ConfigError, match=r"trinity\.buffer\.total_steps=5: .*total_steps=10"):
        resolve(config, Machine(gpus=(), cores=2, memory_gib=16))


def test_a_length_beyond_the_models_positions_is_refused_unless_they_are_scaled() -> None:
    (reason,) = reasons("model.max_model_len=100000")
    assert reason.startswith("model.max_model_len=100000: the model's positions end at 2048")
    scaling = "trinity.model.rope_scaling={rope_type: yarn, factor: 64.0}"
    longest = ("model=tiny", "model.max_model_len=100000", scaling)
    assert resolved(*longest, machine=with_gpus(2)).config.model.max_model_len == 100000
    (unscaled,) = reasons(*longest)
    assert "the CPU engine takes positions as the model's config.json says" in unscaled
