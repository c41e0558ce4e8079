"""Whether the patches of foreign code fit the versions that are installed, read from their source.

What each is for is said where it stands, in rlagent.upstream.
"""

import textwrap
from collections.abc import Sequence

from rlagent.backends.base import RolloutEngine
from rlagent.health.parts import constraints_file, install_command, is_needed
from rlagent.health.row import FAIL, OK, SKIP, WARN, WIDTH, Row
from rlagent.upstream import patches
from rlagent.upstream.patch import Patch, installed


def patch_rows(engine: RolloutEngine, among: Sequence[Patch] | None = None) -> list[Row]:
    """A row that counts those that fit, and one for each that does not.

    Args:
        engine: The rollout engine; patches of what others need stop no run.
        among: The patches; None: all.
    """
    every = patches() if among is None else among
    here = [each for each in every if installed(each.library) is not None]
    rows = [
        Row(
            FAIL if is_needed(each.library, engine) else WARN,
            each.name,
            f"does not fit {each.library} {installed(each.library)}: {'; '.join(problems)}",
            each.versions,
            install_command(each.library, each.versions, constraints_file(engine.on_gpus)),
        )
        for each in here
        if (problems := each.misfits())
    ]
    missing = sorted({each.library for each in every if each not in here})
    absent = f"; {', '.join(missing)} not installed" if missing else ""
    count = f"{len(here) - len(rows)} of {len(here)} fit{absent}"
    return [Row(WARN if rows else OK, "patches", count), *rows]


def listing(among: Sequence[Patch] | None = None) -> tuple[str, bool]:
    """Every patch, with its reason, what it was made for and when it can go; whether all fit."""
    lines, fit = [], True
    for each in patches() if among is None else among:
        version = installed(each.library)
        problems = each.misfits() if version is not None else []
        state = SKIP if version is None else FAIL if problems else OK
        fit = fit and not problems
        here = version or "not installed"
        lines.append(f"{state:<4}  {each.name}  {each.library} {here}, made for {each.versions}")
        texts = [
            each.reason.partition("\n\n")[0].replace("\n", " "),
            *problems,
            f"until {each.removable_when}",
        ]
        for text in texts:
            indent = " " * 6
            lines += textwrap.wrap(text, WIDTH, initial_indent=indent, subsequent_indent=indent)
        lines.append(f"      {each.link}")
    return "\n".join(lines), fit
