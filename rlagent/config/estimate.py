"""Rough numbers to warn with before a run starts: gigabytes to download, minutes to train.

Right within a factor of about three; nothing is decided by them.
"""

import os
from pathlib import Path
from typing import TYPE_CHECKING

from rlagent.backends.registry import engine_named
from rlagent.base.model_shape import ModelShape
from rlagent.base.paths import local_path
from rlagent.config.batch import KNOWN_ROWS
from rlagent.config.held_out import known_notes
from rlagent.config.mix import parts_of
from rlagent.config.schema import AUTO, LearnConfig
from rlagent.config.step_workload import explored, workload_of
from rlagent.config.task_files import is_function
from rlagent.machine.resources import Machine
from rlagent.planner.fit import parameters
from rlagent.planner.gpus import find_gpu
from rlagent.planner.layout import Layout
from rlagent.planner.time import StepTime, step_time

if TYPE_CHECKING:
    from rlagent.config.resolve import Resolved

LONG_RUN_MINUTES = 10.0
PREFLIGHT_MINUTES = 30.0
"""Estimated minutes of a run from which its signal is sampled first."""
EXPLORING = 0.4
"""Share of a step that exploring takes, where no planner says."""
_TYPICAL_SHARE = 0.3
"""Tokens of a usual response as a share of the longest one allowed..."""
_TYPICAL_TOKENS = 1000
"""... and at most this many: few answers use a long allowance up."""
_CALLS = 2.5
"""Model calls of one agent rollout."""


def hub_cache() -> Path:
    """Return the Hugging Face cache folder, as huggingface_hub finds it."""
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    home = os.environ.get("HF_HOME") or f"{cache}/huggingface"
    return Path(os.environ.get("HF_HUB_CACHE") or f"{home}/hub").expanduser()


def is_cached(hub_id: str, kind: str = "models") -> bool:
    """Return whether a hub model or dataset (`datasets`) is in the local cache."""
    folder = hub_cache() / f"{kind}--{hub_id.replace('/', '--')}" / "snapshots"
    return folder.is_dir() and any(folder.iterdir())


def download_gb(path: str, shape: ModelShape) -> float:
    """Return the GB (1e9 bytes) that a model still has to be downloaded; 0 when it is here."""
    if local_path(path) is not None or is_cached(path):
        return 0.0
    return parameters(shape) * 2 / 1e9


def planned_step(config: LearnConfig, layout: Layout, machine: Machine) -> StepTime | None:
    """Return the planner's estimate of a step of the resolved run; None where it has none.

    It has none without GPUs, for a native YAML, which is taken as written,
    and for a model whose shape is not known.
    """
    hardware, shape = config.hardware, config.model.shape
    native = bool(getattr(config, "native", None))
    if not engine_named(hardware.engine).on_gpus or native or not shape.layers:
        return None
    kind = find_gpu(hardware.gpu, machine).kind
    work = workload_of(config)
    return step_time(shape, layout, work, kind, bool(hardware.offload), int(hardware.gpus))


def run_minutes(
    config: LearnConfig, layout: Layout, cores: int, planned: StepTime | None = None
) -> float:
    """Return roughly how many minutes the resolved run takes, start and evaluation included.

    Args:
        config: Without `auto`.
        layout: The layout it runs on.
        cores: CPU cores of the machine.
        planned: The planner's estimate of a step; None: a rougher one is made here.
    """
    algorithm = config.algorithm
    rollouts = int(algorithm.batch_size) * int(algorithm.repeat_times)
    if planned is None:
        step = rough_step_seconds(config, layout, cores)
        explore = EXPLORING * step
    else:
        step, explore = planned.step, planned.rollout + planned.agent
    evaluations = 2.0 * bool(layout.engines)
    if layout.engines and algorithm.eval_interval:
        evaluations += int(algorithm.total_steps) / algorithm.eval_interval
    # An evaluation generates but does not train.
    asked = (config.dataset.eval_tasks or 1000) * config.evaluate.samples
    evaluation = explore * asked / (rollouts * explored(algorithm))
    start = engine_named(config.hardware.engine).start_seconds
    return (start + step * int(algorithm.total_steps) + evaluation * evaluations) / 60


def planned_parts(config: LearnConfig, layout: Layout, machine: Machine) -> tuple[float, float]:
    """Return the estimated seconds of exploring a step, and of all else in it."""
    planned = planned_step(config, layout, machine)
    if planned is not None:
        return planned.explore, planned.learn + planned.sync
    step = rough_step_seconds(config, layout, machine.cores)
    return EXPLORING * step, (1 - EXPLORING) * step


def preflight_asked(resolved: "Resolved") -> bool:
    """Return whether the signal of a run is sampled before it: as asked, else of long runs."""
    config = resolved.config
    asked = config.run.preflight
    if asked != AUTO:
        return bool(asked)
    if getattr(resolved.composed, "native", None) or not resolved.layout.engines:
        return False
    planned = planned_step(config, resolved.layout, resolved.machine)
    minutes = run_minutes(config, resolved.layout, resolved.machine.cores, planned)
    return minutes > PREFLIGHT_MINUTES


def roughly(minutes: float) -> str:
    """Return a rough duration in words.

    >>> roughly(0.7), roughly(20.2), roughly(570)
    ('1 minute', '20 minutes', '10 hours')
    """
    if minutes >= 120:
        return f"{minutes / 60:.0f} hours"
    count = max(1, round(minutes))
    return f"{count} minute{'' if count == 1 else 's'}"


def warnings_of(config: LearnConfig, layout: Layout, machine: Machine) -> list[str]:
    """Return what is downloaded, how long the run takes where that is long, and small updates."""
    found = small_updates(config)
    model = config.model.path
    if config.model.url is None and local_path(model) is None and not is_cached(model):
        size = download_gb(model, config.model.shape)
        amount = f"about {size:.1f} GB" if size else "size unknown"
        found.append(f"downloads {model} from the Hugging Face hub: {amount}")
    for dataset in (part.dataset.path for part in parts_of(config.dataset)):
        is_here = is_function(dataset) or local_path(dataset) is not None
        if not is_here and not is_cached(dataset, "datasets"):
            known = any(path == dataset for path, _ in KNOWN_ROWS)
            amount = "below 0.1 GB" if known else "size unknown"
            found.append(f"downloads the dataset {dataset} from the Hugging Face hub: {amount}")
    if not layout.trainer_gpus:
        return found
    # Of conversations loss is measured, which moves in no steps.
    for part in parts_of(config.dataset) if layout.engines else ():
        found += known_notes(part.dataset)
    planned = planned_step(config, layout, machine)
    minutes = run_minutes(config, layout, machine.cores, planned)
    if minutes > LONG_RUN_MINUTES:
        found.append(f"takes roughly {roughly(minutes)} ({config.algorithm.total_steps} steps)")
    return found


def small_updates(config: LearnConfig) -> list[str]:
    """Say so where a fixed batch is larger than what exploring may make for it."""
    algorithm = config.algorithm
    fixed = algorithm.train_batch_size
    rollouts = int(algorithm.batch_size) * int(algorithm.repeat_times)
    if not isinstance(fixed, int) or fixed <= rollouts:
        return []
    return [
        f"algorithm.train_batch_size={fixed} is more than the {rollouts} rollouts of a step: where "
        "each calls the model once, updates take fewer, and some none; `auto` takes what there is"
    ]


def rough_step_seconds(config: LearnConfig, layout: Layout, cores: int) -> float:
    """Return roughly how many seconds a step of the resolved run takes; arguments as above."""
    rollouts = int(config.algorithm.batch_size) * int(config.algorithm.repeat_times)
    rollouts = round(rollouts * explored(config.algorithm))
    size = max(parameters(config.model.shape), 1_000_000)
    per_call = min(_TYPICAL_SHARE * int(config.model.max_response_tokens), _TYPICAL_TOKENS)
    per_rollout = _CALLS * per_call
    tokens = rollouts * per_rollout
    # 2 operations per parameter and token forwards, 6 with the backward pass, 8 with the old
    # log-probabilities; the prompt counts about as much as the response.
    training = 8 * size * tokens * 2
    engine = engine_named(config.hardware.engine)
    return engine.rough_seconds(size, tokens, per_rollout, training, layout, cores)
