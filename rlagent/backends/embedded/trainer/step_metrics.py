"""What a training step says about its experiences, under Trinity's and verl's names.

Pure functions over experiences; losses and times are measured where they arise.
"""

from typing import Any, Dict, Sequence

import torch


def data_metrics(experiences: Sequence[Any], step: int) -> Dict[str, float]:
    """Rewards, advantages, lengths and staleness of a step's experiences.

    Args:
        experiences: Trinity's Experience objects.
        step: Training step that uses them; experiences sampled with the weights of step - 1 have
            a lag of 0.

    Returns:
        critic/*, response_length/*, prompt_length/*, sample/* and perf/total_num_tokens.
    """
    metrics: Dict[str, float] = {"sample/experiences": float(len(experiences))}
    rewards = [float(e.reward) for e in experiences if e.reward is not None]
    metrics.update(_spread("critic/score", rewards))
    metrics.update(_spread("critic/rewards", rewards))
    given = [e.advantages for e in experiences if e.advantages is not None]
    masks = [e.action_mask for e in experiences if e.advantages is not None]
    if given:
        chosen = [a[m.bool()] for a, m in zip(given, masks, strict=True)]
        metrics.update(_spread("critic/advantages", torch.cat(chosen).tolist()))
    prompts = [float(e.prompt_length) for e in experiences]
    responses = [float(max(0, len(e.tokens) - e.prompt_length)) for e in experiences]
    metrics.update(_spread("prompt_length", prompts))
    metrics.update(_spread("response_length", responses))
    metrics["perf/total_num_tokens"] = sum(prompts) + sum(responses)
    versions = [e.info["model_version"] for e in experiences if "model_version" in e.info]
    if versions:
        lags = [step - 1 - int(version) for version in versions]
        metrics["sample/lag"] = sum(lags) / len(lags)
        metrics["sample/lag/max"] = float(max(lags))
    return metrics


def agreement_metrics(gaps: Sequence[torch.Tensor]) -> Dict[str, float]:
    """How far the trainer's probabilities of the actions are from the rollout engine's.

    Args:
        gaps: Absolute differences of probabilities, per micro-batch, shape (actions,).
    """
    if not gaps:
        return {}
    together = torch.cat(list(gaps))
    return {
        "training/rollout_probs_diff_mean": together.mean().item(),
        "training/rollout_probs_diff_max": together.max().item(),
    }


def _spread(name: str, values: Sequence[float]) -> Dict[str, float]:
    if not values:
        return {}
    return {
        f"{name}/mean": sum(values) / len(values),
        f"{name}/max": max(values),
        f"{name}/min": min(values),
    }
