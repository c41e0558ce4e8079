"""Trinity's modules imported without what costs each process seconds and is not used in it.

Stand-ins live only while the one module that asks for them is imported, so that no other library
takes them for the real thing.
"""

import contextlib
import importlib
import sys
from collections.abc import Iterator
from importlib import metadata
from types import ModuleType

from rlagent.upstream.patch import Relies, patch

LIBRARY = "trinity-rft"
VERSIONS = "==0.6.0"
SOURCE = "https://github.com/agentscope-ai/Trinity-RFT/blob/v0.6.0/trinity"

_MM_UTILS = "trinity.common.models.mm_utils"
_VLLM_NAMES = {
    "vllm": (),
    "vllm.config": ("ModelConfig",),
    "vllm.entrypoints": (),
    "vllm.entrypoints.chat_utils": (
        "ChatTemplateContentFormat",
        "ConversationMessage",
        "parse_chat_messages",
        "parse_chat_messages_async",
    ),
    "vllm.inputs": ("MultiModalDataDict",),
}
_BEFORE = ("torch", "transformers", "trinity.utils.log")
"""What mm_utils imports and looks for vLLM itself: it must not find a stand-in."""

_SERVICES = ("mlflow", "swanlab", "wandb")


class _Absent:
    """Raises when anything of vLLM is really used."""

    def __init__(self, *args: object, **kwargs: object) -> None:
        raise ModuleNotFoundError(
            "images, audio and video need vLLM in this process, which rlagent leaves out: "
            "its workflows are about text"
        )


@patch(
    LIBRARY,
    VERSIONS,
    f"{SOURCE}/common/models/mm_utils.py#L35",
    "mm_utils imports vLLM only where images, audio or video are handled",
    [
        *(Relies(f"{_MM_UTILS}:{name}") for names in _VLLM_NAMES.values() for name in names),
    ],
)
def without_vllm() -> None:
    """Import Trinity's multi-modal helpers without vLLM, unless this process uses vLLM anyway.

    Everything that talks to a model imports them. Text models use none of it, and where vLLM is
    installed it costs each process many seconds: only the engine's own processes import vLLM.
    """
    if _MM_UTILS in sys.modules or "vllm" in sys.modules:
        return
    for module_name in _BEFORE:
        importlib.import_module(module_name)
    for module_name, attributes in _VLLM_NAMES.items():
        module = ModuleType(module_name)
        module.__path__ = []
        for attribute in attributes:
            setattr(module, attribute, _Absent)
        sys.modules[module_name] = module
    try:
        importlib.import_module(_MM_UTILS)
    finally:
        for module_name in _VLLM_NAMES:
            del sys.modules[module_name]


@patch(
    LIBRARY,
    VERSIONS,
    f"{SOURCE}/utils/monitor.py#L10",
    "Trinity imports a monitor's service only where that monitor is made",
    [Relies(f"trinity.utils.monitor:{name}") for name in _SERVICES],
)
def without_services() -> None:
    """Import Trinity's monitors as if W&B, MLflow and SwanLab were not installed.

    Only the driver's mirror speaks to W&B: in the other processes importing it costs most of a
    second, and leaves two folders in /tmp behind when Ray ends the process.
    """
    hidden = [name for name in _SERVICES if name not in sys.modules]
    # What Python takes for 'cannot be imported'.
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]
    try:
        importlib.import_module("trinity.utils.monitor")
    finally:
        for name in hidden:
            sys.modules.pop(name, None)


@patch(
    LIBRARY,
    VERSIONS,
    f"{SOURCE}/algorithm/advantage_fn/ppo_advantage.py#L9",
    "Trinity imports verl's DataProto for annotations under TYPE_CHECKING only, everywhere",
    [Relies("trinity.algorithm.advantage_fn.ppo_advantage:DataProto")],
)
@contextlib.contextmanager
def without_verl(stand_in: type) -> Iterator[None]:
    """Within the block, let `from verl import DataProto` of Trinity's advantage functions succeed.

    There it only serves annotations; importing verl takes 12 s.

    Args:
        stand_in: What they get for DataProto.
    """
    if "verl" in sys.modules:
        yield
        return
    module = ModuleType("verl")
    module.DataProto = stand_in  # type: ignore[attr-defined]
    sys.modules["verl"] = module
    try:
        yield
    finally:
        del sys.modules["verl"]


@patch(
    LIBRARY,
    VERSIONS,
    f"{SOURCE}/trainer/trainer.py#L371",
    "Trinity asks importlib.metadata for verl's version",
    [
        Relies("trinity.trainer.trainer:is_verl_legacy", "", "import verl"),
        Relies(
            "trinity.common.config_validator:TrainerConfigValidator.validate",
            None,
            "import is_verl_legacy",
        ),
    ],
)
@contextlib.contextmanager
def version_of_verl_from_its_metadata() -> Iterator[None]:
    """Within the block, Trinity's validators know verl's version without importing verl.

    That takes seconds before which nothing else of a run can start.
    """
    from packaging.version import Version
    from trinity.trainer import trainer

    def is_legacy() -> bool:
        try:
            return Version(metadata.version("verl")) < Version("0.8.0")
        except metadata.PackageNotFoundError:
            return False

    theirs = trainer.is_verl_legacy
    trainer.is_verl_legacy = is_legacy
    try:
        yield
    finally:
        trainer.is_verl_legacy = theirs
