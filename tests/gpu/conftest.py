"""Everything here needs NVIDIA GPUs and the gpu extra; elsewhere it is skipped with the reason."""

import importlib.util

import pytest

from rlagent.machine.resources import detect


def pytest_collection_modifyitems(items):
    """Mark every test of this folder, and skip those that lack GPUs or vLLM."""
    found = len(detect().gpus)
    vllm = importlib.util.find_spec("vllm") is not None
    for item in items:
        if "tests/gpu/" not in item.path.as_posix():
            continue
        item.add_marker(pytest.mark.gpu)
        needs = getattr(item, "callspec", None)
        gpus = needs.params.get("gpus", 1) if needs else 1
        if found < gpus:
            item.add_marker(pytest.mark.skip(reason=f"needs {gpus} GPUs, there are {found}"))
        elif not vllm:
            item.add_marker(pytest.mark.skip(reason="needs vLLM: pip install 'rlagent[gpu]'"))
