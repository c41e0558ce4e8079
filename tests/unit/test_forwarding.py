"""Actor classes that import nothing, in front of objects that import much."""

import ast
import asyncio
import importlib.util
from pathlib import Path

from rlagent.backends.vllm.engine_actor import EngineActor
from rlagent.base.forwarding import forwarding


class _Behind:
    def plain(self, number: int) -> int:
        return number + 1

    async def later(self, number: int, *, more: int) -> int:
        return number + more


@forwarding("plain", "later")
class _Front:
    def __init__(self) -> None:
        self.behind = _Behind()


def test_calls_reach_plain_and_async_methods_alike() -> None:
    front = _Front()
    assert asyncio.run(front.plain(1)) == 2
    assert asyncio.run(front.later(1, more=2)) == 3


def _public_methods(module: str, names: set[str]) -> set[str]:
    """Of classes of Trinity's module, read from its source: importing it takes vLLM."""
    (root,) = importlib.util.find_spec("trinity").submodule_search_locations
    tree = ast.parse((Path(root) / "common" / "models" / module).read_text())
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef) and node.name in names]
    assert {node.name for node in classes} == names
    return {
        method.name
        for node in classes
        for method in node.body
        if isinstance(method, ast.FunctionDef | ast.AsyncFunctionDef)
        and not method.name.startswith("_")
    }


def test_an_engines_handle_offers_what_trinitys_engine_does() -> None:
    theirs = _public_methods("vllm_model.py", {"vLLMRolloutModel"})
    theirs |= _public_methods("model.py", {"InferenceModel"})
    assert {name for name in theirs if not hasattr(EngineActor, name)} == set()
