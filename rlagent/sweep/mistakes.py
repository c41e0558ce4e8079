"""The mistakes of a sweep's command, all at once: of what its trials share, and of the trials."""

from rlagent.base.errors import ConfigError, Problem
from rlagent.config.command import Command
from rlagent.config.compose import Draft
from rlagent.machine.resources import Machine
from rlagent.sweep import grid
from rlagent.sweep.search.corners import check_corners
from rlagent.sweep.search.space import space_of
from rlagent.sweep.search.start import is_search


def raise_if_any(command: Command, machine: Machine, base: Draft, plan_only: bool = False) -> None:
    """Raise the mistakes of what all trials share, where there are any, and with them the trials'.

    Args:
        command: The typed command, with `-m`.
        machine: What there is.
        base: What all trials share, as composed.
        plan_only: Do not ask whether this machine has the GPUs.

    Raises:
        ConfigError: With them.
    """
    if not base.problems:
        return
    # The trials make the mistakes of the base too, with one value each of a swept key.
    said = {problem.key for problem in base.problems}
    # What composes to nothing does so in every trial.
    of_trials = [] if base.node is None else _of_trials(command, machine, base, plan_only)
    others = [problem for problem in of_trials if problem.key not in said]
    raise ConfigError([*base.problems, *others])


def _of_trials(command: Command, machine: Machine, base: Draft, plan_only: bool) -> list[Problem]:
    try:
        if is_search(base):
            settings = base.config.sweep
            check_corners(command, machine, space_of(command, base), settings, plan_only)
        else:
            grid.plan_choices(command, machine, grid.choices_of(command, base), plan_only)
    except ConfigError as error:
        return list(error.problems)
    return []
