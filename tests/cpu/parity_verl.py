"""verl's numbers of a recorded batch: its advantages, its actor loss, its optimizer, one by one."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from parity import CLIP_GRAD, LR, RUNS, WEIGHT_DECAY, Numbers, Recorded, weights_of
from torch.nn.utils.rnn import pad_sequence


def step(
    recorded: Recorded,
    estimator: str,
    loss: str,
    advantages: dict[str, Any],
    weights: dict[str, Any] | None,
    **actor: Any,
) -> Numbers:
    """A step of verl's own.

    Args:
        estimator: Name of the advantages in verl's registry.
        loss: Name of the policy loss in verl's registry.
        advantages: Further arguments of the estimator.
        weights: Of verl's correction of rollouts, with the policy's own log-probabilities as the
            old ones; None: those recorded are the old ones.
        actor: Fields of verl's ActorConfig.
    """
    from tensordict import TensorDict
    from verl.trainer.config import AlgoConfig
    from verl.trainer.ppo.core_algos import get_adv_estimator_fn
    from verl.trainer.ppo.rollout_corr_helper import compute_rollout_correction_and_rejection_mask
    from verl.utils import tensordict_utils as tu
    from verl.workers.config import ActorConfig, FSDPOptimizerConfig
    from verl.workers.config.actor import PolicyLossConfig
    from verl.workers.config.optimizer import build_optimizer
    from verl.workers.engine.fsdp.transformer_impl import FSDPEngine
    from verl.workers.utils.losses import ppo_loss

    rows = _padded(recorded)
    mask = rows["response_mask"]
    scores = torch.zeros(mask.shape)
    ends = [len(response) - 1 for response in recorded.responses]
    scores[torch.arange(len(ends)), ends] = torch.tensor(recorded.rewards)
    rows["advantages"], _ = get_adv_estimator_fn(estimator)(
        token_level_rewards=scores,
        response_mask=mask,
        index=np.arange(len(ends)) // RUNS,
        config=AlgoConfig(),
        **advantages,
    )
    model, behaviour = recorded.model(), rows["old_log_probs"]
    with torch.no_grad():
        rows["ref_log_prob"] = _response(rows, *_scores(recorded.model(policy=False), rows))[0]
        if weights is not None:
            rows["old_log_probs"] = _response(rows, *_scores(model, rows))[0]
            found, _, _ = compute_rollout_correction_and_rejection_mask(
                rows["old_log_probs"], behaviour, mask, **weights
            )
            rows |= dict(found.batch.items())
    data = TensorDict(dict(rows), batch_size=[len(ends)])
    tu.assign_non_tensor(
        data, dp_size=1, batch_num_tokens=int(mask.sum()), global_batch_size=len(ends)
    )
    log_probs, entropies = _scores(model, rows)
    config = ActorConfig(
        strategy="fsdp",
        rollout_n=RUNS,
        use_dynamic_bsz=True,
        policy_loss=PolicyLossConfig(loss_mode=loss),
        **actor,
    )
    total, metrics = ppo_loss(config, {"log_probs": log_probs, "entropy": entropies}, data)
    total.backward()
    settings = FSDPOptimizerConfig(
        lr=LR, weight_decay=WEIGHT_DECAY, betas=(0.9, 0.999), clip_grad=CLIP_GRAD
    )
    optimizer = build_optimizer(model.parameters(), settings)
    engine = SimpleNamespace(
        optimizer=optimizer, optimizer_config=settings, module=model, _qat_enabled=False
    )
    norm = FSDPEngine.optimizer_step(engine)
    values = {name: getattr(value, "values", [value])[0] for name, value in metrics.items()}
    return Numbers(
        weights=weights_of(model),
        grad_norm=float(norm),
        advantages=rows["advantages"],
        policy_loss=float(values["actor/pg_loss"]),
        kl=float(values["kl_loss"]) if config.use_kl_loss else None,
        entropy=float(values["actor/entropy_loss"]) if config.entropy_coeff else None,
        loss=float(total),
        importance=rows.get("rollout_is_weights"),
        proximal=rows["old_log_probs"],
        behaviour=behaviour,
        mask=mask.bool(),
    )


def _padded(recorded: Recorded) -> dict[str, torch.Tensor]:
    """The batch as verl lays it out: prompts padded on the left, responses on the right."""

    def left(rows: list[list[int]]) -> torch.Tensor:
        turned = [torch.tensor(row[::-1]) for row in rows]
        return pad_sequence(turned, batch_first=True).flip(1)

    def right(rows: list[list[Any]]) -> torch.Tensor:
        return pad_sequence([torch.tensor(row) for row in rows], batch_first=True)

    prompts, responses = left(recorded.prompts), right(recorded.responses)
    attention = torch.cat(
        [
            left([[1] * len(row) for row in recorded.prompts]),
            right([[1] * len(row) for row in recorded.responses]),
        ],
        1,
    )
    return {
        "prompts": prompts,
        "responses": responses,
        "input_ids": torch.cat([prompts, responses], 1),
        "attention_mask": attention,
        "position_ids": (attention.cumsum(1) - 1).clamp(min=0),
        "response_mask": right(recorded.masks),
        "old_log_probs": right(recorded.logprobs),
    }


def _scores(model: Any, rows: dict[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """Log-probability of each next token, and entropies, as verl's engine packs them."""
    from verl.utils import torch_functional

    kept = rows["attention_mask"].bool()
    logits = model(
        input_ids=rows["input_ids"],
        attention_mask=rows["attention_mask"],
        position_ids=rows["position_ids"],
    ).logits[kept]
    following = rows["input_ids"].roll(-1, 1)[kept]
    return (
        torch_functional.logprobs_from_logits(logits, following),
        # The other one has rlagent's in its place once the trainer for GPUs was here.
        torch_functional.entropy_from_logits_with_chunking(logits),
    )


def _response(rows: dict[str, torch.Tensor], *packed: torch.Tensor) -> list[torch.Tensor]:
    from verl.workers.utils.padding import no_padding_2_padding

    return [no_padding_2_padding(one, rows) for one in packed]
