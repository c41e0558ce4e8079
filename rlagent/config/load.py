"""Reads a configuration file: a composed one of ours, or a native Trinity YAML.

Both strictly: every unknown key is named with the nearest valid one, before anything starts.
"""

from dataclasses import dataclass, field
from typing import Any

from rlagent.backends import registry
from rlagent.base.errors import ConfigError, Problem, raise_if_any
from rlagent.base.origins import origins, record
from rlagent.base.paths import expand_user, path_fault
from rlagent.base.yaml_file import read_settings
from rlagent.config.compose import SPEC, from_mapping
from rlagent.config.schema import AUTO, LearnConfig
from rlagent.config.trinity_schema import check_trinity, trinity_spec

_OURS = {"dataset", "hardware", "workflow", "run", "trinity", "seed"}
"""Top-level keys that only our configuration has."""


@dataclass
class NativeConfig(LearnConfig):
    """A native Trinity YAML; the fields of LearnConfig mirror what it says.

    Args:
        native: The file as plain data. It reaches Trinity unchanged in every field that it sets.
        source: The file.
    """

    native: dict[str, Any] = field(default_factory=dict)
    source: str = ""


def load_config(path: str) -> LearnConfig:
    """Read a YAML file.

    Args:
        path: A composed configuration (as `rlagent plan --yaml` prints it, or parts of one) or a
            native Trinity YAML, recognised by the top-level keys.

    Raises:
        ConfigError: With every mistake: unreadable, unknown keys, wrong types.
    """
    file, fault = expand_user(path), path_fault(path)
    if not fault and not file.is_file():
        fault = "is a folder, not a file" if file.is_dir() else "there is no such file"
    if fault:
        raise ConfigError([Problem(path, None, fault)])
    plain = read_settings(file, path, resolve=True)
    if is_native(plain):
        raise_if_any(check_trinity(plain, prefix=""))
        return native_config(plain, str(file))
    config, problems = from_mapping(plain, path)
    raise_if_any(problems)
    return config


def is_native(data: dict[str, Any]) -> bool:
    """Return whether plain data is a native Trinity configuration, from its top-level keys.

    What both have (model, algorithm, monitor) does not count; without any telling key, the one
    in whose schema more of the second-level keys exist wins, ours on a tie.
    """
    spec = trinity_spec()
    theirs = set(spec.fields) if spec else set()
    ours_only = set(SPEC.fields) - theirs
    theirs_only = theirs - set(SPEC.fields)
    ours_count, theirs_count = len(ours_only & set(data)), len(theirs_only & set(data))
    if ours_count or theirs_count:
        return theirs_count > ours_count
    if spec is None:
        return False
    second = [
        (group, key) for group, child in data.items() if isinstance(child, dict) for key in child
    ]
    fitting = []
    for tree in (SPEC, spec):
        fitting.append(
            sum(group in tree.fields and key in tree.fields[group].fields for group, key in second)
        )
    return fitting[1] > fitting[0]


def native_config(data: dict[str, Any], source: str = "") -> NativeConfig:
    """Return a NativeConfig whose own fields say what the native settings say."""
    config = NativeConfig(native=data, source=source)
    model, algorithm = data.get("model") or {}, data.get("algorithm") or {}
    buffer, cluster = data.get("buffer") or {}, data.get("cluster") or {}
    explorer, trainer = data.get("explorer") or {}, data.get("trainer") or {}
    rollout = explorer.get("rollout_model") or {}
    taskset = next(iter(training_tasksets(data)), {})

    _take(config.model, model, path="model_path", max_model_len="max_model_len")
    prompt, response = model.get("max_prompt_tokens"), model.get("max_response_tokens")
    if config.model.max_model_len == AUTO and prompt and response:
        # As Trinity's validators do.
        config.model.max_model_len = prompt + response
    _take(config.model, model, max_response_tokens="max_response_tokens")
    _take(config.model, model, temperature="temperature", top_p="top_p", top_k="top_k")
    _take(config.model, rollout, dtype="dtype", tool_call_parser="tool_call_parser")
    _take(config.model, rollout, reasoning_parser="reasoning_parser")
    _take(config.model, rollout, enable_thinking="enable_thinking")
    _take(config.dataset, taskset, path="path", subset="subset_name", split="split")
    config.dataset.columns = []
    config.dataset.eval_split = None
    config.algorithm.name = algorithm.get("algorithm_type", "ppo")
    config.algorithm.repeat_times = algorithm.get("repeat_times") or 1
    _take(config.algorithm, algorithm.get("optimizer") or {}, lr="lr")
    _take(config.algorithm, buffer, batch_size="batch_size", total_steps="total_steps")
    _take(config.algorithm, buffer, train_batch_size="train_batch_size")
    if config.algorithm.total_steps == "auto":
        config.algorithm.total_epochs = buffer.get("total_epochs") or 1
    _take(config.algorithm, trainer, save_interval="save_interval", grad_clip="grad_clip")
    synchronizer = data.get("synchronizer") or {}
    _take(config.algorithm, synchronizer, sync_interval="sync_interval")
    # One for GPUs runs on what there is; one that is none of ours is refused by the table.
    for each in registry.engines():
        here = each.trainer and not each.on_gpus
        if here and rollout.get("engine_type") in each.trinity_types:
            config.hardware.engine = each.name
    _take(config.hardware, cluster, gpus="gpu_per_node", nodes="node_num")
    if cluster.get("gpu_per_node") == 0:
        config.hardware.gpus = 0
    address = cluster.get("ray_address") or AUTO
    if address != AUTO:
        config.hardware.ray = address
    engines, tensor = rollout.get("engine_num", 1), rollout.get("tensor_parallel_size", 1)
    if isinstance(config.hardware.gpus, int) and isinstance(config.hardware.nodes, int):
        total = config.hardware.gpus * config.hardware.nodes
        if total > engines * tensor:
            config.hardware.engines = engines
            config.hardware.tensor_parallel = tensor
            config.hardware.trainer_gpus = total - engines * tensor
            config.hardware.sequence_parallel = trainer.get("ulysses_sequence_parallel_size", 1)
    monitor = (data.get("monitor") or {}).get("monitor_type")
    if monitor in ("wandb", "tensorboard"):
        config.monitor.type = monitor
    config.monitor.project = data.get("project") or config.monitor.project
    config.monitor.group = data.get("group") or None
    # Trinity would put another run beside the one that is there.
    config.run.fresh = data.get("continue_from_checkpoint") is False
    _take(config.workflow, explorer, timeout="max_timeout")
    config.run.name = str(data.get("name") or "run").replace("/", "-")
    record(config, dict.fromkeys(origins(config), source or "Trinity's YAML"))
    return config


def training_tasksets(native: dict[str, Any]) -> list[dict[str, Any]]:
    """The tasksets that a native configuration trains on."""
    explorer_input = (native.get("buffer") or {}).get("explorer_input") or {}
    alone = explorer_input.get("taskset")
    return [alone] if alone else list(explorer_input.get("tasksets") or [])


def _take(section: Any, data: dict[str, Any], **names: str) -> None:
    """Set the named fields of `section` to what `data` holds for them; null holds nothing."""
    for ours, theirs in names.items():
        value = data.get(theirs)
        if value not in (None, "", 0):
            setattr(section, ours, value)
