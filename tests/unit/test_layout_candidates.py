"""Every layout is weighed: seconds by part, refusals with reasons, and which one is taken."""

from dataclasses import replace

import pytest

from rlagent.base.model_shape import ModelShape
from rlagent.config.compose import compose
from rlagent.config.presets import model_preset
from rlagent.config.resolve import Resolved, resolve
from rlagent.config.step_workload import workload_of
from rlagent.config.weigh import weighed
from rlagent.machine.resources import Machine
from rlagent.planner.candidates import Candidate, Setting, candidates, weigh
from rlagent.planner.choose import legal_layouts, ranked
from rlagent.planner.fit import fits
from rlagent.planner.gpus import KINDS
from rlagent.planner.layout import Layout, refusals
from rlagent.planner.table import SHOWN, refused, table
from rlagent.planner.time import StepTime, overlapped, step_time, step_words
from rlagent.planner.workload import Workload

H100 = KINDS["h100-80g"]
SHAPE_8B = model_preset("qwen3_8b").shape
WORK_8B = Workload.usual(24576, 16384, sync_interval=2)


def planned(*overrides: str) -> Resolved:
    config = compose(["+experiment=gsm8k_react", *overrides])
    return resolve(config, Machine((), 4, 16), plan_only=True)


def by_layout(found: list[Candidate]) -> dict[str, Candidate]:
    return {str(item.layout): item for item in found}


# ---- rules ----


def test_the_vocabulary_need_not_divide_since_vllm_pads_it() -> None:
    odd = replace(SHAPE_8B, vocab=151937)
    assert not refusals(Layout.parse("2x2+4"), 8, 1, odd)


def test_the_feed_forward_layer_is_split_evenly() -> None:
    odd = replace(SHAPE_8B, intermediate=12290)
    (line,) = refusals(Layout.parse("1x4+4"), 8, 1, odd)
    assert "feed-forward width of 12290" in line


def test_shared_sequences_split_key_value_heads_or_repeat_them() -> None:
    shape = ModelShape(28, 1024, 3072, heads=24, kv_heads=4, head_dim=64, vocab=1000)
    (line,) = refusals(Layout.parse("2x1+6s6"), 8, 1, shape)
    assert "4 key/value heads" in line
    assert not refusals(Layout.parse("4x1+4s4"), 8, 1, shape)
    assert not refusals(Layout.parse("8x1+8s8"), 16, 1, shape)


def test_every_layout_is_weighed_or_refused_with_a_reason() -> None:
    found = candidates(Setting(8, 1, SHAPE_8B, H100, WORK_8B))
    legal = {str(item) for item in legal_layouts(8, 1, SHAPE_8B)}
    fitting = {str(item.layout) for item in found if not item.reasons}
    assert fitting <= legal
    for item in found:
        assert item.reasons or (item.time and item.trainer and item.needs)
    assert by_layout(found)["1x3+5"].reasons[0] == "engines of 3 GPUs do not divide a node of 8"


def test_what_lacks_memory_is_refused_with_the_parts() -> None:
    small = replace(H100, memory_gib=40.0)
    item = weigh(Layout.parse("7x1+1"), Setting(8, 1, SHAPE_8B, small, WORK_8B, [False]))
    (line,) = item.reasons
    assert "the trainer needs" in line
    assert "optimizer" in line


def test_offloading_is_only_used_where_nothing_else_fits() -> None:
    found = by_layout(candidates(Setting(4, 1, SHAPE_8B, H100, WORK_8B)))
    assert found["2x1+2"].offload
    assert not by_layout(candidates(Setting(8, 1, SHAPE_8B, H100, WORK_8B)))["4x1+4"].offload


def test_without_flash_attention_no_layout_shares_sequences() -> None:
    found = weighed(planned("hardware=8gpu", "hardware.attention=packed"))
    assert found
    assert all(item.layout.sequence_parallel == 1 for item in found)


# ---- time ----


def test_more_trainer_gpus_train_faster_and_more_engines_roll_out_faster() -> None:
    few = step_time(SHAPE_8B, Layout.parse("6x1+2"), WORK_8B, H100)
    many = step_time(SHAPE_8B, Layout.parse("2x1+6"), WORK_8B, H100)
    assert many.train < few.train
    assert many.rollout > few.rollout


def test_passes_that_are_not_made_take_no_time() -> None:
    work = replace(WORK_8B, reference=False, old_logprobs=False)
    time = step_time(SHAPE_8B, Layout.parse("4x1+4"), work, H100)
    assert (time.reference, time.old_logprobs) == (0, 0)


def test_old_log_probabilities_take_a_pass_only_where_the_loss_cannot_give_them() -> None:
    assert not workload_of(compose(["+experiment=gsm8k_react"])).old_logprobs
    assert workload_of(compose(["+experiment=gsm8k_react", "algorithm=rloo"])).old_logprobs


def test_a_gpu_with_more_bandwidth_rolls_out_faster() -> None:
    layout = Layout.parse("4x1+4")
    h200 = step_time(SHAPE_8B, layout, WORK_8B, KINDS["h200-141g"])
    h100 = step_time(SHAPE_8B, layout, WORK_8B, H100)
    assert h200.rollout < h100.rollout
    assert h200.train == h100.train or h200.train == pytest.approx(h100.train, rel=0.05)


def test_exploring_and_training_overlap_only_as_far_as_lag_and_sync_allow() -> None:
    split, shared = Layout.parse("1x1+1"), Layout.parse("1x1*1")
    on_policy = Workload(1024)
    assert overlapped(10, 6, split, on_policy) == 16
    assert overlapped(10, 6, split, replace(on_policy, max_lag=1)) == 10
    assert overlapped(10, 6, split, replace(on_policy, sync_interval=2)) == 13
    assert overlapped(10, 6, shared, replace(on_policy, max_lag=1)) == 16


# ---- choice ----


def test_the_fastest_is_taken_unless_others_are_too_close_to_it() -> None:
    found = candidates(Setting(8, 1, SHAPE_8B, H100, WORK_8B))
    order = ranked(found, 24576)
    fastest = min(item.step_s for item in order)
    assert order[0].step_s <= 1.2 * fastest
    far = [item for item in order if item.step_s > 1.2 * fastest]
    assert far == sorted(far, key=lambda item: item.step_s)
    assert far
    assert order[-len(far) :] == far


def invented(layout: str, seconds: float, offload: bool = False) -> Candidate:
    time = StepTime(seconds, 0, 0, 0, 0, 0, step=seconds)
    return Candidate(Layout.parse(layout), offload, (), time=time)


@pytest.mark.parametrize(
    "order",
    [
        # Half of the GPUs are the trainer's, engines are small, sequences are not shared.
        (("4x1+4", 11), ("2x1+6", 10)),
        (("4x1+4", 11), ("2x2+4", 10)),
        (("4x1+4", 11), ("4x1+4s2", 10)),
        (("4x1+4s2", 11), ("4x1+4s4", 10)),
        # A fifth is as much as the estimate is trusted to tell apart.
        (("4x1+4", 12), ("2x1+6", 10)),
        (("2x1+6", 10), ("4x1+4", 12.1)),
        # Of those too slow, seconds alone count.
        (("2x1+6", 10), ("6x1+2", 13), ("4x1+4", 14)),
        # Offloading is last, and compared with its like.
        (("2x1+6", 20), ("4x1+4", 10, True)),
        (("2x1+6", 10), ("4x1+4", 32, True), ("6x1+2", 30, True)),
    ],
)
def test_among_layouts_that_are_as_fast_what_is_known_to_work_comes_first(order) -> None:
    wanted = [invented(*each) for each in order]
    for found in (wanted, wanted[::-1]):
        assert ranked(found, 4096) == wanted


@pytest.mark.parametrize(("length", "first"), [(16383, "4x1+4"), (16384, "4x1+4s2")])
def test_two_gpus_share_a_sequence_from_16384_tokens_on(length, first) -> None:
    found = [invented("4x1+4", 10), invented("4x1+4s2", 10)]
    assert str(ranked(found, length)[0].layout) == first
    fewer, more = invented("2x1+6", 10), invented("2x1+6s3", 10)
    assert ranked([more, fewer], length) == [fewer, more]


def test_a_model_may_fit_with_the_trainers_state_in_host_memory_alone() -> None:
    layout = Layout.parse("2x1+2")
    assert not fits(SHAPE_8B, layout, H100.memory_gib, WORK_8B)
    assert fits(SHAPE_8B, layout, H100.memory_gib, WORK_8B, offload=True)


def test_what_does_not_fit_is_not_ranked() -> None:
    fits = invented("4x1+4", 10)
    assert ranked([replace(fits, reasons=("too large",)), fits], 4096) == [fits]


def test_an_unknown_model_still_gets_a_layout() -> None:
    order = ranked(candidates(Setting(4, 1, ModelShape(), H100, Workload(4096))), 4096)
    assert str(order[0].layout) == "2x1+2"


# ---- the plan's table ----


def test_a_plan_shows_every_role_and_part_and_what_is_taken() -> None:
    resolved = planned("hardware=8gpu")
    found = weighed(resolved)
    assert found[0].layout == resolved.layout
    lines = table(found, resolved.layout, 79.6, WORK_8B)
    head = next(line for line in lines if line.startswith("layout "))
    for part in ("trainer", "rollout", "agent", "train", "old lp", "ref", "sync", "step"):
        assert part in head
    (taken,) = (line for line in lines if line.startswith("> "))
    assert taken.startswith("> 4x1+4s2")


def test_what_a_table_cuts_off_is_counted_and_can_be_asked_for() -> None:
    resolved = planned("hardware=8gpu")
    found = weighed(resolved)
    fitting = [str(item.layout) for item in found if not item.reasons]
    short, whole = (table(found, resolved.layout, 79.6, WORK_8B, every) for every in (False, True))
    assert f"and {len(fitting) - SHOWN} more that fit: --all shows them" in short
    assert not any("--all" in line for line in whole)
    assert [line[2:].split()[0] for line in whole if " GiB  " in line] == fitting
    assert any("more (--all): " in line for line in refused(found))
    named = "\n".join(refused(found, every=True))
    assert "--all" not in named
    assert all(str(item.layout) in named for item in found if item.reasons)


@pytest.mark.parametrize(
    ("layout", "rhythm"),
    [
        ("4x1+4", {}),
        ("4x1+4", {"sync_interval": 2}),
        ("1x1+7", {"sync_interval": 10}),
        ("7x1+1", {"max_lag": 1}),
        ("1x1*1", {"max_lag": 1}),
    ],
)
def test_the_seconds_of_a_step_add_up_as_the_plan_says(layout: str, rhythm: dict) -> None:
    work = replace(WORK_8B, **{"sync_interval": 1, **rhythm})
    taken = Layout.parse(layout)
    time = step_time(SHAPE_8B, taken, work, H100)
    rule, example = step_words(time, taken, work)
    assert rule.startswith("exploring is rollout + agent, training is train + old lp + ref; ")
    name, _, sum_ = example.partition(": ")
    left, _, right = sum_.removesuffix(" s").partition(" = ")
    assert name == layout
    assert eval(left.replace("x", "*")) == pytest.approx(float(right), abs=0.2)
    assert float(right) == pytest.approx(time.step, abs=0.05)


def test_refusals_are_grouped_by_reason() -> None:
    lines = refused(weighed(planned("hardware=8gpu")))
    assert len(lines) == len({line.split(": ", 1)[1] for line in lines})
    assert any("1x3+5" in line and "do not divide a node of 8" in line for line in lines)


def test_two_nodes_are_planned_from_their_numbers_alone() -> None:
    resolved = planned("hardware.gpu=h100-80g", "hardware.gpus=8", "hardware.nodes=2")
    assert resolved.layout.total_gpus == 16
    assert resolved.layout.trainer_gpus % 8 == 0
    assert any("must be whole nodes of 8" in line for line in refused(weighed(resolved)))


def test_a_layout_that_was_asked_for_is_marked_wherever_it_ranks() -> None:
    resolved = planned("hardware=8gpu", "hardware.layout=7x1+1", "model=qwen3_0_6b")
    lines = table(weighed(resolved), resolved.layout, 79.6, workload_of(resolved.config))
    assert any(line.startswith("> 7x1+1") for line in lines)


def test_without_gpus_there_is_nothing_to_weigh() -> None:
    assert weighed(planned("hardware=cpu")) == []
