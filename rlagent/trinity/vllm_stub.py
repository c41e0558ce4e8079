"""Lets Trinity's modules be imported on machines without vLLM.

Trinity imports three vLLM modules at the top of its multi-modal helpers, which everything imports
that talks to a model. Text models use none of it. The stand-ins live only while that one module
is imported, so that no other library mistakes them for vLLM.
"""

import importlib
import importlib.util
import sys
from types import ModuleType

_NAMES = {
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


class _Absent:
    """Raises when anything of vLLM is really used."""

    def __init__(self, *args: object, **kwargs: object) -> None:
        raise ModuleNotFoundError(
            "this needs vLLM, which is not installed: pip install 'rlagent[gpu]'"
        )


def install() -> None:
    """Make `trinity.common.models.mm_utils` importable; does nothing where vLLM is installed."""
    if "trinity.common.models.mm_utils" in sys.modules or importlib.util.find_spec("vllm"):
        return
    for module_name, attributes in _NAMES.items():
        module = ModuleType(module_name)
        module.__path__ = []
        for attribute in attributes:
            setattr(module, attribute, _Absent)
        sys.modules[module_name] = module
    try:
        importlib.import_module("trinity.common.models.mm_utils")
    finally:
        for module_name in _NAMES:
            del sys.modules[module_name]
