"""Each value of a resolved configuration with where it comes from, as an aligned table."""

from collections.abc import Iterator
from typing import Any

from rlagent.base.errors import written
from rlagent.base.origins import AUTO, DEFAULT, FILLED, leaves, origin_of, origins
from rlagent.base.secrets import as_written
from rlagent.config.compose import to_mapping
from rlagent.config.schema import LearnConfig

_WIDEST = 40
"""Signs of a value; a longer one is cut."""


def origin_table(config: LearnConfig) -> str:
    """Return a line for each key: its value, and the file, the flag or the reason that set it.

    Args:
        config: Resolved; an `auto` that is left follows the moment of the launch.
    """
    found, groups = origins(config), as_written(to_mapping(config))
    rows = {group: list(_rows(group, value, found)) for group, value in groups.items()}
    every = [row for some in rows.values() for row in some]
    wide = [max(len(row[column]) for row in every) for column in (0, 1)]
    text = ""
    for group, some in rows.items():
        text += f"# {group}\n"
        text += "".join(
            f"{key:{wide[0]}}  {value:{wide[1]}}  {where}\n" for key, value, where in some
        )
    return text


def _rows(group: str, value: Any, found: dict[str, str]) -> Iterator[tuple[str, str, str]]:
    for key, item in leaves({group: value}):
        where = origin_of(found, key)
        if item == AUTO and where in (DEFAULT, found.get(key)):
            where = f"{FILLED}left to the launch"
        yield key, written(_plain(item), _WIDEST), where


def _plain(value: Any) -> Any:
    """A list as one types it."""
    return f"[{','.join(map(str, value))}]" if isinstance(value, list) else value
