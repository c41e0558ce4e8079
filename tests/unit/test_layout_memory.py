"""Memory of a layout from the model's shape alone, held against what was measured."""

import json
from pathlib import Path
from typing import Any

import pytest

from rlagent.base.model_shape import ModelShape
from rlagent.config.presets import model_preset
from rlagent.planner import constants as const
from rlagent.planner.layout import Layout
from rlagent.planner.memory import (
    engine_memory,
    memory_refusals,
    sequences_at_once,
    share,
    takes_gib,
    trainer_memory,
)
from rlagent.planner.workload import Workload, micro_batch_tokens

MEASURED = Path(__file__).parent / "data" / "measured_memory.json"
"""Rows of model, shape, layout, lengths, tokens_per_gpu, role (rollout or trainer), peak_gib (null:
ran out of memory), gpu, gpu_gib, commit and date; `utilization` and `graphs` where they are not
the usual ones; `offload` where the trainer's state waited in host memory; `logits_copies` where the
code then held more of them than today's."""
WITHIN = 0.15
TODAY = const.LOGITS_COPIES

SHAPE = model_preset("qwen3_1_7b").shape
WORK = Workload(12288, 8192)


def measured() -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads(MEASURED.read_text(encoding="utf-8"))
    return rows


def parts_of(row: dict[str, Any]) -> tuple[ModelShape, Layout, Workload]:
    lengths = row["lengths"]
    work = Workload(
        lengths["max_model_len"],
        lengths["max_response_tokens"],
        rollouts=lengths.get("rollouts", 256),
        tokens_per_gpu=row["tokens_per_gpu"],
        utilization=row.get("utilization"),
        graphs=row.get("graphs", True),
    )
    return ModelShape(**row["shape"]), Layout.parse(row["layout"]), work


def test_estimates_are_near_the_measured_peaks(monkeypatch) -> None:
    rows = [row for row in measured() if row["peak_gib"] is not None]
    assert len(rows) >= 8
    assert len({row["model"] for row in rows}) >= 3
    far = []
    for row in rows:
        shape, layout, work = parts_of(row)
        monkeypatch.setattr(const, "LOGITS_COPIES", row.get("logits_copies", TODAY))
        if row["role"] == "trainer":
            estimate = trainer_memory(shape, layout, work, row.get("offload", False)).gib
        else:
            estimate = takes_gib(shape, layout, work, row["gpu_gib"])
        off = estimate / row["peak_gib"] - 1
        if abs(off) > WITHIN:
            far.append(f"{row['model']} {layout} {row['role']}: {estimate:.1f} GiB, {off:+.0%}")
    assert not far


def test_what_ran_out_of_memory_is_not_said_to_fit() -> None:
    rows = [row for row in measured() if row["peak_gib"] is None]
    if not rows:
        pytest.skip("nothing that ran out of memory was measured yet")
    for row in rows:
        shape, layout, work = parts_of(row)
        assert memory_refusals(shape, layout, work, row["gpu_gib"]), row


def test_the_state_of_training_is_shared_out_among_its_gpus() -> None:
    one = trainer_memory(SHAPE, Layout.parse("1x1+1"), WORK).parts
    four = trainer_memory(SHAPE, Layout.parse("1x1+4"), WORK).parts
    for part in ("weights", "gradients", "optimizer"):
        assert one[part] == pytest.approx(4 * four[part])
    assert one["logits"] == four["logits"]


def test_sixteen_bytes_a_parameter_stay_on_one_gpu() -> None:
    parts = trainer_memory(SHAPE, Layout.parse("1x1+1"), WORK).parts
    state = sum(parts[name] for name in ("weights", "gradients", "optimizer"))
    assert state * 1024**3 == pytest.approx(16 * 1.7206e9, rel=0.01)


def test_a_longer_micro_batch_needs_more() -> None:
    layout = Layout.parse("1x1+2")
    short = trainer_memory(SHAPE, layout, Workload(4096, tokens_per_gpu=8192))
    long = trainer_memory(SHAPE, layout, Workload(4096, tokens_per_gpu=16384))
    assert long.gib > short.gib + 2


def test_a_step_of_few_tokens_fills_no_micro_batch() -> None:
    layout = Layout.parse("1x1+1")
    few = Workload(512, rollouts=2, calls=1, tokens_per_gpu=16384)
    least = trainer_memory(SHAPE, layout, few)
    # What is left is the optimizer's step, which no micro-batch makes larger.
    assert "optimizer step" in least.parts
    assert least.gib < trainer_memory(SHAPE, layout, WORK).gib - 4


def test_a_gradient_of_the_entropy_keeps_the_logits() -> None:
    layout = Layout.parse("1x1+1")
    with_entropy = Workload(12288, 8192, entropy=True)
    kept = trainer_memory(SHAPE, layout, with_entropy).parts["logits"]
    assert kept == pytest.approx(1.5 * trainer_memory(SHAPE, layout, WORK).parts["logits"])


def test_logits_are_gone_before_the_embeddings_gradients_are_summed() -> None:
    # 4 GiB of logits twice; the entropy's pieces stand beside one of them only.
    layout = Layout.parse("1x1+1")
    logits = trainer_memory(SHAPE, layout, Workload(4096)).parts["logits"]
    assert logits == pytest.approx(8.0, rel=0.001)
    # A micro-batch of few tokens leaves the summing, in fp32, as the peak.
    few = Workload(64, rollouts=1, calls=1)
    assert "logits" not in trainer_memory(SHAPE, layout, few).parts


def test_an_engine_takes_more_than_its_share_where_weights_are_synced_by_nccl() -> None:
    split, shared = Layout.parse("1x1+1"), Layout.parse("1x1*1")
    work = Workload(4096, utilization=0.5)
    assert takes_gib(SHAPE, split, work, 80) > 40 + const.ENGINE_BESIDE_GIB + 2
    assert 40 < takes_gib(SHAPE, shared, work, 80) < takes_gib(SHAPE, split, work, 80)


def test_the_share_by_itself_leaves_room_for_the_weights_that_arrive() -> None:
    small, large = model_preset("qwen3_0_6b").shape, model_preset("qwen3_8b").shape
    split = Layout.parse("1x1+1")
    assert share(small, split, WORK, 79.6) == 0.9
    assert 0.8 < share(large, split, WORK, 79.6) < 0.9
    assert share(small, split, WORK, 24) < 0.8
    for shape, gpu_gib in ((small, 79.6), (large, 79.6), (small, 24)):
        assert takes_gib(shape, split, WORK, gpu_gib) <= gpu_gib - const.SPARE_GIB
    assert share(large, Layout.parse("1x1*1"), WORK, 79.6) == 0.25


def test_a_share_that_leaves_no_room_for_the_weights_that_arrive_is_refused() -> None:
    work = Workload(12288, 8192, utilization=0.97)
    refused = memory_refusals(SHAPE, Layout.parse("1x1+1"), work, 79.6)
    assert any("leave hardware.gpu_memory_utilization=auto" in line for line in refused)


def test_graphs_are_part_of_an_engines_share() -> None:
    layout = Layout.parse("1x1+1")
    without = Workload(12288, 8192, graphs=False)
    assert takes_gib(SHAPE, layout, WORK, 80) == takes_gib(SHAPE, layout, without, 80)
    assert sequences_at_once(SHAPE, layout, WORK, 80) < sequences_at_once(
        SHAPE, layout, without, 80
    )


def test_tensor_parallel_shares_an_engines_weights_and_leaves_more_for_the_cache() -> None:
    one, two = Layout.parse("1x1+1"), Layout.parse("1x2+1")
    weights = engine_memory(SHAPE, one, WORK).parts["weights"]
    assert weights == pytest.approx(2 * engine_memory(SHAPE, two, WORK).parts["weights"])
    assert sequences_at_once(SHAPE, two, WORK, 80) > 2 * sequences_at_once(SHAPE, one, WORK, 80)


def test_a_share_too_small_for_one_sequence_is_refused_with_the_numbers() -> None:
    work = Workload(12288, 8192, utilization=0.05)
    (line,) = memory_refusals(SHAPE, Layout.parse("1x1+1"), work, 79.6)
    assert "its share of 0.05 is 4" in line
    assert "weights" in line


def test_roles_that_share_a_gpu_share_its_memory() -> None:
    shape, work = model_preset("qwen3_1_7b").shape, Workload(4096, 1024)
    assert not memory_refusals(shape, Layout.parse("1x1*1"), work, 79.6)
    (line,) = memory_refusals(shape, Layout.parse("1x1*1"), Workload(4096, utilization=0.6), 79.6)
    assert "beside the engine" in line


def test_micro_batches_hold_a_whole_sequence_and_four_gib_of_logits() -> None:
    assert micro_batch_tokens(4096, 151936) == (4 << 30) // (2 * 151936)
    assert micro_batch_tokens(24576, 151936) == 24576
    assert micro_batch_tokens(1024, 804) == 65536


def test_an_unknown_shape_is_not_refused() -> None:
    assert not memory_refusals(ModelShape(), Layout.parse("1x1+1"), WORK, 1)
