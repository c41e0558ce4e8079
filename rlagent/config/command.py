"""Reads a command line in Hydra's form: flags and overrides, in any order, every mistake at once.

What the flags do is left to the commands (train.py, plan.py).
"""

import argparse
import dataclasses
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NoReturn

from rlagent.base.errors import ConfigError, Problem, UnreachableError
from rlagent.base.names import did_you_mean
from rlagent.config.compose import Draft, draft
from rlagent.config.overlay import Shared
from rlagent.upstream import hydra as hydra_patches


@dataclass(frozen=True)
class Command:
    """A parsed command line.

    Args:
        flags: As Hydra's own parser gives them, and the command's own flags.
        overrides: The overrides in the order typed.
        argv: The arguments as typed.
        problems: Flags that do not exist or lack their value.
    """

    flags: argparse.Namespace
    overrides: list[str]
    argv: list[str]
    problems: list[Problem]

    @property
    def config_dirs(self) -> list[str]:
        """Folders whose presets win over the shipped ones."""
        return [name for name in (self.flags.config_dir, self.flags.config_path) if name]

    def draft(
        self,
        overrides: Sequence[str] | None = None,
        multirun: bool = False,
        shared: Shared | None = None,
    ) -> Draft:
        """Compose what was asked for; its problems include those of the flags.

        Args:
            overrides: Instead of the typed ones, such as those of one trial.
            multirun: As for compose.draft.
            shared: What earlier drafts of this command found, for the trials of a sweep.
        """
        try:
            made = draft(
                self.overrides if overrides is None else overrides,
                [self.flags.config_dir] if self.flags.config_dir else [],
                self.flags.config_name or "config",
                self.flags.config_path,
                multirun,
                shared,
            )
        except ConfigError as error:
            raise ConfigError([*self.problems, *error.problems]) from error
        return dataclasses.replace(made, problems=[*self.problems, *made.problems])


def parse_command(argv: Sequence[str], own_flags: dict[str, str] | None = None) -> Command:
    """Parse a command line.

    Args:
        argv: Arguments after the program's name.
        own_flags: Further flags without a value, with their help: `{"--yaml": "..."}`.
    """
    parser = hydra_patches.flags_parser.apply(_Parser)
    for flag, text in (own_flags or {}).items():
        parser.add_argument(flag, action="store_true", help=text)
    problems: list[Problem] = []
    try:
        flags, rest = parser.parse_known_args(list(argv))
    except _BadFlagError as error:
        # What the flags mean is unknown, but the overrides among them can still be checked.
        problems.append(Problem("", None, str(error)))
        flags, rest = parser.parse_args([]), [item for item in argv if "=" in item]
    known = list(parser._option_string_actions)
    overrides = list(flags.overrides)
    for item in rest:
        if not item.startswith("-"):
            overrides.append(item)
            continue
        otherwise = f"an override has no dashes: {item.lstrip('-')}" if "=" in item else ""
        remedy = did_you_mean(item.partition("=")[0], known, otherwise)
        problems.append(Problem(item, None, "there is no such flag", remedy))
    return Command(flags, overrides, list(argv), problems)


def run_hydra(command: Command) -> int:
    """Let Hydra answer flags that are its own: --info, --hydra-help, --shell-completion, ...

    Returns:
        The exit status.
    """
    import hydra

    from rlagent.base.paths import conf_dir
    from rlagent.config.compose import register_schema

    def unreachable(config: object) -> NoReturn:
        raise AssertionError("a flag that only shows something started a run")

    register_schema()
    before = sys.argv
    sys.argv = [sys.argv[0], *command.argv]
    try:
        hydra.main(config_path=str(conf_dir()), config_name="config", version_base="1.3")(
            unreachable
        )()
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else 1
    finally:
        sys.argv = before
    return 0


def print_problems(problems: Sequence[Problem]) -> int:
    """Print one line per problem on the error stream; returns the exit status 2."""
    for line in dict.fromkeys(str(problem) for problem in problems):
        print(line, file=sys.stderr)
    return 2


def print_error(error: ConfigError) -> int:
    """The same of an error; the status is 1 where the configuration may be right."""
    status = print_problems(error.problems)
    return 1 if isinstance(error, UnreachableError) else status


class _BadFlagError(Exception):
    pass


class _Parser(argparse.ArgumentParser):
    """Raises instead of printing the usage and exiting at the first mistake."""

    def error(self, message: str) -> NoReturn:
        raise _BadFlagError(message)
