"""One rank of verl's engine on a CPU: what the tests of whole steps spawn."""

import os
from pathlib import Path

import torch
import torch.distributed as dist

from rlagent.upstream import trinity_imports, verl

trinity_imports.without_vllm.apply()

from rlagent.backends.verl import logits, packed  # noqa: E402
from rlagent.backends.verl.step_batch import StepBatch  # noqa: E402
from rlagent.backends.verl.step_loss import StepLoss  # noqa: E402
from rlagent.base.paths import resolve_path  # noqa: E402
from rlagent.machine import flash_attention  # noqa: E402

EXPERIENCES = 575


def experiences(count: int) -> list:
    from trinity.common.experience import EID, Experience

    chance = torch.Generator().manual_seed(3)

    def number(low: int, high: int) -> int:
        return int(torch.randint(low, high, (1,), generator=chance))

    made = []
    for index in range(count):
        prompt, response = number(3, 20), number(1, 16)
        tokens = torch.randint(5, 400, (prompt + response,), generator=chance)
        mask = torch.rand(response, generator=chance) < 0.9
        mask[-1] = True
        made.append(
            Experience(
                eid=EID(batch=0, task=index // 8, run=index),
                tokens=tokens,
                prompt_length=prompt,
                reward=1.0,
                logprobs=-torch.rand(response, generator=chance) * 5,
                action_mask=mask,
                advantages=torch.randn(1, generator=chance).expand(response) * mask,
                returns=torch.zeros(response),
            )
        )
    return made


def algorithm(mode: str):
    from trinity.common.config import AlgorithmConfig

    policy = {"clip_range": 0.2, "loss_agg_mode": mode}
    return AlgorithmConfig(
        algorithm_type="multi_step_grpo",
        policy_loss_fn="ppo",
        policy_loss_fn_args=policy,
        kl_loss_fn="none",
        kl_loss_fn_args={},
        entropy_loss_fn="default",
        entropy_loss_fn_args={"entropy_coef": 0.01},
        loss_agg_mode=mode,
    )


def engine_on_cpu(remove_padding: bool, model: str | Path = "builtin:tiny"):
    """verl's FSDP engine with a plain module in the place of a sharded one."""
    from transformers import AutoModelForCausalLM
    from trinity.trainer.verl.monkey_patch import patch_verl_engine
    from verl.workers.config.engine import FSDPEngineConfig
    from verl.workers.engine.fsdp.transformer_impl import FSDPEngineWithLMHead

    patch_verl_engine()
    verl.torch_padding.apply()
    packed.register()
    engine = FSDPEngineWithLMHead.__new__(FSDPEngineWithLMHead)
    engine.ulysses_device_mesh = None
    engine.ulysses_sequence_parallel_size = 1
    engine.use_ulysses_sp = False
    engine.engine_config = FSDPEngineConfig()
    engine._autocast_dtype = torch.float32
    engine.scaler = None
    logits.use_in_verl(True, engine)
    engine.module = AutoModelForCausalLM.from_pretrained(
        resolve_path(str(model)),
        dtype=torch.float32,
        attn_implementation=flash_attention.PACKED if remove_padding else "sdpa",
    )
    return engine


def rows_of(count: int):
    from trinity.trainer.verl.utils import to_data_proto

    rows = to_data_proto(experiences(count), 0, object(), None)
    rows.batch["old_log_probs"] = rows.batch["rollout_log_probs"]
    rows.meta_info["global_token_num"] = rows.batch["attention_mask"].sum(-1).tolist()
    return rows


def update(rank: int, ranks: int, tokens: int, mode: str, packs: bool, fresh: bool, out: str):
    """What one rank does in an update, as TrainingWorker.train_mini_batch does it."""
    from trinity.trainer.verl.monkey_patch import left_right_2_no_padding
    from verl.utils import tensordict_utils as tu

    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": os.environ["TEST_PORT"]}
    torch.set_num_threads(1)
    dist.init_process_group("gloo", rank=rank, world_size=ranks)
    engine = engine_on_cpu(packs)
    rows = rows_of(EXPERIENCES)
    spread = StepBatch(rows, ranks).spread
    data = left_right_2_no_padding(spread.to_tensordict())
    tu.assign_non_tensor(
        data,
        calculate_entropy=True,
        global_batch_size=len(rows),
        mini_batch_size=len(spread),
        temperature=1.0,
        compute_loss=True,
        use_dynamic_bsz=True,
        use_remove_padding=packs,
        max_token_len_per_gpu=tokens,
    )
    mine = tu.chunk_tensordict(data, ranks)[rank]
    output = engine.forward_backward_batch(mine, StepLoss(algorithm(mode), fresh))
    total = output["metrics"]
    gathered = [None] * ranks
    dist.all_gather_object(gathered, total)
    grads = {}
    for name, parameter in engine.module.named_parameters():
        grad = parameter.grad.clone()
        # As FSDP does.
        dist.all_reduce(grad)
        grads[name] = grad / ranks
    if rank == 0:
        from verl.utils.metric import Metric

        metrics = {name: Metric.aggregate_dp([one[name] for one in gathered]) for name in total}
        torch.save({"grads": grads, "metrics": metrics, "micro": len(output["loss"])}, out)
    dist.destroy_process_group()
