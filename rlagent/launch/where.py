"""Where the time of a step goes: idle shares, and achieved against peak arithmetic of the GPUs.

Pure: from a role's metrics of a step to a few numbers more. Seconds are measured by the roles.
"""

from collections.abc import Mapping

from rlagent.backends.registry import engine_named
from rlagent.config.resolve import Resolved
from rlagent.config.schema import AUTO
from rlagent.planner.fit import parameters
from rlagent.planner.gpus import find_gpu


def peak_flops(resolved: Resolved) -> float | None:
    """Dense bf16 FLOP/s of one GPU of the run at most; None on a CPU, and where it is assumed."""
    if not engine_named(resolved.config.hardware.engine).on_gpus:
        return None
    # What is here counts, whatever kind was named to plan for.
    name = AUTO if resolved.machine.gpus else resolved.config.hardware.gpu
    found = find_gpu(name, resolved.machine)
    return None if found.assumed else found.kind.flops


def trainer_shares(metrics: Mapping[str, float], resolved: Resolved) -> dict[str, float]:
    """`idle/trainer` in [0, 1] and, on known GPUs, `perf/mfu/trainer` of a trained step.

    The arithmetic is 6 FLOP per parameter and trained token (arXiv:2001.08361, 2.1); attention
    and what is computed again for memory's sake do not count.
    """
    found: dict[str, float] = {}
    whole, busy = metrics.get("time/trainer_step"), metrics.get("time/train_step")
    if not whole or busy is None:
        return found
    found["idle/trainer"] = max(0.0, 1 - busy / whole)
    peak, tokens = peak_flops(resolved), metrics.get("tokens/trained")
    if peak and tokens and busy:
        done = 6 * parameters(resolved.config.model.shape) * tokens
        found["perf/mfu/trainer"] = done / (busy * resolved.layout.trainer_gpus * peak)
    return found


def rollout_shares(metrics: Mapping[str, float], resolved: Resolved) -> dict[str, float]:
    """How an explored step was spent.

    Returns:
        `time/rollout` and `time/agent`: the step's seconds, split as its rollouts spent theirs on
        the model and on everything else; `idle/rollout` in [0, 1]: what the engines waited for
        weights; on known GPUs `perf/mfu/rollout`, at 2 FLOP per parameter and generated token.
        Empty for rows that are no explored step.
    """
    whole = metrics.get("time/explore_step")
    model = metrics.get("rollout/model_seconds/mean")
    if not whole or model is None:
        return {}
    agent = metrics.get("rollout/agent_seconds/mean", 0.0)
    share = model / (model + agent) if model + agent else 1.0
    waited = metrics.get("time/explorer_sync", 0.0)
    found = {
        "time/rollout": whole * share,
        "time/agent": whole * (1 - share),
        "idle/rollout": waited / (whole + waited),
    }
    peak, each = peak_flops(resolved), metrics.get("rollout/response_tokens/mean")
    if peak and each:
        tokens = each * metrics.get("rollout/rollouts", 0.0)
        done = 2 * parameters(resolved.config.model.shape) * tokens
        found["perf/mfu/rollout"] = done / (whole * resolved.layout.rollout_gpus * peak)
    return found
