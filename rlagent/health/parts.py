"""Which versions are installed, which are wanted, and whether each part imports.

Wanted ranges come from rlagent's own requirements, tested versions from the constraint sets that
travel with it. Each import runs in a process of its own, two at a time.
"""

import platform
import shlex
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import requires
from pathlib import Path

from rlagent.backends.base import RolloutEngine
from rlagent.backends.registry import engines, packages_of
from rlagent.base.words import python_command, short_path
from rlagent.health.row import FAIL, OK, SKIP, WARN, Answer, Row, run_python
from rlagent.upstream.patch import installed

IMPORT_TIMEOUT = 180.0
"""Seconds; the first import after an installation reads gigabytes from a cold disk."""

IMPORTS = {
    "hydra-core": "import hydra",
    "omegaconf": "import omegaconf",
    "torch": "import torch",
    "ray": "import ray",
    "transformers": "from transformers import AutoModelForCausalLM, AutoTokenizer",
    "datasets": "import datasets",
    "agentscope": "import agentscope.agent, agentscope.tuner",
    "trinity-rft": (
        "from rlagent.upstream import trinity_imports; trinity_imports.without_vllm.apply(); "
        "import trinity.explorer.explorer, trinity.trainer.trainer"
    ),
    "verl": "import verl",
    "vllm": "import vllm",
    "xgrammar": "import xgrammar",
    "wandb": "import wandb",
    "tensorboard": "import tensorboard.summary.writer.event_file_writer",
    "matplotlib": "import matplotlib.figure",
    "numpy": "import numpy",
    "pyarrow": "import pyarrow",
    "mcp": "import mcp.client.streamable_http",
    "greenlet": "import greenlet",
    "dspy": "import dspy",
}
"""How each part is used: the import that a run makes of it."""


def constraints_file(gpu: bool) -> Path | None:
    """The shipped set of tested versions; None when the installation lacks it."""
    package = Path(__file__).resolve().parent.parent
    name = "gpu.txt" if gpu else "cpu.txt"
    for folder in (package / "constraints", package.parent / "constraints"):
        if (folder / name).is_file():
            return folder / name
    return None


def pinned_versions(text: str) -> dict[str, str]:
    """The pins of a constraint set, by normalised name.

    >>> pinned_versions("# a note\\ntorch==2.13.0\\n")
    {'torch': '2.13.0'}
    """
    lines = (line.split("#")[0].strip() for line in text.splitlines())
    pairs = (line.split(";")[0].strip().split("==") for line in lines if "==" in line)
    return {normal(name): pin.strip() for name, pin in pairs}


def normal(name: str) -> str:
    """A distribution's name in its normal form, extras left out."""
    return name.split("[")[0].strip().lower().replace("_", "-").replace(".", "-")


def wanted_ranges(requirements: Iterable[str]) -> dict[str, str]:
    """The version range that rlagent requires of each part, '' for any."""
    from packaging.requirements import Requirement

    parsed = [Requirement(text) for text in requirements]
    # Lower bounds first, as people write them.
    return {
        normal(item.name): ",".join(sorted((str(spec) for spec in item.specifier), reverse=True))
        for item in parsed
    }


def part_rows(engine: RolloutEngine) -> list[Row]:
    """A row for Python and for each part: version found, wanted, and whether it imports.

    Args:
        engine: The rollout engine; what others and their trainers need may be absent.
    """
    file = constraints_file(engine.on_gpus)
    tested = pinned_versions(file.read_text()) if file else {}
    ranges = wanted_ranges(requires("rlagent") or [])
    with ThreadPoolExecutor(2) as pool:
        imports = dict(zip(IMPORTS, pool.map(_try_import, IMPORTS.values()), strict=True))
    rows = [_python_row()]
    for name in IMPORTS:
        rows.append(
            judge(
                name,
                installed(name),
                ranges.get(name, ""),
                tested.get(name, ""),
                imports[name],
                is_needed(name, engine),
                install_command(name, ranges.get(name, ""), file),
            )
        )
    return rows


def is_needed(name: str, engine: RolloutEngine) -> bool:
    """Whether runs with that engine use a distribution; those of other engines and trainers not."""
    others = {package for each in engines() for package in packages_of(each)}
    return name in packages_of(engine) or name not in others


def judge(
    name: str,
    found: str | None,
    wanted: str,
    tested: str,
    imported: Answer,
    needed: bool,
    install: str,
) -> Row:
    """Decide one part's row.

    Args:
        name: The distribution.
        found: The version installed; None without one.
        wanted: The range required; '' for any.
        tested: The version of the tested set; '' when it is in none.
        imported: How its import went.
        needed: Whether this run uses it.
        install: The command that installs it as wanted.
    """
    from packaging.specifiers import SpecifierSet

    if not needed and (found is None or not imported.ok):
        return Row(SKIP, name, found or "not installed", "not needed here")
    if found is None:
        return Row(FAIL, name, "not installed", wanted, install)
    if wanted and not SpecifierSet(wanted).contains(found.split("+")[0], prereleases=True):
        return Row(FAIL if needed else WARN, name, found, wanted, install)
    if not imported.ok:
        # pip takes what is there for good, so installing it again has to be forced.
        again = install.replace("pip install", "pip install --force-reinstall")
        return Row(FAIL, name, f"{found}, does not import: {imported.error}", wanted, again)
    if tested and found.split("+")[0] != tested.split("+")[0]:
        return Row(WARN, name, f"{found}, tested with {tested}", wanted)
    return Row(OK, name, found, wanted)


def install_command(name: str, wanted: str, constraints: Path | None) -> str:
    """What to type to get a part as wanted, with everything else as tested."""
    words: Sequence[str] = [python_command(), "-m", "pip", "install"]
    if constraints:
        words = [*words, "--constraint", short_path(constraints)]
    return " ".join(shlex.quote(word) for word in [*words, f"{name}{wanted}"])


def _try_import(code: str) -> Answer:
    return run_python(code, IMPORT_TIMEOUT)


def _python_row() -> Row:
    found = platform.python_version()
    if found.startswith(("3.11.", "3.12.")):
        return Row(OK, "python", found, ">=3.11,<3.13")
    return Row(FAIL, "python", found, ">=3.11,<3.13", "make a new environment with Python 3.12")
