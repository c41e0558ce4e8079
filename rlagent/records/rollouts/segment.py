"""A segment: the rollouts of one step and phase as one compressed file.

Two gzip members, which `zcat` shows as lines of JSON: first one line with the heads of all
rollouts, by column, then one line per rollout. Whoever filters reads the first member only.
Pure; files are store.py's.
"""

import gzip
import json
import zlib
from collections.abc import Iterable, Sequence
from typing import Any, BinaryIO, NamedTuple

from rlagent.records.files import row_bytes
from rlagent.records.rollouts.row import Head, head_of, place_of

FORMAT = 1
CHUNK = 1 << 16

JOINS = "joins"
"""Names, in a row, that it adds to another one."""

LEVEL = 6
"""Of gzip: a fifth smaller than its fastest, and far from its slowest."""


class SegmentError(ValueError):
    """A segment is torn or damaged; the message says how."""


class Opening(NamedTuple):
    """The first member of a segment."""

    heads: list[Head]
    # Rollouts that there were before thinning; as many as heads where nothing was thinned.
    of: int
    # Where the second member begins, in bytes.
    rows_at: int


def merged(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows in the order of their tasks, of each rollout the last, which a resume wrote.

    A row with JOINS adds its fields to the rollout before it; without one it means nothing.
    """
    found: dict[tuple[Any, ...], dict[str, Any]] = {}
    for row in rows:
        place = place_of(row)
        if JOINS not in row:
            found[place] = row
        elif place in found:
            found[place] |= {name: value for name, value in row.items() if name != JOINS}
    return [found[place] for place in sorted(found)]


def pack(rows: Sequence[dict[str, Any]], of: int | None = None) -> bytes:
    """The segment of these rows.

    Args:
        rows: Of one step and phase, as `merged` returns them.
        of: How many there were before some were left out.
    """
    heads = [head_of(row) for row in rows]
    columns = {name: [head[at] for head in heads] for at, name in enumerate(Head._fields)}
    opening = {"format": FORMAT, "of": len(rows) if of is None else of, "heads": columns}
    # No time of making: equal rollouts make equal files.
    first = gzip.compress(row_bytes(opening), LEVEL, mtime=0)
    return first + gzip.compress(b"".join(row_bytes(row) for row in rows), LEVEL, mtime=0)


def read_opening(file: BinaryIO) -> Opening:
    """The heads of a segment, without the rest of it.

    Raises:
        SegmentError: It is torn or damaged.
        OSError: It cannot be read.
    """
    unpacked, text = zlib.decompressobj(wbits=31), b""
    taken = 0
    while not unpacked.eof:
        chunk = file.read(CHUNK)
        if not chunk:
            raise SegmentError("it ends in its heads")
        taken += len(chunk)
        try:
            text += unpacked.decompress(chunk)
        except zlib.error as error:
            raise SegmentError(f"its heads cannot be unpacked: {error}") from None
    try:
        found = json.loads(text)
        if found["format"] != FORMAT:
            raise SegmentError(f"its format {found['format']} is that of a later version")
        heads = _heads(found["heads"])
        return Opening(heads, int(found["of"]), taken - len(unpacked.unused_data))
    except (ValueError, KeyError, TypeError) as error:
        if isinstance(error, SegmentError):
            raise
        raise SegmentError(f"its heads cannot be read: {error!r}") from None


def read_lines(file: BinaryIO, opening: Opening) -> list[bytes]:
    """The lines of the rollouts of a segment, in the order of its heads.

    Raises:
        SegmentError: It is torn or damaged.
        OSError: It cannot be read.
    """
    file.seek(opening.rows_at)
    packed = file.read()
    try:
        lines = gzip.decompress(packed).splitlines()
    except (zlib.error, OSError, EOFError) as error:
        raise SegmentError(f"its rollouts cannot be unpacked: {error}") from None
    if len(lines) != len(opening.heads):
        raise SegmentError(f"it holds {len(lines)} rollouts, its heads {len(opening.heads)}")
    return lines


def _heads(columns: dict[str, list[Any]]) -> list[Head]:
    """The heads of a segment's columns; one that a later version added is passed over."""
    columns = {**columns, "tools": [tuple(names) for names in columns["tools"]]}
    return [Head(*values) for values in zip(*(columns[name] for name in Head._fields), strict=True)]
