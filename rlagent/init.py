"""`rlagent init NAME`: a folder to begin an agent of one's own from, whose parts fit together.

The files are those of templates/KIND; NAME stands there wherever the new name belongs.
"""

import argparse
import re
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from rlagent.base.endings import EXIT_FAILED, EXIT_OK
from rlagent.base.errors import ConfigError, Problem, raise_if_any
from rlagent.base.screen import lasting_streams
from rlagent.config.command import print_error
from rlagent.config.presets import preset_names

TEMPLATES = Path(__file__).parent / "templates"
"""A folder for each kind."""

KINDS = {
    "agent": "an AgentScope agent with a tool, called with a task and a model",
    "environment": "an agent that acts in an environment of your own, over several turns",
    "endpoint": "an agent of the openai SDK, or of any library that takes an endpoint",
}

_PLACE = "NAME"
"""What stands for the new name, in the names and the text of files."""

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}")
_WORDS = ("null", "true", "false", "nan", "inf", "yes", "no", "on", "off", _PLACE.lower())
"""Names that a command line or YAML does not read as text, and the one that is replaced."""

EPILOG = """\
The new folder holds a workflow, ten tasks, a preset of an experiment, a test that runs one rollout,
and a README with the commands. Nothing that exists is overwritten.
Exit status: 0 written; 1 it could not be; 2 the name cannot be taken.
"""


@lasting_streams()
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    parser = argparse.ArgumentParser(
        prog="rlagent init",
        description="Write a folder to begin an agent of your own from.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("name", metavar="NAME", help="of the folder and of its experiment")
    kinds = "; ".join(f"{name}: {words}" for name, words in KINDS.items())
    parser.add_argument("--kind", choices=list(KINDS), default="agent", help=kinds)
    asked = parser.parse_args(sys.argv[1:] if argv is None else list(argv))
    try:
        raise_if_any(name_problems(asked.name, Path.cwd()))
        written = write(asked.kind, asked.name, Path.cwd())
    except ConfigError as error:
        return print_error(error)
    except OSError as error:
        print(f"rlagent init: {error}", file=sys.stderr)
        return EXIT_FAILED
    print(f"{asked.name}/ holds {', '.join(written)}; next:")
    print(f"  cd {asked.name}")
    print("  python -m pytest")
    print(f"  python -m rlagent.train --config-dir conf +experiment={asked.name}")
    return EXIT_OK


def name_problems(name: str, parent: Path) -> list[Problem]:
    """Return why a new folder in `parent` cannot have this name."""
    if not _NAME.fullmatch(name):
        allowed = "must be a letter, and then at most 63 letters, digits, - and _"
        return [Problem("NAME", name, allowed, "it names a folder and an experiment")]
    if name.lower() in _WORDS:
        message = "means something else to a command line or YAML"
        return [Problem("NAME", name, message, "take another")]
    if name in preset_names("experiment"):
        message = "is the name of an experiment that comes with rlagent"
        return [Problem("NAME", name, message, "take another")]
    if (parent / name).exists():
        return [Problem("NAME", name, f"there is a {name} here already", "take another")]
    return []


def write(kind: str, name: str, parent: Path) -> list[str]:
    """Write the files of a kind to `parent`/`name`: all of them, or nothing.

    Args:
        kind: One of KINDS.
        name: As `name_problems` takes it.
        parent: The folder that the new one is made in.

    Returns:
        The files, relative to the new folder.

    Raises:
        OSError: They cannot be written, or there is such a folder by now.
    """
    source, written = TEMPLATES / kind, []
    with tempfile.TemporaryDirectory(dir=parent, prefix=f".{name}-") as made:
        for file in sorted(path for path in source.rglob("*") if path.is_file()):
            if "__pycache__" in file.parts:
                continue
            to = str(file.relative_to(source)).replace(_PLACE, name)
            target = Path(made, name, to)
            target.parent.mkdir(parents=True, exist_ok=True)
            text = file.read_text(encoding="utf-8").replace(_PLACE, name)
            target.write_text(text, encoding="utf-8")
            written.append(to)
        # Fails where a folder with something in it was made meanwhile.
        Path(made, name).rename(parent / name)
    return written


if __name__ == "__main__":
    sys.exit(main())
