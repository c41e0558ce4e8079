"""The vLLM and verl of a GPU machine have what our patches rely on."""

import pytest

from rlagent.upstream import patches
from rlagent.upstream.patch import installed

pytestmark = pytest.mark.gpu


@pytest.mark.parametrize("each", patches(), ids=lambda each: each.name)
def test_what_is_installed_here_has_what_a_patch_relies_on(each):
    if installed(each.library) is None and each.library not in ("vllm", "verl"):
        pytest.skip(f"{each.library} is not installed")
    assert installed(each.library) is not None
    assert each.misfits() == []
