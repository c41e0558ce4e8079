"""Resolving: which model is trained, and on which layout it runs."""

import copy
import dataclasses
import itertools
from dataclasses import replace
from pathlib import Path

from rlagent.base.errors import ConfigError, Problem
from rlagent.base.model_shape import ModelShape
from rlagent.base.names import did_you_mean
from rlagent.base.origins import DEFAULT, FILLED, get, is_written, origin_of, origins, record
from rlagent.base.paths import BUILTIN, local_path
from rlagent.config.chat_templates import (
    SHIPPED,
    lacks_tools,
    template_file,
    template_problems,
)
from rlagent.config.check import LAYOUT_PARTS, LEGAL_LAYOUT, requested_layout, requested_parts
from rlagent.config.model_files import model_faults
from rlagent.config.parents import Parent, find_parent, inherited
from rlagent.config.presets import (
    model_preset,
    model_preset_of_path,
    overlay,
    preset_names,
)
from rlagent.config.resolution import NO_LAYOUT, Resolution
from rlagent.config.resolve_offload import host_lacks
from rlagent.config.schema import AUTO, ModelConfig
from rlagent.config.shapes import read_shape, shape_problems
from rlagent.planner.choose import best_layout
from rlagent.planner.fit import fits, parameters
from rlagent.planner.gpus import find_gpu
from rlagent.planner.layout import Layout, refusals
from rlagent.planner.memory import engine_memory, trainer_memory

ENGINE_WEIGHT_BYTES = 2
"""Of a parameter in an engine: bfloat16 or float16."""

ENGINE_WEIGHTS_SHARE = 0.6
"""Share of a GPU's memory that weights may take in an engine that trains nothing; the rest is the
KV cache's."""

PLAIN = Layout(1, 1, 1)
"""One engine and one trainer: what a CPU has, and a stand-in after a mistake."""
ALONE = Layout(0, 1, 1)
"""The same without an engine."""


def resolve_model_and_layout(resolution: Resolution) -> Layout:
    """Fill the model, except for its recipe, and return the layout it runs on."""
    model = resolution.config.model
    if resolution.engine.by_url:
        if model.path == AUTO:
            resolution.fill("model.path", model.name, "its name at the endpoint")
    elif model.path != AUTO:
        _complete_written(resolution)
    elif resolution.engine.model:
        name, why, other = resolution.engine.model
        resolution.problems += _take_preset(resolution, name)
        resolution.chose("model", f"{name}, {why}", other)
    else:
        _take_largest_that_fits(resolution)
    _chat_template(resolution)
    _warm_start(resolution)
    layout = _engines_alone(resolution) if resolution.measures else _layout(resolution)
    hardware = resolution.config.hardware
    if hardware.layout == AUTO:
        parts = requested_parts(resolution.config)
        why = ", ".join(f"hardware.{name}" for name in parts) or "the first of the planner"
        if not resolution.on_gpus and not hardware.logical_gpus:
            why = "one process each without GPUs"
        resolution.fill("hardware.layout", str(layout), why)
    # One spelling of what was written.
    vars(hardware)["layout"] = str(layout)
    return layout


# ---- model ----


def _take_largest_that_fits(resolution: Resolution) -> None:
    before = resolution.config.model
    candidates = before.candidates
    if not candidates:
        resolution.refuse(
            "model.candidates", "[]", "there is nothing to choose from", "choose a preset: model="
        )
        return
    where = f"{resolution.total_gpus} x {resolution.gpu_gib:.0f} GiB"
    there = f"{resolution.machine.memory_gib:.0f} GiB of host memory"
    # Those that fit the GPUs alone.
    short: list[str] = []
    # With its state in host memory a model trains many times slower: a smaller one comes first.
    for offload, name in itertools.product(resolution.offloads, reversed(candidates)):
        resolution.config.model = copy.deepcopy(before)
        contradictions = _take_preset(resolution, name)
        layout = _some_layout(resolution, offload)
        if layout is None:
            continue
        if resolution.measures or not host_lacks(resolution, layout, offload):
            resolution.problems += contradictions
            # A layout that was asked for may have to offload.
            if resolution.config.hardware.layout == AUTO and resolution.offloads[-1] is not offload:
                where += " without offloading,"
            chosen = f"{name}, the largest that fits {where} of {', '.join(candidates)}"
            if short:
                chosen += f"; {there} are too little for {', '.join(dict.fromkeys(short))}"
            # A larger one would not fit.
            smaller = f"model={candidates[0]}" if name != candidates[0] else "model.path=FOLDER"
            resolution.chose("model", chosen, smaller)
            return
        short.append(name)
    if candidates[0] in short:
        chosen = f"{candidates[0]}, though by the estimate {there} are too little even for it"
        without = "algorithm.kl_coef=0, which keeps no reference model there"
        resolution.chose("model", chosen, without)


def _take_preset(resolution: Resolution, name: str) -> list[Problem]:
    """Replace the model by a preset; what was written beside it stays.

    Returns:
        What of that contradicts the model's config.json.
    """
    preset = model_preset(name, resolution.config_dirs)
    resolution.kept = overlay(preset, resolution.config.model, "model")
    resolution.config.model = preset
    return _read_shape(preset)


def _complete_written(resolution: Resolution) -> None:
    """Complete a model whose path was written: a folder, a hub id, or another run's checkpoint."""
    model = resolution.config.model
    try:
        if not resolution.native:
            resolution.parent = find_parent(model.path, resolution.config.run.dir)
    except ConfigError as error:
        resolution.problems += error.problems
        return
    if resolution.parent is not None:
        _take_parent(resolution, resolution.parent)
    else:
        _complete_model(resolution)


def _take_parent(resolution: Resolution, parent: Parent) -> None:
    """Take another run's checkpoint; what was written beside it stays."""
    written, taken = resolution.config.model, inherited(parent)
    record(taken, dict.fromkeys(origins(taken), f"{FILLED}as in {parent.run}"))
    resolution.kept |= overlay(taken, written, "model")
    resolution.config.model = taken
    # The same in another form: where it was written stays noted.
    vars(taken)["path"] = parent.folder
    resolution.chose("model", f"{taken.name}, {parent.words()}", "model.path=RUN@STEP")
    if (local := local_path(parent.folder)) is None or (local / "config.json").is_file():
        resolution.problems += _read_shape(taken)


def _complete_model(resolution: Resolution) -> None:
    """Complete a model that was chosen by preset or path."""
    model = resolution.config.model
    if model.name == AUTO:
        preset = model_preset_of_path(model.path, resolution.config_dirs)
        end = model.path.rstrip("/").rsplit("/", 1)[-1]
        name, why = (preset.name, "its preset") if preset else (end, "the end of model.path")
        resolution.fill("model.name", name, why)
        if preset:
            resolution.kept |= overlay(preset.recipe, model.recipe, "model.recipe")
            resolution.kept |= overlay(preset.shape, model.shape, "model.shape")
            model.recipe, model.shape = preset.recipe, preset.shape
    local = local_path(model.path)
    if local is not None and not (local / "config.json").is_file():
        what = "has no config.json" if local.is_dir() else "there is no such folder"
        remedy = "give a hub id or the folder of a Hugging Face model"
        if model.path.startswith(BUILTIN):
            what, remedy = "the shipped model is missing", "reinstall rlagent"
        resolution.refuse("model.path", model.path, what, remedy)
        return
    faults = model_faults(local) if local is not None else []
    for fault in faults:
        resolution.refuse("model.path", model.path, fault, "download or save the model again")
    if faults:
        return
    resolution.problems += _read_shape(model)


def _read_shape(model: ModelConfig) -> list[Problem]:
    """Take the shape from the model's config.json, where there is one.

    Returns:
        Where a person wrote another one.
    """
    read = read_shape(model.path)
    if read is None:
        return []
    found = shape_problems(model.shape, read, model.path)
    stated, where = model.shape, f"{FILLED}config.json of {model.path}"
    # What was stated as config.json has it keeps its origin.
    same = {key: at for key, at in origins(stated).items() if get(stated, key) == get(read, key)}
    record(read, dict.fromkeys(dataclasses.asdict(read), where) | same)
    model.shape = read
    return found


def _warm_start(resolution: Resolution) -> None:
    """Say what is trained first; who trains it has named its checkpoint before (warm_start.py)."""
    model = resolution.config.model
    if model.warm_start is None:
        if origin_of(origins(model), "warm_start") != DEFAULT:
            return  # Written: an experiment's own is not wanted, nor what belongs to it.
        for name in ("warm_start_data", "warm_start_overrides"):
            if value := getattr(model, name):
                what, remedy = "is for a warm start, and there is none", "add model.warm_start"
                resolution.refuse(f"model.{name}", value, what, remedy)
        return
    known = preset_names("experiment", resolution.config_dirs)
    if model.warm_start not in known:
        remedy = did_you_mean(model.warm_start, known)
        resolution.refuse("model.warm_start", model.warm_start, "is no experiment", remedy)
    elif resolution.plan_only:
        what = f"{model.warm_start} is trained first, and this run starts from its last step"
        resolution.chose("warm start", what, "model.warm_start=null")
    else:
        what = "is not trained yet, and only `rlagent train` of one run trains it first"
        remedy = "train it, then name it: model.path=RUN model.warm_start=null"
        resolution.refuse("model.warm_start", model.warm_start, what, remedy)


def _chat_template(resolution: Resolution) -> None:
    """Choose or check the template of conversations."""
    model, key = resolution.config.model, "model.chat_template"
    folder = _tokenizer_folder(resolution)
    if model.chat_template == AUTO:
        choose = not (resolution.native or resolution.engine.by_url) and folder is not None
        if choose and folder is not None and lacks_tools(folder):
            what = f"{SHIPPED}: the tokenizer's own shows no tools"
            resolution.chose("chat template", what, "model.chat_template=null")
            resolution.fill(key, SHIPPED, "the tokenizer's own is ChatML without tools")
        else:
            resolution.fill(key, None, "the tokenizer's own")
    elif model.chat_template and resolution.engine.by_url:
        what = "is the endpoint's own affair"
        resolution.refuse(key, model.chat_template, what, "leave it out")
    elif model.chat_template:
        resolution.problems += template_problems(model.chat_template, folder)
        if not model.chat_template.startswith(BUILTIN):
            # The same in another form, which means the same from everywhere.
            vars(model)["chat_template"] = str(template_file(model.chat_template).absolute())


def _tokenizer_folder(resolution: Resolution) -> Path | None:
    """Where the model's tokenizer can be looked at; None: not here, or its template is settled."""
    parent, path = resolution.parent, resolution.config.model.path
    if any(problem.key == "model.path" for problem in resolution.problems):
        return None  # Its files are damaged, or not there.
    local = None if path == AUTO else local_path(path)
    if parent is not None and local is not None and not local.is_dir():
        # What is exported has the template of that run, else that of its base.
        local = None if parent.model.chat_template else local_path(parent.model.path)
    return local if local is not None and local.is_dir() else None


# ---- layout ----


def _layout(resolution: Resolution) -> Layout:
    try:
        asked = requested_layout(resolution.config)
    except ValueError as error:
        resolution.refuse("hardware.layout", resolution.config.hardware.layout, str(error))
        return PLAIN
    if asked is not None and not asked.trainer_gpus:
        what = "has no trainer: engines alone only measure, in rlagent evaluate"
        resolution.refuse("hardware.layout", str(asked), what, LEGAL_LAYOUT)
        return PLAIN
    if asked is not None and bool(asked.engines) is resolution.alone:
        name = resolution.config.algorithm.name
        what, remedy = f"{name} learns from rollouts, and there is no engine", LEGAL_LAYOUT
        if resolution.alone:
            what = f"{name} learns from given conversations: engines would stand idle"
            remedy = f"write {replace(asked, engines=0, tensor_parallel=1, colocated=False)}"
        resolution.refuse("hardware.layout", str(asked), what, remedy)
        return PLAIN
    if asked is not None:
        _check_asked(resolution, asked)
        return asked
    if not resolution.on_gpus:
        return _layout_of_processes(resolution)
    found = _best(resolution, resolution.offloads)
    if found is not None:
        alternative = "hardware.layout=ENGINESxTENSOR_PARALLEL+TRAINER_GPUS"
        resolution.chose("layout", f"{found}: {found.words()}", alternative)
        return found
    model = resolution.config.model
    reported = {problem.key for problem in resolution.problems}
    if NO_LAYOUT & reported:
        return PLAIN
    hardware, parts = resolution.config.hardware, requested_parts(resolution.config)
    if parts and not _legal(int(hardware.gpus), int(hardware.nodes), model.shape, parts):
        _refuse_parts(resolution, parts, resolution.total_gpus)
        return PLAIN
    resolution.refuse(
        "model.path",
        model.path,
        f"{parameters(model.shape) / 1e9:.1f} B parameters fit no layout of "
        f"{resolution.total_gpus} GPUs of {resolution.gpu_gib:.0f} GiB{_given_share(resolution)}",
        "take a smaller model or model.max_model_len, or more GPUs",
    )
    return PLAIN


def _engines_alone(resolution: Resolution) -> Layout:
    """Return the layout in which nothing is trained: as many engines as the GPUs make."""
    config = resolution.config
    hardware, parts = config.hardware, requested_parts(config)
    for name in ("trainer_gpus", "sequence_parallel"):
        if name in parts:
            resolution.refuse(f"hardware.{name}", parts[name], "nothing is trained", "leave it out")
    try:
        asked = Layout.parse(hardware.layout) if hardware.layout != AUTO else None
    except ValueError as error:
        resolution.refuse("hardware.layout", hardware.layout, str(error))
        return Layout(1, 1, 0)
    if asked is not None and asked.trainer_gpus:
        alone = replace(asked, trainer_gpus=0, sequence_parallel=1, colocated=False)
        what = "nothing is trained, so that all GPUs are the engines'"
        resolution.refuse("hardware.layout", str(asked), what, f"write {alone}, or auto")
        return alone
    gpus = resolution.total_gpus if resolution.on_gpus else max(1, hardware.logical_gpus)
    tensor = asked.tensor_parallel if asked else parts.get("tensor_parallel") or 1
    if not asked and "tensor_parallel" not in parts and resolution.on_gpus:
        while not _weights_fit(resolution, tensor) and tensor * 2 <= int(hardware.gpus):
            tensor *= 2
    engines = asked.engines if asked else parts.get("engines") or max(1, gpus // tensor)
    layout = Layout(engines, tensor, 0)
    for reason in refusals(layout, gpus, 1, config.model.shape):
        resolution.refuse("hardware.layout", str(layout), reason, "hardware.layout=auto")
    return layout


def _weights_fit(resolution: Resolution, gpus: int) -> bool:
    """Whether an engine that trains nothing has room for the model on so many GPUs."""
    weights = ENGINE_WEIGHT_BYTES * parameters(resolution.config.model.shape) / 2**30
    return weights / gpus <= ENGINE_WEIGHTS_SHARE * resolution.gpu_gib


def _given_share(resolution: Resolution) -> str:
    """What was written of the share of GPU memory that the engine takes, in words."""
    key = "hardware.gpu_memory_utilization"
    given = is_written(resolution.config, key)
    return f" with {key}={get(resolution.config, key)}" if given else ""


def _layout_of_processes(resolution: Resolution) -> Layout:
    if resolution.alone:
        return ALONE
    logical = resolution.config.hardware.logical_gpus
    parts = requested_parts(resolution.config)
    if not logical:
        engines, tensor, trainer, sequence = (parts.get(name, 1) for name in LAYOUT_PARTS)
        _check_asked(resolution, Layout(engines, tensor, trainer, sequence))
        return PLAIN
    shape = resolution.config.model.shape
    found = best_layout(logical, 1, shape, None, resolution.longest, parts=parts)
    if found is None:
        _refuse_parts(resolution, parts, logical)
    return found or PLAIN


def _legal(gpus: int, nodes: int, shape: ModelShape, parts: dict[str, int]) -> bool:
    """Whether some layout has these parts, whatever memory it needs."""
    return best_layout(gpus, nodes, shape, None, 0, parts=parts) is not None


def _refuse_parts(resolution: Resolution, parts: dict[str, int], gpus: int) -> None:
    named = " ".join(f"hardware.{name}={value}" for name, value in parts.items())
    resolution.refuse(
        "hardware.layout",
        AUTO,
        f"no legal layout of {gpus} GPUs has {named or 'a rollout engine and a trainer'}",
        "leave a part to auto, or give the whole layout",
    )


def _best(resolution: Resolution, offloads: list[bool]) -> Layout | None:
    hardware, parts = resolution.config.hardware, requested_parts(resolution.config)
    if not resolution.shares_sequences:
        parts.setdefault("sequence_parallel", 1)
    return best_layout(
        int(hardware.gpus),
        int(hardware.nodes),
        resolution.config.model.shape,
        resolution.gpu_gib,
        resolution.longest,
        offloads,
        parts,
        resolution.workload,
        find_gpu(hardware.gpu, resolution.machine).kind,
        alone=resolution.alone,
    )


def _some_layout(resolution: Resolution, offload: bool) -> Layout | None:
    """Return the layout in which the model fits the GPUs best; None where there is none, or where
    that which was asked for does not fit in any way.

    The layouts of a sweep then have one model, whichever of them must offload.
    """
    if resolution.measures:
        return (
            Layout(1, 1, 0)
            if _weights_fit(resolution, int(resolution.config.hardware.gpus))
            else None
        )
    try:
        asked = requested_layout(resolution.config)
    except ValueError:
        asked = None  # Reported when the layout itself is resolved.
    if asked is not None and not _fits(resolution, asked):
        return None
    return _best(resolution, [offload])


def _fits(resolution: Resolution, layout: Layout) -> bool:
    shape, memory = resolution.config.model.shape, resolution.gpu_gib
    return any(
        fits(shape, layout, memory, resolution.workload, offload) for offload in resolution.offloads
    )


def _check_asked(resolution: Resolution, layout: Layout) -> None:
    """Note why a layout that was asked for cannot be had."""
    hardware, shape = resolution.config.hardware, resolution.config.model.shape
    if "hardware.gpus" in {problem.key for problem in resolution.problems}:
        return
    if not resolution.on_gpus and not hardware.logical_gpus:
        if layout not in (PLAIN, ALONE):
            resolution.refuse(
                "hardware.layout",
                str(layout),
                f"without GPUs there is one engine and one trainer process ({PLAIN})",
                f"add hardware.logical_gpus={layout.total_gpus} to try it on the CPU",
            )
        return
    gpus, nodes = int(hardware.gpus), int(hardware.nodes)
    if not resolution.on_gpus:
        gpus, nodes = hardware.logical_gpus, 1
    found = refusals(layout, gpus, nodes, shape)
    for reason in found:
        resolution.refuse("hardware.layout", str(layout), reason, LEGAL_LAYOUT)
    if found or not resolution.on_gpus or resolution.native or _fits(resolution, layout):
        return
    trainer = trainer_memory(shape, layout, resolution.workload, resolution.offloads[-1]).gib
    needs = f"{trainer:.0f} GiB per trainer GPU"
    if layout.engines:
        engine = engine_memory(shape, layout, resolution.workload).gib
        needs = f"{engine:.0f} GiB per engine GPU and {needs}"
    resolution.refuse(
        "hardware.layout",
        str(layout),
        f"needs about {needs}, there are {resolution.gpu_gib:.0f}",
        "use more GPUs for that part, or hardware.layout=auto",
    )
