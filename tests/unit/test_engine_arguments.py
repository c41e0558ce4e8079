"""How a vLLM engine is started."""

import itertools

import pytest

from rlagent.backends.vllm.engine_arguments import (
    WORKER,
    capture_sizes,
    engine_arguments,
    environment,
)


def test_an_engine_of_one_gpu_keeps_the_model_in_its_own_process() -> None:
    ours = engine_arguments(1, {})
    assert ours == {"worker_cls": WORKER, "distributed_executor_backend": "uni"}
    assert environment(ours) == {"VLLM_HOST_IP": "127.0.0.1"}


def test_an_engine_of_several_gpus_is_started_as_trinity_does() -> None:
    ours = engine_arguments(2, {})
    assert "distributed_executor_backend" not in ours
    assert environment(ours) == {}


def test_what_the_user_says_of_the_engine_wins() -> None:
    ours = engine_arguments(1, {"distributed_executor_backend": "mp", "max_num_seqs": 3})
    assert ours == {"worker_cls": WORKER, "distributed_executor_backend": "mp"}
    assert environment(ours) == {}


@pytest.mark.parametrize("concurrency", [1, 3, 8, 100, 128, 256, 300, 512, 2000])
def test_graphs_reach_from_one_sequence_to_twice_the_concurrency(concurrency: int) -> None:
    sizes = capture_sizes(concurrency)
    assert sizes == sorted(set(sizes))
    assert sizes[0] == 1
    assert sizes[-1] == min(2 * concurrency, 512)
    assert min(concurrency, 512) in sizes
    assert len(sizes) <= 17
    steps = itertools.pairwise(sizes)
    assert all(larger <= 2 * smaller for smaller, larger in steps)
