"""The verl trainer of GPUs with its workers' engine on a CPU, in one process."""

import asyncio
import math
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
import torch.distributed as dist
from verl.workers.engine_workers import TrainingWorker
from verl_ranks import engine_on_cpu, experiences


def trinity_tree(*overrides: str) -> dict[str, Any]:
    """Trinity's configuration for two GPUs, as nested dicts."""
    from configured import configured

    from rlagent.config.resolve import resolve
    from rlagent.machine.resources import GPU, Machine
    from rlagent.trinity import translate

    machine = Machine((GPU("NVIDIA H200", 141.0),) * 2, 16, 128, flash_attention=None)
    config = configured("hardware=2gpu", "model=tiny", *overrides)
    return translate.to_trinity(resolve(config, machine), "/tmp/never-written")


def trinity_config(*overrides: str) -> Any:
    """Trinity's configuration for two GPUs."""
    from rlagent.trinity import build

    return build.build(trinity_tree(*overrides))


def step_trainer(trinity: Any, model: str | Path = "builtin:tiny") -> Any:
    """A StepTrainer as VERLTrainer's constructor leaves it, with one worker that is no actor.

    Args:
        trinity: As from `trinity_config`.
        model: Folder of the policy's first weights, which the reference model keeps.
    """
    from trinity.algorithm import ADVANTAGE_FN, ALGORITHM_TYPE, KL_FN
    from trinity.trainer.verl.config import build_verl_config
    from verl.workers.config import FSDPOptimizerConfig
    from verl.workers.config.optimizer import build_optimizer

    from rlagent.backends.verl.trainer import StepTrainer
    from rlagent.backends.verl.worker import held_rate

    settings = build_verl_config(trinity)
    worker = _worker(trinity.trainer.use_remove_padding, model)
    engine = worker.engine
    optim = settings.actor.optim
    engine.optimizer_config = FSDPOptimizerConfig(
        lr=optim.lr, weight_decay=optim.weight_decay, betas=optim.betas, clip_grad=optim.clip_grad
    )
    engine.optimizer = build_optimizer(engine.module.parameters(), engine.optimizer_config)
    engine.lr_scheduler = torch.optim.lr_scheduler.ConstantLR(engine.optimizer, factor=1.0)

    def called(method: Any, by: Any = worker) -> Any:
        def call(data: Any) -> Any:
            with held_rate(engine, data):
                return method.__wrapped__(by, data)

        return call

    trainer = StepTrainer.__new__(StepTrainer)
    trainer.global_config = trinity
    trainer.config = settings
    trainer.algorithm_config = trinity.algorithm
    trainer.algorithm = ALGORITHM_TYPE.get(trinity.algorithm.algorithm_type)
    if trainer.algorithm.compute_advantage_in_trainer:
        ours = trinity.algorithm
        trainer.advantage_fn = ADVANTAGE_FN.get(ours.advantage_fn)(**ours.advantage_fn_args)
        trainer.kl_fn = KL_FN.get(ours.kl_penalty_fn)(**ours.kl_penalty_fn_args)
    trainer.use_critic = False
    trainer.ref_in_actor = False
    trainer.use_reference_policy = trainer.algorithm.use_reference
    trainer.set_updates()
    trainer.global_steps = 0
    trainer.logger = SimpleNamespace(warning=print, info=print)
    trainer.tokenizer = SimpleNamespace(pad_token_id=0)
    trainer.empty_model = object()
    trainer.resource_pool_manager = SimpleNamespace(get_n_gpus=lambda: 1)
    trainer.actor_rollout_wg = SimpleNamespace(
        _dispatch_info={"actor": [0]},
        update_actor=called(TrainingWorker.train_mini_batch),
        compute_log_prob=called(TrainingWorker.infer_batch),
        set_loss_fn=lambda loss: setattr(worker, "loss_fn", loss),
    )
    if trainer.use_reference_policy:
        reference = _worker(trinity.trainer.use_remove_padding, model)
        trainer.ref_policy_wg = SimpleNamespace(
            _dispatch_info={"ref": [0]},
            compute_ref_log_prob=called(TrainingWorker.infer_batch, reference),
        )
    trainer.set_loss()
    return trainer, engine


def _worker(packs: bool, model: str | Path) -> TrainingWorker:
    """A worker of verl with a model on the CPU."""
    engine = engine_on_cpu(packs, model)
    engine._is_offload_param = engine._is_offload_optimizer = False
    engine._qat_enabled = False
    engine.ulysses_parallel_group = None
    worker = TrainingWorker.__new__(TrainingWorker)
    worker.engine = engine
    worker.model_config = {"use_remove_padding": packs}
    worker.engine_config = engine.engine_config
    worker.engine_config.max_token_len_per_gpu = 4000
    worker.engine_config.infer_max_token_len_per_gpu = 4000
    worker.flops_counter, worker.device_name = None, "cpu"
    return worker


def train_steps(rank: int, overrides: tuple[str, ...], counts: list[int], out: str) -> None:
    """Train steps of so many experiences and save their metrics; in one with a count below 0 an
    experience has an advantage that is no number."""
    import verl.workers.engine_workers as workers

    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": os.environ["TEST_PORT"]}
    dist.init_process_group("gloo", rank=rank, world_size=1)
    # Memory is asked of a GPU.
    none = SimpleNamespace(max_memory_allocated=lambda: 0, max_memory_reserved=lambda: 0)
    workers.get_torch_device = lambda: none
    trainer, engine = step_trainer(trinity_config(*overrides))
    rows = []
    for count in counts:
        before = [p.detach().clone() for p in engine.module.parameters()]
        made = experiences(abs(count))
        for each in made[: 1 if count < 0 else 0]:
            each.advantages = each.advantages * math.nan
        metrics = asyncio.run(trainer.train_step(made))
        moved = any(
            not torch.equal(a, b) for a, b in zip(before, engine.module.parameters(), strict=True)
        )
        rate = engine.lr_scheduler.last_epoch
        step = trainer.train_step_num
        rows.append({"metrics": metrics, "moved": moved, "step": step, "rate": rate})
    torch.save(rows, out)
    dist.destroy_process_group()
