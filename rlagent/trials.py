"""`-m`: one trial after the other, each in a process of its own.

All trials are composed, checked and resolved before the first starts; one that fails does not
stop the others. Sharing GPUs between trials is not done here.
"""

import itertools
import subprocess
import sys
from collections.abc import Sequence

from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from rlagent.config.command import Command, print_problems
from rlagent.config.errors import ConfigError, Problem
from rlagent.config.machine import Machine
from rlagent.config.paths import conf_dir
from rlagent.config.prepare import prepare

INTERRUPTED = 130


def run_trials(command: Command, machine: Machine) -> int:
    """Run one trial per combination of the values given; returns the exit status.

    1 when any trial failed, 2 when any is wrongly configured (then none starts), 130 when
    interrupted.
    """
    first = command.draft(multirun=True)
    if first.problems:
        return print_problems(first.problems)
    trials = expand(command.overrides)
    problems: list[Problem] = []
    for overrides in trials:
        try:
            prepare(command.draft(overrides), machine, command.config_dirs)
        except ConfigError as error:
            problems += error.problems
    if problems:
        return print_problems(problems)
    failed = []
    for number, overrides in enumerate(trials, start=1):
        label = f"trial {number} of {len(trials)}: {' '.join(overrides)}"
        print(label, flush=True)
        try:
            code = subprocess.call(_command_line(command, overrides))
        except KeyboardInterrupt:
            # The terminal sent it to the trial as well, which ends by itself.
            return INTERRUPTED
        if code == INTERRUPTED:
            return INTERRUPTED
        if code:
            failed.append(f"{label} (exit status {code})")
    for line in failed:
        print(f"failed: {line}", file=sys.stderr)
    return 1 if failed else 0


def expand(overrides: Sequence[str]) -> list[list[str]]:
    """Return the overrides of each trial: the product of all values given.

    >>> expand(["seed=1,2", "model=tiny"])
    [['seed=1', 'model=tiny'], ['seed=2', 'model=tiny']]

    Raises:
        ConfigError: For what cannot be enumerated, such as an interval.
    """
    choices = []
    with initialize_config_dir(config_dir=str(conf_dir()), version_base="1.3"):
        parser = OverridesParser.create(GlobalHydra.instance().config_loader())
        for argument in overrides:
            override = parser.parse_override(argument)
            if not override.is_sweep_override():
                choices.append([argument])
                continue
            key = override.get_key_element()
            try:
                choices.append([f"{key}={value}" for value in override.sweep_string_iterator()])
            except HydraException as error:
                raise ConfigError(
                    [Problem(key, None, "cannot be enumerated", "write choice(...) or range(...)")]
                ) from error
    return [list(trial) for trial in itertools.product(*choices)]


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
