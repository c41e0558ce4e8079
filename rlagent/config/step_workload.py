"""What a step of a configuration asks of a layout; rlagent.planner says what one makes of it."""

from rlagent.config.algorithms import ADVANTAGES_IN_TRAINER, WITHOUT_REFERENCE
from rlagent.config.schema import AUTO, AlgorithmConfig, LearnConfig
from rlagent.planner.shape import adapter_parameters
from rlagent.planner.workload import Workload

REFILLED = 2
"""Groups explored for one that is not dead, where nothing is known of their rewards."""

TOKENS_PER_GPU = "trainer.max_token_len_per_gpu"
"""Trinity's key for the tokens of one micro-batch of the trainer on one GPU."""


def asked_tokens_per_gpu(config: LearnConfig) -> int | None:
    """Return the tokens of a micro-batch if `trinity` sets them, else None.

    Where micro-batches have a fixed number of sequences nobody reads them.
    """
    role, name = TOKENS_PER_GPU.split(".")
    trainer = config.trinity.get(role) or {}
    asked = trainer.get(name)
    return asked if isinstance(asked, int) and trainer.get("use_dynamic_bsz", True) else None


def several_updates(algorithm: AlgorithmConfig) -> bool:
    """Return whether a step updates the weights more than once."""
    return algorithm.updates_per_step > 1 or algorithm.epochs_per_step > 1


def workload_of(config: LearnConfig) -> Workload:
    """Return the workload of a configuration; `auto` counts as the model's recipe has it."""
    model, algorithm, hardware = config.model, config.algorithm, config.hardware
    recipe = model.recipe
    longest = _number(model.max_model_len, recipe.max_model_len)
    response = min(longest, _number(model.max_response_tokens, recipe.max_response_tokens))
    tasks = _number(algorithm.batch_size, recipe.batch_size)
    coefficient = algorithm.kl_coef if algorithm.kl_coef is not None else recipe.kl_coef
    reference = algorithm.name not in WITHOUT_REFERENCE
    if coefficient is not None:
        reference = coefficient > 0
    share = hardware.gpu_memory_utilization
    return Workload.usual(
        longest,
        response,
        tasks=tasks,
        rollouts=tasks * _number(algorithm.repeat_times, recipe.repeat_times),
        explored=explored(algorithm),
        tokens_per_gpu=asked_tokens_per_gpu(config),
        reference=reference,
        # The algorithms' own weight is 0 (trinity/algorithm/entropy_loss_fn): shown, not learnt.
        entropy=bool(algorithm.entropy_coef),
        # Else the loss takes them from its own forward pass.
        old_logprobs=(
            algorithm.recompute_old_logprobs is not False
            and (algorithm.name in ADVANTAGES_IN_TRAINER or several_updates(algorithm))
        ),
        max_lag=algorithm.max_lag,
        sync_interval=_number(algorithm.sync_interval, recipe.sync_interval),
        utilization=None if isinstance(share, str) else share,
        graphs=not hardware.enforce_eager,
        prefix_caching=hardware.prefix_caching,
        adapter=(
            adapter_parameters(model.shape, model.lora.rank, model.lora.target_modules)
            if model.lora.rank is not None
            else 0
        ),
    )


def explored(algorithm: AlgorithmConfig) -> float:
    """Return how many rollouts are explored for one that is trained on, as it is planned with.

    How many groups will be dead is not known before: of a refilled step half, as far as its limit
    allows.
    """
    refills = algorithm.filter_groups == "refill"
    return float(min(REFILLED, algorithm.refill_limit)) if refills else 1.0


def _number(value: object, otherwise: int) -> int:
    return otherwise if value == AUTO else int(str(value))
