"""Fills every `auto` from what the machine has, and says what was chosen.

Pure: the machine is an argument, so invented ones can be tested. `KEPT` names the settings whose
`auto` is left for the launch, since they follow the environment of that moment.
"""

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from rlagent.backends.registry import automatic_engine, engine_by_url
from rlagent.base.errors import raise_if_any
from rlagent.base.origins import FILLED, get, is_written, origin_of, origins, put
from rlagent.base.paths import BUILTIN, expand_user, local_path
from rlagent.config.batch import Batch, arithmetic, rows_learnt
from rlagent.config.check import LAYOUT_PARTS
from rlagent.config.estimate import warnings_of
from rlagent.config.identity import trial_id
from rlagent.config.load import training_tasksets
from rlagent.config.off_policy import resolve_off_policy
from rlagent.config.overruled import overruled_choices
from rlagent.config.parents import Parent, root_of
from rlagent.config.presets import dataset_preset, overlay
from rlagent.config.resolution import Resolution
from rlagent.config.resolve_model import resolve_model_and_layout
from rlagent.config.resolve_offload import resolve_offload
from rlagent.config.resolved_checks import resolved_problems
from rlagent.config.schema import AUTO, LearnConfig
from rlagent.config.spec import Spec, spec_of
from rlagent.config.supervised import EPOCHS, RATE, is_supervised, tasks_of
from rlagent.config.trinity_checks import as_in_native, native_problems, set_aside
from rlagent.machine.resources import Machine
from rlagent.planner.constants import MOST_SHARE
from rlagent.planner.gpus import ASSUMED, find_gpu, nearest
from rlagent.planner.layout import Layout

KEPT = (
    "hardware.ray",
    "monitor.mode",
    "run.display",
    "run.stall_timeout",
    "run.preflight",
    "algorithm.train_batch_size",
    "algorithm.group_by",
    "sweep.max_parallel",
    "sweep.memory_gib",
    "sweep.n_trials",
    "evaluate.name",
)
"""Settings that stay `auto`: the first three follow cluster, key and terminal at launch, the fourth
the steps that were trained, the fifth the estimated time; an `auto` train_batch_size means every
experience of the step; what is grouped by follows the rewards that come; of the sweep's, two are
shared out among trials, and of trials a search knows the number; the name of an
evaluation follows from all that it depends on."""

WITH_CRITIC = ("ppo",)
"""Trinity's algorithms that train a critic beside the model."""

LORA_RATE = 10
"""Times the learning rate of the whole model that an adapter is trained with where no recipe says
(Schulman et al., LoRA Without Regret, 2025: about ten, whatever the rank)."""

_RECIPE_KEYS = (
    "model.max_model_len",
    "model.max_response_tokens",
    "algorithm.lr",
    "algorithm.batch_size",
    "algorithm.repeat_times",
    "algorithm.sync_interval",
)


@dataclass(frozen=True)
class Resolved:
    """A configuration that can be run as it stands.

    Args:
        config: Without `auto`, but for KEPT.
        layout: Who uses which GPUs; without GPUs, its processes.
        machine: What it was resolved for.
        choices: What was chosen and how to choose otherwise, one line each.
        model_dir: The model's local folder; None when it comes from the hub.
        batch: The batch arithmetic.
        trial_id: Identity of the trial, from the configuration before it was resolved.
        composed: The configuration before it was resolved.
        warnings: Downloads and long durations, one line each.
        parent: The checkpoint of another run that it starts from; None without one.
        measuring: The same for measuring held-out success before and after training, where no
            engine runs in training; None: it is measured in training, or not.
    """

    config: LearnConfig
    layout: Layout
    machine: Machine
    choices: list[str]
    model_dir: str | None
    batch: Batch
    trial_id: str
    composed: LearnConfig
    warnings: list[str] = field(default_factory=list)
    parent: Parent | None = None
    measuring: "Resolved | None" = None


def resolve(
    config: LearnConfig,
    machine: Machine,
    config_dirs: Sequence[str] = (),
    plan_only: bool = False,
    measures: bool = False,
) -> Resolved:
    """Fill every `auto`.

    Args:
        config: As composed; it is not changed.
        machine: What there is.
        config_dirs: Folders of further presets, in which `model.candidates` may lie.
        plan_only: Do not ask whether this machine has the GPUs.
        measures: Whether nothing is trained: all GPUs are the engines'.

    Raises:
        ConfigError: When something asked for does not fit; with every such mistake.
    """
    written = getattr(config, "native", None)
    native = bool(written)
    resolution = Resolution(
        copy.deepcopy(config), machine, config_dirs, plan_only, native, measures
    )
    _expand_home(resolution.config, spec_of(LearnConfig))
    _hardware(resolution)
    if written:
        _native(resolution, written)
    layout = resolve_model_and_layout(resolution)
    _dataset(resolution)
    _recipe(resolution)
    _engine_settings(resolution, layout)
    _adapter(resolution)
    _rhythm(resolution)
    _evaluations(resolution)
    if not native:
        resolution.problems += resolved_problems(resolution.config, layout, measures)
        for choice in overruled_choices(resolution.config):
            resolution.chose(*choice)
    problems = resolution.problems
    measuring = None
    if resolution.alone and config.evaluate.dataset and not problems:
        measuring = resolve(
            _measured(config, config_dirs), machine, config_dirs, plan_only, measures=True
        )
        if measuring.layout.total_gpus > layout.total_gpus:
            # Ray has the GPUs of the trainer's layout.
            tensor = measuring.layout.tensor_parallel
            fewer = _measured(config, config_dirs, f"{layout.total_gpus // tensor}x{tensor}")
            measuring = resolve(fewer, machine, config_dirs, plan_only, measures=True)
        words = (
            f"success of {measuring.config.dataset.name} before and after, on {measuring.layout}"
        )
        resolution.chose("held-out tasks", words, "evaluate.dataset")
    raise_if_any(as_in_native(problems) if native else problems)
    local, parent = local_path(resolution.config.model.path), resolution.parent
    return Resolved(
        config=resolution.config,
        layout=layout,
        machine=machine,
        choices=resolution.choices,
        model_dir=str(local) if local else None,
        batch=arithmetic(resolution.config),
        trial_id=trial_id(config, resolution.kept, parent.place if parent else None),
        composed=config,
        warnings=warnings_of(resolution.config, layout, machine),
        parent=parent,
        measuring=measuring,
    )


def _measured(config: LearnConfig, config_dirs: Sequence[str], layout: str = AUTO) -> LearnConfig:
    """Return the configuration by which a run on conversations measures held-out success: on the
    tasks of evaluate.dataset, with all GPUs for engines."""
    found = copy.deepcopy(config)
    found.dataset = tasks_of(config, config_dirs)
    put(found, "hardware.layout", layout, None)
    for part in LAYOUT_PARTS:
        put(found, f"hardware.{part}", None, None)
    return found


def _expand_home(section: Any, spec: Spec) -> None:
    """Replace `~` in every field that names a path, in place."""
    for name, child in spec.fields.items():
        value = getattr(section, name)
        if child.kind == "struct":
            _expand_home(value, child)
        elif child.kind == "list" and child.item is not None:
            for item in value if child.item.fields else ():
                _expand_home(item, child.item)
        elif child.limits is not None and child.limits.path and str(value).startswith("~"):
            # The same path in another form: where it was written stays noted.
            vars(section)[name] = str(expand_user(value))


def _hardware(resolution: Resolution) -> None:
    hardware, machine = resolution.config.hardware, resolution.machine
    found = len(machine.gpus)
    if hardware.engine == AUTO and resolution.config.model.url is not None:
        resolution.fill("hardware.engine", engine_by_url().name, "model.url runs the model")
    if hardware.engine == AUTO:
        wanted = hardware.gpus if isinstance(hardware.gpus, int) else found
        engine = automatic_engine(on_gpus=bool(wanted and not hardware.logical_gpus))
        why = "no GPU was asked for" if found else "no GPU was found"
        why = "there are GPUs" if engine.on_gpus else why
        resolution.fill("hardware.engine", engine.name, why)
        words = engine.words
        if resolution.alone:
            words = f"the trainer alone ({engine.trainer})"
        if engine.on_gpus:
            gpus = f"{wanted} GPU{'' if wanted == 1 else 's'}"
            where = machine.words() if found else f"{gpus} a node, none of them here"
            resolution.chose("hardware", f"{words} on {where}", "hardware=cpu")
        else:
            resolution.chose("hardware", f"{words}: {why}", "hardware=1gpu")
    if not resolution.engine.trainer and not resolution.measures:
        remedy = "take an engine with a trainer, or auto"
        resolution.refuse("hardware.engine", hardware.engine, resolution.engine.no_trainer, remedy)
        hardware.engine = automatic_engine(on_gpus=False).name
    on_gpus = resolution.on_gpus
    if hardware.gpus == AUTO:
        why = "those of this machine" if on_gpus else "the engine uses none"
        resolution.fill("hardware.gpus", found if on_gpus else 0, why)
    if resolution.native and not on_gpus:
        # The engines and nodes of a native YAML are made of GPUs.
        resolution.fill("hardware.nodes", 1, "the engine runs on one node")
        for name in LAYOUT_PARTS:
            put(hardware, name, None, None)
    if hardware.nodes == AUTO:
        why = "those of the Ray cluster, or one" if on_gpus else "the engine runs on one"
        resolution.fill("hardware.nodes", machine.nodes if on_gpus else 1, why)
    if on_gpus:
        _gpus_are_here(resolution)
    elif hardware.nodes != 1:
        what = f"the {hardware.engine} engine runs on one node"
        resolution.refuse("hardware.nodes", hardware.nodes, what, "leave it out")
    if hardware.gpu == AUTO:
        names = sorted({gpu.name for gpu in machine.gpus})
        if not names and on_gpus:
            resolution.chose("GPU", find_gpu(AUTO, machine).assumed, "hardware.gpu=h200-141g")
        gpu, why = (names or [ASSUMED.name])[0], "that of this machine" if names else "assumed"
        if not on_gpus:
            gpu, why = "none", "the engine uses none"
        resolution.fill("hardware.gpu", gpu, why)
    elif on_gpus or hardware.gpu != "none":
        _gpu_is_known(resolution)
    if hardware.name == AUTO:
        name = f"{hardware.gpus}gpu" if on_gpus else "cpu"
        resolution.fill("hardware.name", name, "what was taken")
    if hardware.threads == AUTO:
        resolution.fill("hardware.threads", machine.cores, "the cores of this machine")


def _native(resolution: Resolution, written: dict[str, Any]) -> None:
    """Check a native YAML for the machine at hand, and leave out what is for GPUs on a CPU."""
    resolution.problems += native_problems(written, on_cpu=not resolution.on_gpus)
    if resolution.on_gpus:
        return
    left_out = set_aside(written)
    if left_out:
        resolution.chose(
            "set aside on a CPU, where they mean nothing",
            ", ".join(left_out),
            "cluster.gpu_per_node=1 or more, on a machine with GPUs",
        )


def _gpu_is_known(resolution: Resolution) -> None:
    name = resolution.config.hardware.gpu
    try:
        found = find_gpu(name, resolution.machine)
    except ValueError as error:
        resolution.refuse("hardware.gpu", name, str(error), nearest(name))
        # What is planned further is for a kind that is known: one mistake, one line.
        resolution.config.hardware.gpu = ASSUMED.name
        return
    if found.assumed:
        resolution.chose("GPU", found.assumed, f"hardware.gpu={ASSUMED.name}")


def _gpus_are_here(resolution: Resolution) -> None:
    hardware, found = resolution.config.hardware, len(resolution.machine.gpus)
    if int(hardware.gpus) == 0:
        resolution.refuse(
            "hardware.engine", hardware.engine, "no GPU was found", "use hardware=cpu"
        )
        return
    joins = hardware.ray not in (AUTO, "start")
    joins = joins or (hardware.ray == AUTO and resolution.machine.cluster)
    if resolution.plan_only or joins:
        return
    if int(hardware.nodes) > 1:
        resolution.refuse(
            "hardware.nodes",
            hardware.nodes,
            "no Ray cluster is running here that machines could have joined",
            "run `ray start --head` here and `ray start --address=...` on the others, or set "
            "hardware.ray=ADDRESS; `rlagent plan` plans without one",
        )
        return
    if int(hardware.gpus) <= found:
        return
    resolution.refuse(
        "hardware.gpus",
        hardware.gpus,
        f"this machine has {found or 'no'} GPU{'' if found == 1 else 's'}",
        "use hardware=auto or hardware=cpu; `rlagent plan` plans for other machines",
    )


def _dataset(resolution: Resolution) -> None:
    dataset = resolution.config.dataset
    if dataset.path != AUTO:
        if dataset.name == AUTO:
            name = dataset.path.rstrip("/").rsplit("/", 1)[-1]
            resolution.fill("dataset.name", name, "the end of dataset.path")
        return
    if resolution.alone:
        return  # Refused: nothing says which conversations.
    model = resolution.config.model
    root = root_of(resolution.parent.lineage if resolution.parent else [], model.path)
    name = "gsm8k_tiny" if root == f"{BUILTIN}tiny" else "gsm8k"
    preset = dataset_preset(name, resolution.config_dirs)
    resolution.kept |= overlay(preset, dataset, "dataset")
    resolution.config.dataset = preset
    other = "gsm8k" if name != "gsm8k" else "gsm8k_tiny"
    resolution.chose("dataset", f"{name}, which goes with {model.name}", f"dataset={other}")


def _recipe(resolution: Resolution) -> None:
    config, taken = resolution.config, []
    if resolution.alone:
        _without_rollouts(resolution)
    for key in _RECIPE_KEYS:
        if get(config, key) == AUTO:
            _take_from_recipe(resolution, key)
            taken.append(f"{key}={get(config, key)}")
    if config.algorithm.total_steps == AUTO:
        epochs = _steps_of_epochs(resolution)
        if epochs is None:
            _take_from_recipe(resolution, "algorithm.total_steps")
        else:
            resolution.fill("algorithm.total_steps", epochs, "algorithm.total_epochs")
        if epochs != 0:
            taken.append(f"algorithm.total_steps={config.algorithm.total_steps}")
    if taken:
        resolution.chose("recipe", f"{config.model.name}: {' '.join(taken)}", "set any of these")


def _without_rollouts(resolution: Resolution) -> None:
    """Fill what the recipe has for reinforcement alone."""
    algorithm, recipe = resolution.config.algorithm, resolution.config.model.recipe
    for name in ("repeat_times", "sync_interval"):
        if getattr(algorithm, name) == AUTO:
            resolution.fill(f"algorithm.{name}", 1, "there are no rollouts")
    if algorithm.lr == AUTO:
        why = f"{RATE:g} x model.recipe.lr, which is for reinforcement"
        resolution.fill("algorithm.lr", float(f"{RATE * recipe.lr:.12g}"), why)
        resolution.chose("learning rate", f"{algorithm.lr:g}, {why}", "algorithm.lr")
    rows = rows_learnt(resolution.config)
    if algorithm.total_steps == AUTO and algorithm.total_epochs is None and rows is not None:
        if algorithm.batch_size == AUTO:
            _take_from_recipe(resolution, "algorithm.batch_size")
        steps = max(1, math.ceil(rows * EPOCHS / int(algorithm.batch_size)))
        why = f"{EPOCHS} passes over {rows} conversations"
        resolution.fill("algorithm.total_steps", steps, why)
        resolution.chose("steps", f"{steps}, {why}", "algorithm.total_epochs, total_steps")


def _take_from_recipe(resolution: Resolution, key: str) -> None:
    """Fill a key with the recipe's value for it."""
    ours, factor, said = f"model.recipe.{key.rpartition('.')[2]}", 1, ""
    model = resolution.config.model
    if key == "algorithm.lr" and model.lora.rank is not None:
        if model.recipe.lora_lr:
            ours = "model.recipe.lora_lr"
        else:
            factor, said = LORA_RATE, f"{LORA_RATE} times "
    where = origin_of(origins(resolution.config), ours).removeprefix(FILLED)
    value = get(resolution.config, ours)
    # 3e-3, not 0.0029999999999999996.
    value = float(f"{value * factor:.12g}") if factor > 1 else value
    resolution.fill(key, value, f"{said}{ours} ({where})")


def _steps_of_epochs(resolution: Resolution) -> int | None:
    """Return the steps that the epochs make; None without epochs, 0 when a native YAML's rows
    must be read to be counted, which trinity/epochs.py does."""
    algorithm = resolution.config.algorithm
    if algorithm.total_epochs is None:
        return None
    resolution.fill("algorithm.total_steps", 0, "counted when the run reads its tasks")
    batch = arithmetic(resolution.config)
    put(algorithm, "total_steps", AUTO, None)
    if resolution.native:
        tasksets = training_tasksets(getattr(resolution.config, "native", {}))
        if batch.rows is not None and len(tasksets) == 1:
            # As Trinity goes on from one epoch into the next.
            return batch.rows * algorithm.total_epochs // batch.tasks
        words = f"{algorithm.total_epochs} x the tasks, counted when the run reads them"
        resolution.chose("steps", words, "buffer.total_steps")
        return 0
    if resolution.alone and batch.rows is not None:
        # The last step of the last epoch goes on into a further one.
        return math.ceil(batch.rows * algorithm.total_epochs / batch.tasks)
    if batch.steps_per_epoch is not None:
        return batch.steps_per_epoch * algorithm.total_epochs
    resolution.refuse(
        "algorithm.total_epochs",
        algorithm.total_epochs,
        f"the number of rows of {resolution.config.dataset.path} is not known here",
        "set algorithm.total_steps",
    )
    return None


def _engine_settings(resolution: Resolution, layout: Layout) -> None:
    hardware, engine = resolution.config.hardware, resolution.engine
    if not resolution.measures:
        resolve_offload(resolution, layout)
    if hardware.runners == AUTO:
        runners = max(1, engine.runners(layout.engines))
        resolution.fill("hardware.runners", runners, "the engine's own")
    if hardware.gpu_memory_utilization == AUTO:
        shape, work = resolution.config.model.shape, resolution.workload
        part = MOST_SHARE
        if not (resolution.measures or resolution.alone):
            part = engine.memory_share(shape, layout, work, resolution.gpu_gib)
        why = "the engine's own, or what the weights of a sync leave"
        resolution.fill("hardware.gpu_memory_utilization", part, why)
    _tool_choice(resolution)
    if not resolution.measures:
        _attention(resolution, layout)


def _tool_choice(resolution: Resolution) -> None:
    model, own = resolution.config.model, resolution.engine.own_tool_form
    parses = model.tool_call_parser is not None
    if model.tool_choice == AUTO:
        if not parses or own:
            why = "the engine decodes the model's form" if own else "nothing reads calls"
            resolution.fill("model.tool_choice", "as_asked", why)
        else:
            resolution.fill("model.tool_choice", "free", "model.tool_call_parser reads the calls")
            resolution.chose(
                "tool calls",
                "sampled freely and read from the text, so that all of it can be learnt",
                "model.tool_choice=as_asked",
            )
    elif model.tool_choice == "free" and not parses and not own:
        resolution.refuse(
            "model.tool_choice",
            "free",
            "without model.tool_call_parser nothing reads the calls",
            "name the model's parser, such as hermes",
        )


def _attention(resolution: Resolution, layout: Layout) -> None:
    hardware, version = resolution.config.hardware, resolution.machine.flash_attention
    there = version is not None or resolution.plan_only
    if only := resolution.trainer.attention:
        if hardware.attention == AUTO:
            resolution.fill("hardware.attention", only, "the trainer's own")
        elif hardware.attention != only:
            resolution.refuse(
                "hardware.attention",
                hardware.attention,
                f"the trainer of hardware.engine={hardware.engine} has {only} alone",
                "leave it out, or take GPUs",
            )
        return
    name = resolution.config.algorithm.name
    if name in WITH_CRITIC and not there:
        # verl's critic asks for flash_attention_2 whatever is configured.
        resolution.refuse(
            "algorithm.name",
            name,
            "its critic needs flash-attn, which is not installed",
            "install it, or take an algorithm without a critic, such as multi_step_grpo",
        )
    if layout.sequence_parallel > 1 and not resolution.shares_sequences:
        resolution.refuse(
            "hardware.layout",
            str(layout),
            "that trainer GPUs share a sequence needs flash-attn, which is not "
            + ("used" if there else "installed"),
            f"take {replace(layout, sequence_parallel=1)}",
        )
    if hardware.attention == AUTO:
        name, why = ("flash_attention_2", "flash-attn") if there else ("packed", "no flash-attn")
        resolution.fill("hardware.attention", name, why)
        chosen = "flash-attn"
        if not there:
            chosen = "torch's own kernel for packed sequences: flash-attn is not installed"
        elif version is None:
            chosen = "flash-attn; where it is not installed `packed`, and no sequence is shared"
        resolution.chose("trainer attention", chosen, "hardware.attention=sdpa")
    elif hardware.attention == "flash_attention_2" and not there:
        resolution.refuse(
            "hardware.attention",
            "flash_attention_2",
            "flash-attn is not installed",
            "install it, or take packed",
        )


def _evaluations(resolution: Resolution) -> None:
    for name, ours in (
        ("temperature", "model.temperature"),
        ("top_p", "model.top_p"),
        ("tasks", "dataset.eval_tasks"),
    ):
        if get(resolution.config, f"evaluate.{name}") == AUTO:
            resolution.fill(f"evaluate.{name}", get(resolution.config, ours), f"as {ours}")


def _adapter(resolution: Resolution) -> None:
    """Say what is trained, where it is not the whole model."""
    lora, size = resolution.config.model.lora, resolution.workload.adapter
    if lora.rank is None or resolution.measures:
        return
    of = f", {size / 1e6:.1f} M parameters" if size else ""
    where = ", ".join(lora.target_modules)
    chosen = f"an adapter of rank {lora.rank} in {where}{of}; the model's own weights stay"
    resolution.chose("trained", chosen, "model.lora.rank=null")


def keeps_best(config: LearnConfig) -> bool:
    """Whether training keeps the checkpoint with the best held-out success."""
    ours = config.algorithm
    return bool(
        ours.keep_best
        and ours.keep_checkpoints
        and ours.eval_interval
        and config.dataset.eval_split
        and not is_supervised(config)
    )


def may_miss_best(config: LearnConfig) -> bool:
    """Whether evaluations measure weights of steps that are not saved, so that the best of them
    cannot be kept: with lag they are of an earlier step."""
    ours = config.algorithm
    every = ours.eval_interval
    saved = every % int(ours.save_interval) == 0 and every % int(ours.sync_interval) == 0
    return keeps_best(config) and ours.save_interval != 1 and (ours.max_lag > 0 or not saved)


def _rhythm(resolution: Resolution) -> None:
    algorithm, recipe = resolution.config.algorithm, resolution.config.model.recipe
    if algorithm.save_interval == AUTO and recipe.save_interval:
        _take_from_recipe(resolution, "algorithm.save_interval")
    elif algorithm.save_interval == AUTO and keeps_best(resolution.config):
        resolution.fill("algorithm.save_interval", algorithm.eval_interval, "as eval_interval")
    elif algorithm.save_interval == AUTO:
        tenth = min(100, max(1, int(algorithm.total_steps) // 10))
        resolution.fill("algorithm.save_interval", tenth, "a tenth of the run, at most 100")
    if resolution.alone:
        pass  # There is no reference model to stay near.
    elif not is_written(resolution.config, "algorithm.kl_coef"):
        _take_from_recipe(resolution, "algorithm.kl_coef")
    elif algorithm.kl_coef is None and recipe.kl_coef is not None:
        resolution.kept["algorithm.kl_coef"] = None
    if algorithm.recompute_old_logprobs == AUTO:
        # A workflow may use tools or a grammar without saying so, and the engine's
        # log-probabilities are then those of the constrained distribution.
        why = "sampling may be constrained"
        resolution.fill("algorithm.recompute_old_logprobs", True, why)
    resolve_off_policy(resolution)
    if may_miss_best(resolution.config) and not resolution.native:
        chosen = "only where it was saved: not every evaluation is of the weights of a saved step"
        resolution.chose("best checkpoint", chosen, "algorithm.save_interval=1")
