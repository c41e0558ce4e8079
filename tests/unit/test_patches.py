"""Patches of foreign code: each names what it relies on, and what is installed here has it."""

import ast
from importlib.machinery import PathFinder
from pathlib import Path

import pytest

import rlagent
from rlagent.backends.registry import automatic_engine
from rlagent.health.patches import listing, patch_rows
from rlagent.upstream import patches
from rlagent.upstream.patch import PATCHES, PatchError, Relies, installed, patch

EMBEDDED = automatic_engine(on_gpus=False)

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
        Relies("toy_package.loops", None, "return fast(task)"),
        Relies("toy_package"),
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
        (Relies("toy_package.loops", None, "slow"), "toy_package.loops no longer has 'slow'"),
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


SITE = Path(PathFinder.find_spec("trinity").origin).parent.parent
RECORDED = Path(__file__).parent / "data" / "vllm-0.23.0.txt"

UPSTREAM_LIBRARIES = ("trinity", "verl", "vllm", "agentscope", "ray", "hydra", "optuna", "wandb")


def recorded_vllm(folder):
    """A folder of packages with what was recorded of vLLM, and Trinity as it is installed."""
    for part in RECORDED.read_text().split("### ")[1:]:
        name, _, text = part.partition("\n")
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    (folder / "trinity").symlink_to(SITE / "trinity")
    return folder


@pytest.mark.parametrize(
    "name",
    [
        "engine_arguments",
        "before_waiting",
        "engine_process",
        "token_lists",
        "load_counted_in_the_loop",
    ],
)
def test_the_recorded_vllm_has_what_its_patches_rely_on(tmp_path, name):
    assert PATCHES[name].misfits(recorded_vllm(tmp_path)) == []


def test_a_vllm_that_looks_at_models_otherwise_does_not_fit(tmp_path):
    folder = recorded_vllm(tmp_path)
    look = PATCHES["look_at_model"]
    assert look.misfits(folder) == []
    file = folder / "vllm" / "model_executor" / "models" / "registry.py"
    changed = tmp_path / "changed"
    (changed / file.parent.relative_to(folder)).mkdir(parents=True)
    (changed / file.relative_to(folder)).write_text(
        file.read_text().replace("mi = _run_in_subprocess(", "mi = subprocesses.run(")
    )
    assert look.misfits(changed) == [
        "vllm.model_executor.models.registry:_LazyRegisteredModel no longer has "
        "'_run_in_subprocess('"
    ]


def _imports(tree):
    """Foreign modules that a module imports, by the name that it gives them."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((each.asname or each.name, each.name) for each in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            for each in node.names:
                yield each.asname or each.name, f"{node.module}.{each.name}"


def _foreign(tree):
    found = dict(_imports(tree))
    return {name: path for name, path in found.items() if path.split(".")[0] in UPSTREAM_LIBRARIES}


def _own_modules():
    package = Path(rlagent.__file__).parent
    for file in sorted([*package.rglob("*.py"), *(package.parent / "hydra_plugins").glob("*.py")]):
        if file.parent.name != "upstream":
            yield file.relative_to(package.parent), ast.parse(file.read_text())


def test_foreign_code_is_changed_and_its_private_parts_are_used_in_upstream_alone():
    found = []
    for file, tree in _own_modules():
        foreign = _foreign(tree)
        private = [path for path in foreign.values() if "._" in path]
        assigned = [
            f"{foreign[target.value.id]}.{target.attr}"
            for node in ast.walk(tree)
            for target in getattr(node, "targets", [])
            if isinstance(target, ast.Attribute)
            and isinstance(target.value, ast.Name)
            and target.value.id in foreign
        ]
        stand_ins = [
            "sys.modules"
            for node in ast.walk(tree)
            for target in getattr(node, "targets", [])
            if isinstance(target, ast.Subscript)
            and ast.unparse(target.value) == "sys.modules"
            and file.name != "functions.py"
        ]
        found += [f"{file}: {what}" for what in (*private, *assigned, *stand_ins)]
    assert found == []


def test_each_private_method_that_a_subclass_replaces_is_one_that_a_patch_relies_on():
    relied_on = {relies.symbol for each in patches() for relies in each.relies_on}
    replaced, missing = 0, []
    for file, tree in _own_modules():
        foreign = _foreign(tree)
        for cls in (node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)):
            for base in cls.bases:
                head, _, rest = ast.unparse(base).partition(".")
                if head not in foreign:
                    continue
                module, _, name = f"{foreign[head]}{'.' if rest else ''}{rest}".rpartition(".")
                methods = [each.name for each in cls.body if hasattr(each, "args")]
                for method in methods:
                    symbol = f"{module}:{name}.{method}"
                    private = method.startswith("_") and not method.startswith("__")
                    if private and not Relies(symbol).misfit(SITE):
                        replaced += 1
                        missing += [f"{file}: {symbol}"] * (symbol not in relied_on)
    assert replaced >= 12
    assert missing == []


def test_the_doctor_says_in_one_line_that_all_patches_fit():
    (row,) = patch_rows(EMBEDDED)
    fits = sum(installed(each.library) is not None for each in patches())
    assert row.state == "ok"
    assert row.found.startswith(f"{fits} of {fits} fit")


def test_the_doctor_names_a_patch_that_does_not_fit_with_its_remedy(toy, monkeypatch):
    broken = toy(Relies("toy_package.loops:Loop._late"))
    monkeypatch.setattr("rlagent.health.patches.installed", lambda library: "2.0")
    count, row = patch_rows(EMBEDDED, among=[broken])
    assert (count.found, row.state, row.name) == ("0 of 1 fit", "FAIL", "toy_patch")
    assert "toy-package 2.0: toy_package.loops:Loop._late is gone" in row.found
    assert "toy-package==1.0" in row.remedy


def test_the_doctor_lists_patches_with_reasons():
    text, fit = listing()
    assert fit
    for each in patches():
        assert each.name in text
        assert each.link in text
    assert "until" in text
