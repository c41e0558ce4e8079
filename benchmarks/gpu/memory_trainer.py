"""One rank of the trainer, as verl runs it in a Ray actor, for many memory points; see memory.py.

The worker, its settings, its loss and its way through a step are the real ones. Only the weights
are random, made where they are needed, and Ray is left out: ranks are plain processes. Reads
jobs from its standard input, one JSON object a line, and writes rows as memory.py reads them.
"""

import argparse
import gc
import importlib.util
import json
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from machine import GIB, Peaks, used_gib
from memory import say
from memory_sites import largest_sites

from rlagent.upstream import trinity_imports

trinity_imports.without_vllm.apply()

import transformers  # noqa: E402
from trinity.algorithm import ALGORITHM_TYPE  # noqa: E402
from trinity.common.experience import EID, Experience  # noqa: E402
from trinity.trainer.verl.config import build_verl_config  # noqa: E402
from trinity.trainer.verl.monkey_patch import left_right_2_no_padding  # noqa: E402
from trinity.trainer.verl.utils import to_data_proto  # noqa: E402
from trinity.trainer.verl.workers import TrinityActorRolloutRefWorker  # noqa: E402
from verl.utils import tensordict_utils as tu  # noqa: E402
from verl.workers import engine_workers  # noqa: E402
from verl.workers.engine.fsdp import transformer_impl  # noqa: E402

from rlagent.backends.verl.step_batch import StepBatch  # noqa: E402
from rlagent.backends.verl.trainer import StepTrainer, reads_reference  # noqa: E402
from rlagent.backends.verl.worker import StepWorker  # noqa: E402
from rlagent.config.command import parse_command  # noqa: E402
from rlagent.config.prepare import prepare  # noqa: E402
from rlagent.machine.resources import GPU, Machine  # noqa: E402
from rlagent.trinity import build, translate  # noqa: E402

LEFT_GIB = 0.5
"""What may be left allocated after a point; more, and the process ends and is started again."""
FILL = 0.97
"""How full the micro-batches are on average; they are not cut to equal numbers of tokens."""


class Rank:
    """This process's place, and what it knows of its GPU."""

    def __init__(self, rank: int, ranks: int, gpu: int, device: str) -> None:
        self.rank, self.ranks, self.gpu, self.device = rank, ranks, gpu, device
        self.others_gib: float | None = None

    @property
    def cuda(self) -> bool:
        return self.device == "cuda"

    def memory(self) -> dict[str, float]:
        """Torch's numbers since the last reset, GiB; empty without a GPU."""
        if not self.cuda:
            return {}
        torch.cuda.synchronize()
        stats = torch.cuda.memory_stats()
        return {
            "allocated": torch.cuda.memory_allocated() / GIB,
            "peak_allocated": torch.cuda.max_memory_allocated() / GIB,
            "reserved": torch.cuda.memory_reserved() / GIB,
            "peak_reserved": torch.cuda.max_memory_reserved() / GIB,
            "retries": stats["num_alloc_retries"],
        }

    def reset(self) -> None:
        if self.cuda:
            torch.cuda.synchronize()
            torch.cuda.reset_peak_memory_stats()

    def clear(self) -> float:
        """Free what nothing refers to; return what is still allocated, GiB."""
        gc.collect()
        if not self.cuda:
            return 0.0
        torch.cuda.empty_cache()
        return torch.cuda.memory_allocated() / GIB


def trinity_config(job: dict[str, Any], folder: Path) -> Any:
    """Trinity's configuration as a run of this model and layout would have it."""
    from rlagent.planner.layout import Layout

    layout = Layout.parse(job["layout"])
    arguments = [
        "+experiment=gsm8k_react",
        "monitor=local",
        "model=qwen3_0_6b",
        "dataset=gsm8k_tiny",
        "dataset.eval_split=null",
        "model.reasoning_parser=null",
        "model.enable_thinking=null",
        f"model.path={folder}",
        *(f"model.shape.{name}={value}" for name, value in job["shape"].items()),
        f"model.max_model_len={job['lengths']['max_model_len']}",
        f"model.max_response_tokens={job['lengths']['max_response_tokens']}",
        f"hardware.layout={job['layout']}",
        f"hardware.gpus={layout.total_gpus}",
        "hardware.engine=vllm",
        f"hardware.offload={str(job['offload']).lower()}",
        f"run.dir={folder / 'never-written'}",
        *job["overrides"],
    ]
    # As if the engines' GPUs were there, and as large as it takes: what fits is to be measured.
    machine = Machine((GPU("h100", 1000.0),) * layout.total_gpus, 16, 256, flash_attention=None)
    resolved = prepare(parse_command(arguments).draft(), machine)
    return build.build(translate.to_trinity(resolved, folder / "never-written"))


def experiences(job: dict[str, Any], tokens: int) -> list[Experience]:
    """Experiences of many lengths, every fourth the longest, of so many tokens in all."""
    chance = torch.Generator().manual_seed(3)
    longest = job["lengths"]["max_model_len"]
    found: list[Experience] = []
    left = tokens
    while left > 0:
        drawn = int(torch.randint(longest // 16, longest + 1, (1,), generator=chance))
        length = max(4, min(left, longest if len(found) % 4 == 0 else drawn))
        prompt = length // 2
        response = length - prompt
        ids = torch.randint(5, min(500, job["shape"]["vocab"]), (length,), generator=chance)
        found.append(
            Experience(
                eid=EID(batch=0, task=len(found) // 8, run=len(found)),
                tokens=ids,
                prompt_length=prompt,
                reward=1.0,
                logprobs=-torch.rand(response, generator=chance) * 5,
                action_mask=torch.ones(response, dtype=torch.bool),
                advantages=torch.randn(1, generator=chance).expand(response).clone(),
                returns=torch.zeros(response),
            )
        )
        left -= length
    return found


def batch_of(made: list[Experience]) -> Any:
    """Experiences as the trainer has them when it comes to the update."""
    rows = to_data_proto(made, 0, object(), None)
    rows.batch["old_log_probs"] = rows.batch["rollout_log_probs"]
    rows.batch["ref_log_prob"] = rows.batch["rollout_log_probs"]
    rows.meta_info["global_token_num"] = rows.batch["attention_mask"].sum(-1).tolist()
    return rows


@contextmanager
def random_weights(device: str) -> Iterator[None]:
    """Have models made from their configuration where they would be read from files."""
    theirs = transformers.AutoModelForCausalLM.from_pretrained

    def made(pretrained_model_name_or_path: str, **arguments: Any) -> Any:
        torch.manual_seed(0)
        with torch.device(device):
            return transformers.AutoModelForCausalLM.from_config(**arguments)

    transformers.AutoModelForCausalLM.from_pretrained = made
    try:
        yield
    finally:
        transformers.AutoModelForCausalLM.from_pretrained = theirs


def trainer_of(trinity: Any, place: Rank) -> tuple[StepTrainer, StepWorker]:
    """Trainer and worker as they are after their start, with calls in the place of Ray's."""
    config = build_verl_config(trinity)
    reference = reads_reference(trinity.algorithm)
    worker = StepWorker(config, "actor_rollout_ref" if reference else "actor_rollout")
    with random_weights(place.device):
        worker.init_model()
    trainer = StepTrainer.__new__(StepTrainer)
    trainer.global_config, trainer.config = trinity, config
    trainer.algorithm_config = trinity.algorithm
    trainer.algorithm = ALGORITHM_TYPE.get(trinity.algorithm.algorithm_type)
    trainer._fresh = not (
        trinity.algorithm.bypass_old_logprobs or trainer.algorithm.compute_advantage_in_trainer
    )
    trainer.actor_rollout_wg = SimpleNamespace(
        _dispatch_info={"actor": list(range(place.ranks))},
        update_actor=lambda data: worker.update_actor(share(data, place)),
        set_loss_fn=worker.set_loss_fn,
    )
    trainer.set_loss()
    return trainer, worker


def share(data: Any, place: Rank) -> Any:
    """This rank's part of a batch, as Ray's dispatch hands it out."""
    return tu.chunk_tensordict(data, place.ranks)[place.rank]


def reference_pass(worker: StepWorker, rows: Any, place: Rank) -> None:
    """Log-probabilities of the reference model, as VERLTrainer asks for them."""
    data = left_right_2_no_padding(StepBatch(rows, place.ranks).spread.to_tensordict())
    tu.assign_non_tensor(data, calculate_entropy=False, compute_loss=False, temperature=1.0)
    worker.compute_ref_log_prob(share(data, place))


class NoReceiver:
    """vLLM's way of sending weights, with nobody who receives them."""

    @staticmethod
    def sync_weight(iterator: Any) -> None:
        from vllm.distributed.weight_transfer import packed_tensor

        group = SimpleNamespace(broadcast=lambda tensor, src: None)
        names = ("packed_nccl_broadcast_producer", "packed_broadcast_producer")
        producer = next(
            getattr(packed_tensor, name) for name in names if hasattr(packed_tensor, name)
        )
        producer(iterator=iterator, group=group, src=0, post_iter_func=lambda item: item[1])


def watch_phases(engine: Any, place: Rank, phases: dict[str, Any]) -> None:
    """Have an engine note its memory after the passes of an update and after its optimizer."""

    def watched(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def inner(*arguments: Any, **named: Any) -> Any:
            place.reset()
            began = time.perf_counter()
            result = call(*arguments, **named)
            phases[name] = place.memory() | {"seconds": time.perf_counter() - began}
            return result

        return inner

    engine.forward_backward_batch = watched("passes", engine.forward_backward_batch)
    engine.optimizer_step = watched("optimizer", engine.optimizer_step)


@contextmanager
def micro_batches_seen() -> Iterator[list[int]]:
    """The tokens of the micro-batches that verl makes."""
    seen: list[int] = []
    theirs = transformer_impl.prepare_micro_batches

    def noted(*arguments: Any, **named: Any) -> Any:
        parts, order = theirs(*arguments, **named)
        seen.extend(int(part["input_ids"].offsets()[-1]) for part in parts)
        return parts, order

    transformer_impl.prepare_micro_batches = noted
    try:
        yield seen
    finally:
        transformer_impl.prepare_micro_batches = theirs


def measure(job: dict[str, Any], folder: Path, place: Rank) -> dict[str, Any]:
    """One point: start, reference pass, two updates, weight sync; what each of them took."""
    trinity = trinity_config(job, folder)
    tokens = trinity.trainer.max_token_len_per_gpu
    made = experiences(job, int(FILL * job["micro_batches"] * tokens * place.ranks))
    rows = batch_of(made)
    phases: dict[str, Any] = {}
    began = time.perf_counter()
    trainer, worker = trainer_of(trinity, place)
    place.clear()
    phases["start"] = place.memory() | {"seconds": time.perf_counter() - began}
    found: dict[str, Any] = {
        "tokens_per_gpu": tokens,
        "experiences": len(made),
        "tokens": sum(len(one.tokens) for one in made),
        "phases": phases,
        "reference": worker.ref is not None,
    }
    with Peaks() as peaks, micro_batches_seen() as seen:

        def phase(name: str, call: Callable[[], Any]) -> None:
            place.reset()
            began = time.perf_counter()
            call()
            phases[name] = place.memory() | {"seconds": time.perf_counter() - began}
            if place.cuda:
                # What is not torch's: the context, kernels, NCCL.
                held = used_gib()[place.gpu] - (place.others_gib or 0.0)
                phases[name]["beside"] = held - torch.cuda.memory_reserved() / GIB
                phases[name]["nvml"] = peaks.gib()[place.gpu]

        if worker.ref is not None:
            phase("reference", lambda: reference_pass(worker, rows, place))
            phase("reference again", lambda: reference_pass(worker, rows, place))
        for name in ("first update", "update"):
            inner: dict[str, Any] = {}
            watch_phases(worker.actor.engine, place, inner)
            metrics: dict[str, Any] = {}
            phase(name, lambda: trainer._update_actor(rows, metrics))  # noqa: B023
            found["mfu"] = metrics.get("perf/mfu/actor")
            for part in ("forward_backward_batch", "optimizer_step"):
                delattr(worker.actor.engine, part)
            phases |= {f"{name}: {part}": values for part, values in inner.items()}
        # Sending needs vLLM; its receivers are left out.
        if importlib.util.find_spec("vllm") is not None:
            worker.weight_transfer_engine = NoReceiver()
            # With torch's allocator as it is, also Trinity's way of sending as it is.
            sender = TrinityActorRolloutRefWorker if job["allocator"] else StepWorker
            phase("sync", lambda: sender.sync_weight_nccl(worker))
            phase("sync again", lambda: sender.sync_weight_nccl(worker))
        found["micro_batch_tokens"] = [max(seen), min(seen), len(seen)]
        if job["sites"] and place.cuda:
            few = batch_of(made[: 2 * len(made) // job["micro_batches"]])
            found["sites"] = largest_sites(lambda: trainer._update_actor(few, {}))
    if place.cuda:
        found["nvml_gib"] = peaks.gib()[place.gpu]
        # The watch may miss what lasts for less than its period.
        found["peak_gib"] = round(
            max(
                found["nvml_gib"] - (place.others_gib or 0.0),
                *(
                    part["peak_reserved"] + part["beside"]
                    for part in phases.values()
                    if "beside" in part
                ),
            ),
            2,
        )
    return found


def run(job: dict[str, Any], out: Path, place: Rank) -> dict[str, Any]:
    """A point's row; what went wrong is in it."""
    folder = out / "configs" / job["model"]
    if place.cuda and place.others_gib is None:
        place.others_gib = used_gib()[place.gpu]
    row: dict[str, Any] = {"name": job["name"], "rank": place.rank, "others_gib": place.others_gib}
    try:
        row |= {"state": "measured", **measure(job, folder, place)}
    except torch.OutOfMemoryError as error:
        row |= {"state": "out of memory", "peak_gib": None, "cause": str(error)[:600]}
        row["memory"] = place.memory()
    # One point that cannot be had must not cost the others.
    except Exception as error:
        traceback.print_exc()
        row |= {"state": "failed", "cause": f"{type(error).__name__}: {error}"[:600]}
    row["left_gib"] = place.clear()
    return row


def stand_in_for_cuda() -> None:
    """Let verl's engine run on a CPU, to try this script without a GPU."""
    from verl.workers.engine.base import EngineRegistry

    for backend in EngineRegistry._engines["language_model"].values():
        if "cuda" in backend:
            backend["cpu"] = backend["cuda"]
    torch.cuda.get_device_capability = lambda *_: (9, 0)
    none = SimpleNamespace(max_memory_allocated=lambda: 0, max_memory_reserved=lambda: 0)
    engine_workers.get_torch_device = lambda: none
    engine_workers.aggressive_empty_cache = lambda **_: None
    # Pinned memory is for a GPU to read.
    policy = transformer_impl.CPUOffloadPolicy
    transformer_impl.CPUOffloadPolicy = lambda pin_memory: policy(pin_memory=False)


def main() -> int:
    """Measure the jobs that come in."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rank", type=int, required=True)
    parser.add_argument("--ranks", type=int, required=True)
    parser.add_argument("--gpu", type=int, required=True, help="as NVML counts them")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--device", default="cuda")
    options = parser.parse_args()
    place = Rank(options.rank, options.ranks, options.gpu, options.device)
    if not place.cuda:
        stand_in_for_cuda()
        torch.set_num_threads(1)
    os.environ |= {
        "RANK": str(place.rank),
        "WORLD_SIZE": str(place.ranks),
        "LOCAL_RANK": "0",
        "WG_BACKEND": "ray",
    }
    if not place.cuda:
        torch.distributed.init_process_group("gloo")
    say({"ready": True})
    for line in sys.stdin:
        row = run(json.loads(line), options.out, place)
        say(row)
        if (row["state"] != "measured" and place.ranks > 1) or row["left_gib"] > LEFT_GIB:
            # Others may wait for this rank in a collective, or memory would be counted twice.
            break
    sys.stdout.flush()
    # Nothing of value is left, and NCCL may wait for ranks that are gone.
    os._exit(0)


if __name__ == "__main__":
    sys.exit(main())
