"""Runs Python that a model has written in a process that can do nothing but compute.

It has no network, no files but the standard library and a small folder of its own, no environment,
no other processes in sight and none to start, little memory, time and output. Where the machine
cannot do all of that, nothing is run: ConfinementError says what is missing.
"""

from rlagent.tools.confined.run import (
    ConfinementError,
    Limits,
    Outcome,
    refusal,
    run,
    run_blocking,
)

__all__ = ["ConfinementError", "Limits", "Outcome", "refusal", "run", "run_blocking"]
