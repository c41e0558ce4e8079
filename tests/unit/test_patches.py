"""Patches of foreign code: each names what it relies on, and what is installed here has it."""

import pytest

from rlagent.upstream import patches
from rlagent.upstream.patch import PATCHES, PatchError, Relies, installed, patch

SOURCE = """
try:
    import quick as fast
except ImportError:
    fast = None


class Loop:
    def __init__(self, tasks, *, late=0):
        self._tasks = tasks

    async def _step(self, task, *rest, **options):
        return fast(task)
"""


@pytest.fixture
def toy(tmp_path, monkeypatch):
    """A package on the path, and a patch of it that relies on what it is given."""
    (tmp_path / "toy_package").mkdir()
    (tmp_path / "toy_package" / "__init__.py").write_text("")
    (tmp_path / "toy_package" / "loops.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(tmp_path)

    def make(*relies_on):
        @patch("toy-package", "==1.0", "https://toy.example/loops.py#L9", "never", [*relies_on])
        def toy_patch(value):
            """Make loops quick."""
            return value + 1

        monkeypatch.delitem(PATCHES, "toy_patch")
        return toy_patch

    return make


@pytest.mark.parametrize("each", patches(), ids=lambda each: each.name)
def test_what_is_installed_here_has_what_a_patch_relies_on(each):
    if installed(each.library) is None:
        pytest.skip(f"{each.library} is not installed")
    assert each.relies_on
    assert each.misfits() == []


@pytest.mark.parametrize("each", patches(), ids=lambda each: each.name)
def test_a_patch_says_why_where_and_until_when(each):
    assert all([each.reason, each.versions, each.link.startswith("https://"), each.removable_when])


def test_a_patch_that_fits_changes_what_it_is_for(toy):
    fits = toy(
        Relies("toy_package.loops:fast"),
        Relies("toy_package.loops:Loop", "self, tasks, *, late"),
        Relies("toy_package.loops:Loop._tasks"),
        Relies("toy_package.loops:Loop._step", "self, task, *rest, **options", "fast(task)"),
    )
    assert fits.misfits() == []
    assert fits.apply(1) == 2


@pytest.mark.parametrize(
    ("relied_on", "problem"),
    [
        (Relies("toy_package.gone:fast"), "toy_package.gone:fast is gone"),
        (Relies("toy_package.loops:Loop._late"), "toy_package.loops:Loop._late is gone"),
        (
            Relies("toy_package.loops:Loop._step", "self, task"),
            "toy_package.loops:Loop._step takes (self, task, *rest, **options), not (self, task)",
        ),
        (
            Relies("toy_package.loops:Loop._step", None, "slow(task)"),
            "toy_package.loops:Loop._step no longer has 'slow(task)'",
        ),
        (Relies("no_such_package:anything"), "no_such_package:anything is gone"),
    ],
)
def test_a_patch_that_does_not_fit_names_library_versions_and_what_is_missing(
    toy, relied_on, problem
):
    broken = toy(relied_on)
    assert broken.misfits() == [problem]
    with pytest.raises(PatchError) as caught:
        broken.apply(1)
    text = str(caught.value)
    assert problem in text
    assert "toy-package None does not fit the patch toy_patch, made for ==1.0" in text
