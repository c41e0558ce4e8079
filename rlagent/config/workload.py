"""What a step of a configuration asks of a layout; what a layout makes of it is rlagent.layout's."""

from rlagent.config.algorithms import WITHOUT_REFERENCE
from rlagent.config.schema import AUTO, LearnConfig
from rlagent.layout.workload import Workload

TYPICAL_SHARE = 0.3
"""Tokens of a usual response as a share of the longest one allowed..."""
TYPICAL_TOKENS = 1000
"""... and at most this many: few answers use a long allowance up."""
CALLS = 2.5
"""Model calls of one agent rollout."""
INSTRUCTIONS = 400
"""Tokens of the system prompt, the tools and the task."""


def workload_of(config: LearnConfig) -> Workload:
    """Return the workload of a configuration; `auto` counts as the model's recipe has it."""
    model, algorithm, hardware = config.model, config.algorithm, config.hardware
    recipe = model.recipe
    longest = _number(model.max_model_len, recipe.max_model_len)
    response = min(longest, _number(model.max_response_tokens, recipe.max_response_tokens))
    tasks = _number(algorithm.batch_size, recipe.batch_size)
    usual = max(1.0, min(TYPICAL_SHARE * response, TYPICAL_TOKENS))
    # A prompt holds what was said before: half of the rollout's responses on average.
    prompt = INSTRUCTIONS + usual * (CALLS - 1) / 2
    coefficient = algorithm.kl_coef if algorithm.kl_coef is not None else recipe.kl_coef
    if coefficient is None:
        # The algorithm's own: Trinity's KL losses all keep a reference.
        reference = algorithm.name not in WITHOUT_REFERENCE
    else:
        reference = coefficient > 0
    share = hardware.gpu_memory_utilization
    return Workload(
        max_model_len=longest,
        max_response_tokens=response,
        tasks=tasks,
        rollouts=tasks * _number(algorithm.repeat_times, recipe.repeat_times),
        calls=CALLS,
        prompt_tokens=min(prompt, max(1.0, longest - usual)),
        response_tokens=usual,
        reference=reference,
        # The algorithms' own weight is 0 (trinity/algorithm/entropy_loss_fn): shown, not learnt.
        entropy=bool(algorithm.entropy_coef),
        old_logprobs=algorithm.recompute_old_logprobs is not False,
        max_lag=algorithm.max_lag,
        sync_interval=_number(algorithm.sync_interval, recipe.sync_interval),
        utilization=None if isinstance(share, str) else share,
        graphs=not hardware.enforce_eager,
        prefix_caching=hardware.prefix_caching,
    )


def _number(value: object, otherwise: int) -> int:
    return otherwise if value == AUTO else int(str(value))
