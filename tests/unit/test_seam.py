"""Only rlagent/backends/ distinguishes between engines, and between trainers."""

import ast
import importlib.util
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from rlagent.backends.base import RolloutEngine, Trainer
from rlagent.backends.registry import ENGINES, TRAINERS, engine_named, engine_of_type, trainer_named

ROOT = Path(__file__).resolve().parents[2]
NAMES = {*ENGINES, *TRAINERS} | {
    name for engine in ENGINES for name in engine_named(engine).trinity_types
}
CALLS = {"startswith", "endswith", "removeprefix", "get", "index", "count"}
"""Methods by which a text is compared, or looked up."""


def outside() -> list[Path]:
    found = [*(ROOT / "rlagent").rglob("*.py"), *(ROOT / "hydra_plugins").rglob("*.py")]
    return [file for file in found if "backends" not in file.relative_to(ROOT).parts]


def comparisons(source: str) -> list[int]:
    """The lines of Python source in which the name of an engine or a trainer is compared."""
    tree = ast.parse(source)
    named = set(_constants(tree))
    return sorted({node.lineno for node in ast.walk(tree) if _compares(node, named)})


def _constants(tree: ast.AST) -> Iterator[str]:
    """Names that hold nothing but a name of an engine, such as EMBEDDED."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and _is_name(node.value):
            yield from (target.id for target in node.targets if isinstance(target, ast.Name))


def _compares(node: ast.AST, constants: set[str]) -> bool:
    def holds(part: ast.AST) -> bool:
        if isinstance(part, (ast.Tuple, ast.List, ast.Set)):
            return any(holds(item) for item in part.elts)
        if isinstance(part, ast.Dict):
            return any(holds(key) for key in part.keys if key is not None)
        return _is_name(part) or (isinstance(part, ast.Name) and part.id in constants)

    if isinstance(node, ast.Compare):
        sides = [node.left, *node.comparators]
        return any(holds(side) for side in sides) and not any(map(_is_modules, sides))
    if isinstance(node, ast.Subscript):
        return (holds(node.value) or holds(node.slice)) and not _is_modules(node.value)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        looked = node.func.attr in CALLS and any(holds(each) for each in node.args)
        return looked or holds(node.func.value)
    if isinstance(node, ast.MatchValue):
        return holds(node.value)
    # A predicate of one's own, such as `embedded(config)` or `resolution.embedded`.
    return isinstance(node, (ast.FunctionDef, ast.arg)) and _name_of(node) in NAMES


def _name_of(node: ast.FunctionDef | ast.arg) -> str:
    name = node.name if isinstance(node, ast.FunctionDef) else node.arg
    return name.removeprefix("is_")


def _is_modules(node: ast.AST) -> bool:
    """Whether it is sys.modules: whether a package is imported says nothing about an engine."""
    return isinstance(node, ast.Attribute) and node.attr == "modules"


def _is_name(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and node.value in NAMES


@pytest.mark.parametrize(
    "source",
    [
        'x = hardware.engine == "embedded"',
        'x = "vllm" != engine',
        'x = kind in ("verl", "other")',
        'X = "embedded"\ny = kind is X',
        'x = kind.startswith("vllm")',
        'x = {"embedded": 1, "vllm": 2}[engine]',
        'x = {"embedded": 1}.get(engine)',
        'match kind:\n    case "external":\n        pass',
        "def embedded(config): ...",
        "def f(is_embedded): ...",
    ],
)
def test_each_way_to_compare_an_engines_name_is_seen(source) -> None:
    assert len(comparisons(source)) == 1


@pytest.mark.parametrize(
    "source",
    [
        'x = "vllm" in sys.modules',
        'del sys.modules["verl"]',
        'engine: str = word("auto")',
        'PACKAGES = ("vllm", "verl")',
    ],
)
def test_naming_a_package_is_no_comparison(source) -> None:
    assert comparisons(source) == []


def test_nobody_outside_backends_compares_the_name_of_an_engine() -> None:
    found = [
        f"{file.relative_to(ROOT)}:{line}"
        for file in outside()
        for line in comparisons(file.read_text())
    ]
    assert found == []


def test_the_seam_is_one_small_file() -> None:
    assert len((ROOT / "rlagent/backends/base.py").read_text().splitlines()) <= 160


@pytest.mark.parametrize("name", ENGINES)
def test_an_engine_has_what_is_asked_of_it(name) -> None:
    engine = engine_named(name)
    assert (engine.name, engine_named(engine.name)) == (name, engine)
    assert _without(engine, RolloutEngine) == []
    assert [engine_of_type(kind) for kind in engine.trinity_types] == [
        engine for _ in engine.trinity_types
    ]
    assert _is_there(engine.actor)
    if engine.trainer:
        assert isinstance(trainer_named(engine.trainer), Trainer)
    else:
        assert engine.no_trainer


@pytest.mark.parametrize("name", TRAINERS)
def test_a_trainer_has_what_is_asked_of_it(name) -> None:
    trainer = trainer_named(name)
    assert trainer.name == name
    assert _without(trainer, Trainer) == []
    assert _is_there(trainer.process)


def _without(given: object, interface: type) -> list[str]:
    """Values of the interface that have no default and are not given."""
    return [name for name in interface.__annotations__ if not hasattr(given, name)]


def _is_there(path: str) -> bool:
    """Whether the module of a dotted path defines the name; it is not imported, being heavy."""
    module, _, name = path.partition(":")
    spec = importlib.util.find_spec(module)
    assert spec is not None
    assert spec.origin is not None
    tree = ast.parse(Path(spec.origin).read_text())
    return any(isinstance(node, ast.ClassDef) and node.name == name for node in tree.body)


def test_asking_the_seam_imports_nothing_that_has_to_be_installed() -> None:
    code = (
        "import sys; from rlagent.backends.registry import TRAINERS, engines, trainer_named\n"
        "[*engines(), *map(trainer_named, TRAINERS)]\n"
        "print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    light = {*sys.stdlib_module_names, "rlagent", "__main__"}
    heavy = {name for name in done.stdout.split() if name not in light and name[0] != "_"}
    assert heavy - {"sitecustomize", "usercustomize", "distutils-precedence"} == set()
