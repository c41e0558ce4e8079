"""Lets Trinity's modules be imported without vLLM.

Trinity imports three vLLM modules at the top of its multi-modal helpers, which everything imports
that talks to a model. Text models use none of it, and where vLLM is installed they cost each
process many seconds: only the engine's own processes import vLLM. The stand-ins live only while
that one module is imported, so that no other library mistakes them for vLLM.
"""

import importlib
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

_BEFORE = ("torch", "transformers", "trinity.utils.log")


class _Absent:
    """Raises when anything of vLLM is really used."""

    def __init__(self, *args: object, **kwargs: object) -> None:
        raise ModuleNotFoundError(
            "images, audio and video need vLLM in this process, which rlagent leaves out: "
            "its workflows are about text"
        )


def install() -> None:
    """Import `trinity.common.models.mm_utils`, with stand-ins unless this process uses vLLM."""
    if "trinity.common.models.mm_utils" in sys.modules or "vllm" in sys.modules:
        return
    # What it imports beside vLLM looks for vLLM itself, and must not find a stand-in.
    for module_name in _BEFORE:
        importlib.import_module(module_name)
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
