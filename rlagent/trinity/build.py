"""From Trinity's configuration as nested dicts to Trinity's own checked Config object."""

import contextlib
import io
import os
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TextIO

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from rlagent.backends.base import NO_KEY
from rlagent.backends.registry import engine_of_type, trainer_named
from rlagent.base.errors import ConfigError, Problem
from rlagent.base.secrets import without_interpolations
from rlagent.trinity.translate import WORKFLOW_TYPE
from rlagent.upstream import trinity as trinity_patches
from rlagent.upstream import trinity_imports

_NOT_WRITTEN = ("checkpoint_job_dir", "rows")
"""Keys that rlagent and Trinity's validators add to the workflow arguments of a taskset."""

_FUNCTIONS = {
    "sample_strategy": "SAMPLE_STRATEGY",
    "policy_loss_fn": "POLICY_LOSS_FN",
    "advantage_fn": "ADVANTAGE_FN",
    "kl_loss_fn": "KL_FN",
    "kl_penalty_fn": "KL_FN",
    "entropy_loss_fn": "ENTROPY_LOSS_FN",
}
"""Fields of Trinity's algorithm that name a function, and the registry that knows it."""


def build(tree: dict[str, Any]) -> Any:
    """Trinity's Config, checked and completed by Trinity's own validators.

    Args:
        tree: As from `translate.to_trinity`, or a native YAML.

    Raises:
        ConfigError: Trinity refuses a value; its message is passed on.
    """
    from trinity.common.config import Config

    try:
        # What was to be resolved is; the rest is text, such as a prompt.
        plain = without_interpolations(tree)
        merged = OmegaConf.merge(OmegaConf.structured(Config), plain)
        config: Any = OmegaConf.to_object(merged)
    except OmegaConfBaseException as error:
        key = getattr(error, "full_key", None) or ""
        raise ConfigError([Problem(f"trinity.{key}", None, str(error.msg), "")]) from error
    _complete_arguments(config)
    interval, engine = config.explorer.eval_interval, config.explorer.rollout_model
    share = engine.gpu_memory_utilization
    written = (tree.get("explorer") or {}).get("rollout_model") or {}
    _validate(config)
    if config.model.lora_configs and "gpu_memory_utilization" in written:
        # Trinity lowers it to a quarter where the trainer shares the GPU; that of an adapter
        # leaves more, and a model of 8 B parameters needs it.
        engine.gpu_memory_utilization = share
    # Trinity moves evaluations to steps with a sync; here each says which weights it measures.
    config.explorer.eval_interval = interval
    return config


def attach_workflow(
    config: Any,
    arguments: dict[str, Any],
    workflow: Callable[..., Any] | None,
    judge: Callable[..., Any] | None,
) -> None:
    """Have every task run by the workflow adapter.

    Args:
        config: Trinity's; changed in place.
        arguments: For the adapter, see `translate.workflow_args`.
        workflow: The function as an object, pickled by Ray; None: `arguments` names it.
        judge: Likewise.
    """
    sets = config.buffer.explorer_input
    for taskset in [*sets.tasksets, *sets.eval_tasksets]:
        # A native configuration's own, for the function; ours holds the adapter's already.
        ours = "run_folder" in taskset.workflow_args
        written = {} if ours else dict(taskset.workflow_args)
        for name in _NOT_WRITTEN:
            written.pop(name, None)
        taskset.workflow_args = {**taskset.workflow_args, **arguments, "workflow_args": written}
        if workflow is not None:
            taskset.workflow_args["function"] = workflow
        if judge is not None:
            taskset.workflow_args["judge"] = judge
        if taskset.workflow_args["function"]:
            taskset.default_workflow_type = WORKFLOW_TYPE


class _Said(io.TextIOBase):
    """A stream to whatever file is set, and to none in between.

    Trinity's loggers keep the stdout of their first use, and a second `learn()` of a process has a
    log of its own.
    """

    file: TextIO | None = None

    def write(self, text: str) -> int:
        """Write to the file of now."""
        return len(text) if self.file is None else self.file.write(text)


_said = _Said()


@contextlib.contextmanager
def saying_to(log: Path) -> Iterator[None]:
    """Append to `log` what Trinity's validators would print."""
    with log.open("a", encoding="utf-8") as _said.file, contextlib.redirect_stdout(_said):
        try:
            yield
        finally:
            _said.file = None


def require_key(config: Any) -> None:
    """Have the engines ask for a key of this attempt, which is in no file.

    An engine listens on loopback, where every user of the machine could sample from the model.
    Trinity hands the key to the processes that run agent code, together with its Config.
    """
    explorer = config.explorer
    for model in (explorer.rollout_model, *explorer.auxiliary_models):
        model.api_key = secrets.token_urlsafe(32)
        if engine_of_type(model.engine_type).by_url:
            # Somebody else's server, with a key of its own.
            named = model.extra_engine_args.get("key_env")
            model.api_key = os.environ[named] if named else NO_KEY


def save_yaml(tree: dict[str, Any], path: Path) -> None:
    """Write the tree as Trinity would read it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    OmegaConf.save(OmegaConf.create(without_interpolations(tree)), path)


def _complete_arguments(config: Any) -> None:
    """Fill in the defaults of a function's arguments; Trinity does so only when none is given."""
    import trinity.algorithm as registries

    algorithm = config.algorithm
    defaults = registries.ALGORITHM_TYPE.get(algorithm.algorithm_type).default_config()
    for name, registry in _FUNCTIONS.items():
        given = getattr(algorithm, f"{name}_args")
        if not given:
            continue
        chosen = getattr(algorithm, name) or defaults.get(name)
        function = getattr(registries, registry).get(chosen)
        setattr(algorithm, f"{name}_args", {**function.default_args(), **given})


def _validate(config: Any) -> None:
    unchecked = trainer_named(config.trainer.trainer_type).unchecked
    try:
        with (
            trinity_imports.version_of_verl_from_its_metadata.apply(),
            trinity_patches.validators_without.apply(*unchecked),
        ):
            config.check_and_update()
    except (ValueError, AssertionError) as error:
        raise ConfigError([Problem("trinity", None, f"Trinity refuses: {error}", "")]) from error
