"""What `model.lora` may hold, of what was written and of what was resolved."""

from rlagent.backends.registry import engine_named, trainer_named
from rlagent.base.errors import Problem
from rlagent.base.lora import ALL_LINEAR, LoraConfig
from rlagent.base.names import did_you_mean
from rlagent.base.origins import get
from rlagent.base.paths import local_path
from rlagent.config.model_files import block_modules
from rlagent.config.schema import LearnConfig


def lora_contradictions(config: LearnConfig) -> list[Problem]:
    """Return which settings of an adapter are written while there is none, and contradict."""
    lora, plain = config.model.lora, LoraConfig()
    if lora.rank is None:
        # A resolved file holds every key: only another value than the default asks for something.
        return [
            Problem(
                f"model.lora.{name}",
                get(lora, name),
                "is of an adapter, and none is trained: model.lora.rank is null",
                "set model.lora.rank, such as 16, or leave this out",
            )
            for name in ("alpha", "dropout", "target_modules")
            if get(lora, name) != get(plain, name)
        ]
    targets = lora.target_modules
    key = "model.lora.target_modules"
    if not targets:
        return [Problem(key, "[]", "names no module: nothing would be trained", _ALL)]
    if ALL_LINEAR in targets and len(targets) > 1:
        message = f"names modules beside {ALL_LINEAR}, which stands for every one"
        return [Problem(key, targets, message, "write the one or the other")]
    return []


_ALL = f"write [{ALL_LINEAR}], or names such as [q_proj,v_proj]"


def lora_problems(config: LearnConfig) -> list[Problem]:
    """Return why a resolved configuration cannot train its adapter; empty without one."""
    lora = config.model.lora
    if lora.rank is None:
        return []
    problems = _targets(config)
    trainer = trainer_named(engine_named(config.hardware.engine).trainer)
    if lora.dropout and not trainer.drops:
        key, message = "model.lora.dropout", f"the LoRA of {trainer.name} drops nothing"
        problems.append(Problem(key, lora.dropout, message, "leave it out"))
    if config.hardware.offload is True and engine_named(config.hardware.engine).on_gpus:
        message = "does not go with model.lora, whose adapter is saved from the GPUs"
        remedy = "leave it out: of an adapter there is little to offload"
        problems.append(Problem("hardware.offload", True, message, remedy))
    return problems


def _targets(config: LearnConfig) -> list[Problem]:
    """Name the modules that a model on disk has not; what the hub holds peft looks at later."""
    folder, targets = local_path(config.model.path), config.model.lora.target_modules
    modules = block_modules(folder) if folder else set()
    if not modules or targets == [ALL_LINEAR]:
        return []
    known = sorted(modules)
    return [
        Problem(
            "model.lora.target_modules",
            name,
            f"is no linear layer of the blocks of {config.model.path}, "
            f"which have {', '.join(known)}",
            did_you_mean(name, known),
        )
        for name in targets
        if name not in modules
    ]
