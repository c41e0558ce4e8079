"""`rlagent serve` in a process beside this one, for the commands that talk to a checkpoint.

It loads while this process imports what it needs itself.
"""

import contextlib
import os
import secrets
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO

from rlagent.backends.base import RolloutEngine
from rlagent.backends.served import KEY_VARIABLE
from rlagent.base.child import end_child, start_child
from rlagent.base.endings import RunError
from rlagent.base.loopback import past_proxies
from rlagent.base.paths import import_root
from rlagent.serving.serve import engine_for
from rlagent.serving.trained import Trained

STOP_WITHIN = 30.0
"""Seconds that it may take to end."""


@dataclass
class Beside:
    """An endpoint that only this process may use.

    Args:
        name: Of the model there.
        api_key: Its key.
        engine: What serves it.
    """

    name: str
    api_key: str
    engine: RolloutEngine
    _child: "subprocess.Popen[bytes]"
    _errors: IO[bytes]

    def url(self) -> str:
        """Wait until it answers; returns the address, without /v1.

        Raises:
            RunError: It cannot; with what it said.
        """
        assert self._child.stdout is not None
        for line in self._child.stdout:
            _, answers, rest = line.decode(errors="replace").partition(" answers at ")
            if answers:
                return rest.split()[0].removesuffix("/v1")
            if self.engine.on_gpus:
                # It takes minutes, which without a word look like a fault.
                print(line.decode(errors="replace").strip(), file=sys.stderr, flush=True)
        self._errors.seek(0)
        said = self._errors.read().decode(errors="replace").strip().splitlines()
        raise RunError(said[-1].removeprefix("rlagent serve: ") if said else "it cannot be served")


@contextlib.contextmanager
def served_beside(
    trained: Trained, engine: str = "auto", seed: int | None = None
) -> Iterator[Beside]:
    """Serve a checkpoint on loopback until the block ends.

    Raises:
        ConfigError: The engine cannot serve here.
    """
    serves = engine_for(engine)
    key = secrets.token_urlsafe(32)
    command = [sys.executable, "-m", "rlagent.serve", str(trained.run.path)]
    command += ["--step", str(trained.kept.step), "--port", "0", "--engine", serves.name]
    command += ["--name", trained.name]
    if seed is not None:
        command += ["--seed", str(seed)]
    here = [str(import_root()), os.environ.get("PYTHONPATH", "")]
    path = os.pathsep.join(filter(None, here))
    environment = {**os.environ, KEY_VARIABLE: key, "PYTHONPATH": path}
    # A file, since nobody reads a pipe while it serves: a full one would stop it.
    with past_proxies(), tempfile.TemporaryFile() as errors:
        child = start_child(command, environment, subprocess.PIPE, errors)
        try:
            yield Beside(trained.name, key, serves, child, errors)
        finally:
            end_child(child, STOP_WITHIN)
