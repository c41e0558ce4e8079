"""Fills every `auto` from what the machine has, and says what was chosen.

Pure: the machine is an argument, so invented ones can be tested. `KEPT` names the settings whose
`auto` is left for the launch, since they follow the environment of that moment.
"""

import copy
import dataclasses
import os
from collections.abc import Sequence
from dataclasses import dataclass, field

from rlagent.config.batch import Batch, arithmetic
from rlagent.config.check import requested_layout
from rlagent.config.checkpoints import read_shape, shape_problems
from rlagent.config.errors import ConfigError, Problem, raise_if_any
from rlagent.config.estimate import LONG_RUN_MINUTES, download_gb, is_cached, run_minutes
from rlagent.config.identity import trial_id
from rlagent.config.machine import Machine
from rlagent.config.paths import BUILTIN, local_path
from rlagent.config.presets import dataset_preset, model_preset, model_preset_of_path
from rlagent.config.resolved_checks import resolved_problems
from rlagent.config.schema import AUTO, LearnConfig, ModelConfig, Recipe
from rlagent.layout.choose import best_layout, gpu_memory_gib
from rlagent.layout.fit import engine_gib, fits, parameters, trainer_gib
from rlagent.layout.layout import Layout, refusals

KEPT = ("hardware.ray", "monitor.mode", "run.display", "algorithm.train_batch_size")
"""Settings that stay `auto`: the first three follow key, cluster and terminal at launch; an
`auto` train_batch_size means every experience of the step."""

_RECIPE_KEYS = (
    ("model", "max_model_len"),
    ("model", "max_response_tokens"),
    ("algorithm", "lr"),
    ("algorithm", "batch_size"),
    ("algorithm", "repeat_times"),
    ("algorithm", "sync_interval"),
)


@dataclass(frozen=True)
class Resolved:
    """A configuration that can be run as it stands.

    Args:
        config: Without `auto`, but for KEPT.
        layout: Who uses which GPUs; for the embedded engine, its processes.
        machine: What it was resolved for.
        choices: What was chosen and how to choose otherwise, one line each.
        model_dir: The model's local folder; None when it comes from the hub.
        batch: The batch arithmetic.
        trial_id: Identity of the trial, from the configuration before it was resolved.
        composed: The configuration before it was resolved.
        warnings: Downloads and long durations, one line each.
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


def resolve(
    config: LearnConfig,
    machine: Machine,
    config_dirs: Sequence[str] = (),
    plan_only: bool = False,
) -> Resolved:
    """Fill every `auto`.

    Args:
        config: As composed; it is not changed.
        machine: What there is.
        config_dirs: Folders of further presets, in which `model.candidates` may lie.
        plan_only: Do not ask whether this machine has the GPUs.

    Raises:
        ConfigError: When something asked for does not fit; with every such mistake.
    """
    return _Resolution(config, machine, config_dirs, plan_only).run()


class _Resolution:
    def __init__(
        self, config: LearnConfig, machine: Machine, config_dirs: Sequence[str], plan_only: bool
    ) -> None:
        self.composed = config
        self.config = copy.deepcopy(config)
        self.machine = machine
        self.config_dirs = config_dirs
        self.plan_only = plan_only
        # Trinity reads a native YAML itself: nothing of it is second-guessed here.
        self.native = bool(getattr(config, "native", None))
        self.choices: list[str] = []
        self.problems: list[Problem] = []

    def run(self) -> Resolved:
        self._hardware()
        layout = self._model_and_layout()
        self._dataset()
        self._recipe()
        self._engine_settings(layout)
        self._rhythm()
        if not self.native:
            self.problems += resolved_problems(self.config, layout)
        raise_if_any(self.problems)
        batch = arithmetic(self.config)
        local = local_path(self.config.model.path)
        return Resolved(
            config=self.config,
            layout=layout,
            machine=self.machine,
            choices=self.choices,
            model_dir=str(local) if local else None,
            batch=batch,
            trial_id=trial_id(self.composed),
            composed=self.composed,
            warnings=self._warnings(layout),
        )

    # ---- hardware ----

    def _hardware(self) -> None:
        hardware = self.config.hardware
        found = len(self.machine.gpus)
        if hardware.engine == AUTO:
            wanted = hardware.gpus if isinstance(hardware.gpus, int) else found
            hardware.engine = "vllm" if wanted and not hardware.logical_gpus else "embedded"
            if hardware.engine == "embedded":
                why = "no GPU was found" if not found else "no GPU was asked for"
                self._chose("hardware", f"the CPU engine (embedded), since {why}", "hardware=1gpu")
            else:
                self._chose("hardware", f"vLLM on {self.machine.words()}", "hardware=cpu")
        if hardware.gpus == AUTO:
            hardware.gpus = 0 if hardware.engine == "embedded" else found
        if hardware.nodes == AUTO:
            hardware.nodes = 1 if hardware.engine == "embedded" else self.machine.nodes
        if hardware.engine == "vllm":
            self._gpus_are_here()
        if hardware.gpu == AUTO:
            names = {gpu.name for gpu in self.machine.gpus}
            hardware.gpu = "none" if hardware.engine == "embedded" else "80g"
            if names and hardware.engine == "vllm":
                hardware.gpu = sorted(names)[0]
        if hardware.name == AUTO:
            hardware.name = "cpu" if hardware.engine == "embedded" else f"{hardware.gpus}gpu"
        if hardware.threads == AUTO:
            hardware.threads = self.machine.cores

    def _gpus_are_here(self) -> None:
        hardware, found = self.config.hardware, len(self.machine.gpus)
        elsewhere = int(hardware.nodes) > 1 or hardware.ray not in (AUTO, "start")
        elsewhere = elsewhere or (bool(os.environ.get("RAY_ADDRESS")) and hardware.ray == AUTO)
        if self.plan_only or elsewhere or int(hardware.gpus) <= found:
            return
        self.problems.append(
            Problem(
                "hardware.gpus",
                hardware.gpus,
                f"this machine has {found or 'no'} GPU{'' if found == 1 else 's'}",
                "use hardware=auto or hardware=cpu; `rlagent plan` plans for other machines",
            )
        )

    # ---- model ----

    def _model_and_layout(self) -> Layout:
        model = self.config.model
        if model.path != AUTO:
            self._known_model()
            return self._layout(report=True)
        if self.config.hardware.engine == "embedded":
            self._take_model("tiny")
            self._chose("model", "tiny, which a CPU trains in minutes", "model=smollm2_135m")
            return self._layout(report=True)
        return self._largest_that_fits()

    def _largest_that_fits(self) -> Layout:
        candidates = self.config.model.candidates
        if not candidates:
            raise ConfigError(
                [
                    Problem(
                        "model.path",
                        AUTO,
                        "there are no candidates to choose from",
                        "choose a preset: model=qwen3_0_6b",
                    )
                ]
            )
        before = copy.deepcopy(self.config.model)
        for name in reversed(candidates):
            self.config.model = copy.deepcopy(before)
            self._take_model(name)
            layout = self._layout(report=False)
            if layout is not None:
                where = f"{self._total_gpus()} x {self._memory():.0f} GiB"
                listed = ", ".join(candidates)
                self._chose(
                    "model",
                    f"{name}, the largest that fits {where} of {listed}",
                    f"model={candidates[0]}",
                )
                self._layout(report=True)
                return layout
        return self._layout(report=True)

    def _take_model(self, name: str) -> None:
        """Replace the model by a preset; what was set beside it stays."""
        preset = model_preset(name, self.config_dirs)
        given, default = self.config.model, ModelConfig()
        for item in dataclasses.fields(ModelConfig):
            value = getattr(given, item.name)
            if value != getattr(default, item.name) and item.name != "candidates":
                setattr(preset, item.name, value)
        preset.candidates = given.candidates
        preset.shape = read_shape(preset.path) or preset.shape
        self.config.model = preset

    def _known_model(self) -> None:
        """Complete a model that was chosen by preset or path."""
        model = self.config.model
        if model.name == AUTO:
            preset = model_preset_of_path(model.path, self.config_dirs)
            model.name = preset.name if preset else model.path.rstrip("/").rsplit("/", 1)[-1]
            if preset and model.recipe == Recipe():
                model.recipe = preset.recipe
            if preset and not model.shape.layers:
                model.shape = preset.shape
        local = local_path(model.path)
        if local is not None and not (local / "config.json").is_file():
            what = "has no config.json" if local.is_dir() else "there is no such folder"
            remedy = "give a hub id or the folder of a Hugging Face model"
            if model.path.startswith(BUILTIN):
                what, remedy = "the shipped model is missing", "reinstall rlagent"
            self.problems.append(Problem("model.path", model.path, what, remedy))
            return
        read = read_shape(model.path)
        if read is not None:
            if model.shape.layers:
                self.problems += shape_problems(model.shape, read, model.path)
            model.shape = read

    # ---- layout ----

    def _total_gpus(self) -> int:
        hardware = self.config.hardware
        return int(hardware.gpus) * int(hardware.nodes)

    def _memory(self) -> float:
        return gpu_memory_gib(self.config.hardware.gpu, self.machine)

    def _longest(self) -> int:
        longest = self.config.model.max_model_len
        return longest if isinstance(longest, int) else self.config.model.recipe.max_model_len

    def _layout(self, report: bool) -> Layout:
        """Return the layout; without `report`, None instead of a problem."""
        hardware = self.config.hardware
        try:
            asked = requested_layout(self.config)
        except ValueError as error:
            self.problems.append(Problem("hardware.layout", hardware.layout, str(error)))
            return Layout(1, 1, 1)
        if hardware.engine == "embedded":
            layout = asked or self._embedded_layout()
        else:
            layout = asked or self._planned_layout(report)
            if layout is None:
                return None  # type: ignore[return-value]
            if not report and not self._fits(layout):
                return None  # type: ignore[return-value]
        if report:
            self._check_layout(layout, asked is not None)
            hardware.layout = str(layout)
            hardware.engines = layout.engines
            hardware.tensor_parallel = layout.tensor_parallel
            hardware.trainer_gpus = layout.trainer_gpus
            hardware.sequence_parallel = layout.sequence_parallel
        return layout

    def _embedded_layout(self) -> Layout:
        logical = self.config.hardware.logical_gpus
        if not logical:
            return Layout(1, 1, 1)
        found = best_layout(logical, 1, self.config.model.shape, None, self._longest())
        return found or Layout(1, 1, 1)

    def _planned_layout(self, report: bool) -> Layout | None:
        hardware = self.config.hardware
        found = best_layout(
            int(hardware.gpus),
            int(hardware.nodes),
            self.config.model.shape,
            self._memory(),
            self._longest(),
            offload=hardware.offload is True,
            may_offload=hardware.offload == AUTO,
        )
        if found is None and report:
            shape = self.config.model.shape
            self.problems.append(
                Problem(
                    "model.path",
                    self.config.model.path,
                    f"{parameters(shape) / 1e9:.1f} B parameters fit no layout of "
                    f"{self._total_gpus()} GPUs of {self._memory():.0f} GiB",
                    "take a smaller model or max_model_len, or more GPUs",
                )
            )
            return Layout(1, 1, 1, colocated=self._total_gpus() == 1)
        if found is not None and report:
            self._chose("layout", f"{found}: {found.words()}", "hardware.layout=2x1+2 or the like")
        return found

    def _fits(self, layout: Layout) -> bool:
        hardware, shape = self.config.hardware, self.config.model.shape
        offloads = {True: [True], False: [False]}.get(hardware.offload, [False, True])  # type: ignore[call-overload]
        memory, longest = self._memory(), self._longest()
        return any(fits(shape, layout, memory, longest, offload) for offload in offloads)

    def _check_layout(self, layout: Layout, asked: bool) -> None:
        hardware, shape = self.config.hardware, self.config.model.shape
        reported = {problem.key for problem in self.problems}
        if not asked or "hardware.gpus" in reported:
            return
        if hardware.engine == "embedded":
            gpus, nodes = hardware.logical_gpus, 1
            if not gpus and layout != Layout(1, 1, 1):
                self.problems.append(
                    Problem(
                        "hardware.layout",
                        str(layout),
                        "without GPUs there is one engine and one trainer process (1x1+1)",
                        f"add hardware.logical_gpus={layout.total_gpus} to try it on the CPU",
                    )
                )
            if not gpus:
                return
        else:
            gpus, nodes = int(hardware.gpus), int(hardware.nodes)
        found = refusals(layout, gpus, nodes, shape)
        self.problems += [Problem("hardware.layout", str(layout), reason) for reason in found]
        if self.native or found or hardware.engine != "vllm":
            return
        if not self._fits(layout):
            engine = engine_gib(shape, layout, self._longest())
            trainer = trainer_gib(shape, layout, self._longest(), hardware.offload is not False)
            self.problems.append(
                Problem(
                    "hardware.layout",
                    str(layout),
                    f"needs about {engine:.0f} GiB per engine GPU and {trainer:.0f} GiB per "
                    f"trainer GPU, there are {self._memory():.0f}",
                    "use more GPUs for that part, or hardware.layout=auto",
                )
            )

    # ---- the rest ----

    def _dataset(self) -> None:
        dataset = self.config.dataset
        if dataset.path != AUTO:
            if dataset.name == AUTO:
                dataset.name = dataset.path.rstrip("/").rsplit("/", 1)[-1]
            return
        tiny = self.config.model.path == f"{BUILTIN}tiny"
        name = "gsm8k_tiny" if tiny else "gsm8k"
        preset = dataset_preset(name, self.config_dirs)
        default = type(dataset)()
        for item in dataclasses.fields(dataset):
            value = getattr(dataset, item.name)
            if value != getattr(default, item.name):
                setattr(preset, item.name, value)
        self.config.dataset = preset
        self._chose("dataset", f"{name}, which goes with {self.config.model.name}", "dataset=gsm8k")

    def _recipe(self) -> None:
        recipe, taken = self.config.model.recipe, []
        for group, name in _RECIPE_KEYS:
            section = getattr(self.config, group)
            if getattr(section, name) == AUTO:
                setattr(section, name, getattr(recipe, name))
                taken.append(f"{group}.{name}={getattr(recipe, name)}")
        algorithm = self.config.algorithm
        if algorithm.total_steps == AUTO:
            epochs = self._steps_of_epochs()
            algorithm.total_steps = recipe.total_steps if epochs is None else epochs
            taken.append(f"algorithm.total_steps={algorithm.total_steps}")
        if taken:
            listed = " ".join(taken)
            self._chose("recipe", f"{listed} (of {self.config.model.name})", "set any of these")

    def _steps_of_epochs(self) -> int | None:
        algorithm = self.config.algorithm
        if algorithm.total_epochs is None:
            return None
        algorithm.total_steps = 1
        batch = arithmetic(self.config)
        if not batch.steps_per_epoch and self.native:
            return 0
        if not batch.steps_per_epoch:
            self.problems.append(
                Problem(
                    "algorithm.total_epochs",
                    algorithm.total_epochs,
                    f"the number of rows of {self.config.dataset.path} is not known here",
                    "set algorithm.total_steps",
                )
            )
            return None
        return batch.steps_per_epoch * algorithm.total_epochs

    def _engine_settings(self, layout: Layout) -> None:
        hardware = self.config.hardware
        embedded = hardware.engine == "embedded"
        if hardware.offload == AUTO:
            longest, shape = self._longest(), self.config.model.shape
            hardware.offload = not embedded and not fits(shape, layout, self._memory(), longest)
        if hardware.runners == AUTO:
            hardware.runners = 1 if embedded else 4 * layout.engines
        if hardware.gpu_memory_utilization == AUTO:
            hardware.gpu_memory_utilization = 0.25 if layout.colocated else 0.9

    def _rhythm(self) -> None:
        algorithm, recipe = self.config.algorithm, self.config.model.recipe
        if algorithm.save_interval == AUTO:
            tenth = max(1, int(algorithm.total_steps) // 10)
            algorithm.save_interval = recipe.save_interval or min(100, tenth)
        if algorithm.recompute_old_logprobs == AUTO:
            # A workflow may use tools or a grammar without saying so, and the engine's
            # log-probabilities are then those of the constrained distribution.
            algorithm.recompute_old_logprobs = True

    def _warnings(self, layout: Layout) -> list[str]:
        config, found = self.config, []
        size = download_gb(config.model.path, config.model.shape)
        if size:
            found.append(f"downloads {config.model.path} from the hub: about {size:.1f} GB")
        elif local_path(config.model.path) is None and not is_cached(config.model.path):
            found.append(f"downloads {config.model.path} from the hub: size unknown")
        if local_path(config.dataset.path) is None and not is_cached(
            config.dataset.path, "datasets"
        ):
            found.append(f"downloads the dataset {config.dataset.path} from the hub")
        minutes = run_minutes(config, layout, self.machine.cores)
        if minutes > LONG_RUN_MINUTES:
            hours = minutes / 60
            rough = f"{hours:.0f} hours" if hours >= 2 else f"{round(minutes, -1):.0f} minutes"
            found.append(f"takes roughly {rough} ({config.algorithm.total_steps} steps)")
        return found

    def _chose(self, what: str, chosen: str, otherwise: str) -> None:
        self.choices.append(f"{what}: {chosen}; otherwise {otherwise}")
