"""`-m`: one trial after the other, each in a process of its own.

All trials are composed, checked and resolved before the first starts; one that fails does not
stop the others. Sharing GPUs between trials is not done here.
"""

import itertools
import signal
import subprocess
import sys
from collections.abc import Sequence

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from rlagent.config.command import Command
from rlagent.config.errors import ConfigError, Problem, raise_if_any
from rlagent.config.machine import Machine
from rlagent.config.prepare import prepare
from rlagent.config.presets import preset_names

INTERRUPTED = 130


def run_trials(command: Command, machine: Machine) -> int:
    """Run one trial per combination of the values given; returns the exit status.

    1 when any trial failed, 130 when interrupted.

    Raises:
        ConfigError: When any trial is wrongly configured; then none has started.
    """
    trials = expand(command)
    problems: list[Problem] = []
    for overrides in trials:
        try:
            prepare(command.draft(overrides), machine, command.config_dirs)
        except ConfigError as error:
            problems += error.problems
    raise_if_any(problems)
    failed = []
    for number, overrides in enumerate(trials, start=1):
        label = f"trial {number} of {len(trials)}: {' '.join(overrides)}"
        print(label, flush=True)
        code = run_process(_command_line(command, overrides))
        if code == INTERRUPTED:
            return INTERRUPTED
        if code:
            failed.append(f"{label} (exit status {code})")
    for line in failed:
        print(f"failed: {line}", file=sys.stderr)
    return 1 if failed else 0


def run_process(arguments: Sequence[str]) -> int:
    """Run a trial to its end and return its exit status; 130 when interrupted meanwhile.

    A trial ends Ray by itself, so it is waited for rather than killed: Ctrl+C reaches it from
    the terminal, a termination of this process is passed on.
    """
    process = subprocess.Popen(arguments)
    interrupted = False

    def pass_on(number: int, frame: object) -> None:
        nonlocal interrupted
        # The trial ends in its own way, with status 1: its siblings must not start all the same.
        interrupted = True
        process.send_signal(number)

    before = signal.signal(signal.SIGTERM, pass_on)
    try:
        while True:
            try:
                code = process.wait()
                return INTERRUPTED if interrupted else code
            except KeyboardInterrupt:
                interrupted = True
    finally:
        signal.signal(signal.SIGTERM, before)


def expand(command: Command) -> list[list[str]]:
    """Return the overrides of each trial.

    Raises:
        ConfigError: With everything that is wrong apart from the values of single trials.
    """
    raise_if_any(command.draft(multirun=True).problems)
    return product(command.overrides, command.config_dirs)


def product(overrides: Sequence[str], config_dirs: Sequence[str] = ()) -> list[list[str]]:
    """Return the overrides of each trial: the product of all values given.

    >>> product(["seed=1,2", "model=tiny"])
    [['seed=1', 'model=tiny'], ['seed=2', 'model=tiny']]

    Raises:
        ConfigError: For what cannot be enumerated, such as an interval.
    """
    choices = []
    parser = OverridesParser.create(_Presets(config_dirs))  # type: ignore[arg-type]
    for override in parser.parse_overrides(list(overrides)):
        if not override.is_sweep_override():
            choices.append([str(override.input_line)])
            continue
        key = override.get_key_element()
        try:
            choices.append([f"{key}={value}" for value in override.sweep_string_iterator()])
        except HydraException as error:
            raise ConfigError(
                [Problem(key, None, "cannot be enumerated", "write choice(...) or range(...)")]
            ) from error
    return [list(trial) for trial in itertools.product(*choices)]


class _Presets:
    """The one thing that Hydra's glob asks of a configuration loader."""

    def __init__(self, config_dirs: Sequence[str]) -> None:
        self.config_dirs = config_dirs

    def get_group_options(self, group: str, results_filter: object = None) -> list[str]:
        return preset_names(group, self.config_dirs)


def _command_line(command: Command, overrides: Sequence[str]) -> list[str]:
    flags = command.flags
    line = [sys.executable, "-m", "rlagent.train", *overrides]
    for flag, value in (
        ("--config-dir", flags.config_dir),
        ("--config-name", flags.config_name),
        ("--config-path", flags.config_path),
    ):
        if value:
            line += [flag, value]
    return line
