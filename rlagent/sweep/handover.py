"""A trial's configuration, handed to its process by the launcher, which has derived it.

So what was planned is what runs: the process composes nothing again, from presets that may have
been edited meanwhile.
"""

import copy
import dataclasses
import os
import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rlagent.base.errors import raise_if_any
from rlagent.base.origins import COMMAND_LINE, put
from rlagent.base.secrets import missing_references
from rlagent.config.check import check
from rlagent.config.resolve import Resolved, resolve
from rlagent.sweep.source import Trial

VARIABLE = "RLAGENT_TRIAL"
"""Environment variable with the file, in the sweep's folder, which is its owner's alone."""


def derived(
    trial: Trial, added: Mapping[str, Any], cores: int, config_dirs: Sequence[str] = ()
) -> Resolved:
    """Return what the trial's command line comes to, on its share of the machine.

    Args:
        trial: As planned, for the whole machine.
        added: By dotted key, what its command line says beside its own overrides.
        cores: CPU cores of its share.
        config_dirs: Folders of further presets.

    Raises:
        ConfigError: It does not run on this share.
    """
    composed = copy.deepcopy(trial.resolved.composed)
    for key, value in added.items():
        put(composed, key, value, COMMAND_LINE)
    machine = dataclasses.replace(trial.resolved.machine, cores=cores)
    return resolve(composed, machine, config_dirs)


def write(resolved: Resolved, file: Path) -> dict[str, str]:
    """Write it for a trial's process; returns what that one's environment says about it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(pickle.dumps(resolved))
    return {VARIABLE: str(file)}


def taken() -> Resolved | None:
    """Return what the launcher of this process has handed over; None: it has none.

    Raises:
        ConfigError: It is right no more: a file that it names is gone, a variable is not set.
    """
    # Not for what a trial starts.
    file = os.environ.pop(VARIABLE, None)
    if file is None:
        return None
    resolved: Resolved = pickle.loads(Path(file).read_bytes())
    composed = resolved.composed
    found = missing_references(composed.workflow.args, "workflow.args")
    raise_if_any([*check(composed), *found])
    return resolved
