"""Files of records: written whole or a row at a time, read back though a writer was killed.

What stands in them is left to who writes them.
"""

import json
import math
import os
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Iterator

from rlagent.base.texts import encodable, encodable_tree


class DamagedError(ValueError):
    """A file of a run or a sweep cannot be used; the message says which, why, and the remedy."""


def written_at(path: Path) -> int | None:
    """When a file was written, in ns; None where there is none, or it may not be asked."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns if stat.S_ISREG(found.st_mode) else None


def write_atomically(path: Path, text: str | bytes, mode: int = 0o666) -> None:
    """Replace a file's content so that a reader sees the old or the new one, never a part.

    Args:
        path: The file.
        text: The new content; a text is written as UTF-8.
        mode: Rights of the file, less those that the umask takes.
    """
    fresh = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(fresh, "wb", opener=lambda name, flags: os.open(name, flags, mode)) as file:
            file.write(text.encode() if isinstance(text, str) else text)
            file.flush()
            # Otherwise a power failure can leave the new name with nothing in it.
            os.fsync(file.fileno())
        os.replace(fresh, path)
    finally:
        fresh.unlink(missing_ok=True)


def row_bytes(row: dict[str, Any]) -> bytes:
    """A row as one line of JSON, in UTF-8; see `plain`."""
    try:
        return _line(row)
    except (TypeError, ValueError):
        # Seldom, and the walk over all of it takes longer than the rest.
        return _line(plain(row))


def _line(row: dict[str, Any]) -> bytes:
    return (json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n").encode()


def append_row(path: Path, row: dict[str, Any]) -> None:
    """Append one JSON line with one O_APPEND write, so that rows of several writers stay whole.

    Raises:
        OSError: Also when only a part could be written, as on a full disk.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    append_bytes(path, row_bytes(row))


def append_bytes(path: Path, line: bytes, mode: int = 0o644) -> bool:
    """Append with one O_APPEND write; returns whether the file still has this name afterwards.

    Raises:
        OSError: Also when only a part could be written, as on a full disk.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, mode)
    try:
        written = os.write(descriptor, line)
        if written != len(line):
            raise OSError(f"only {written} of {len(line)} bytes could be written to {path}")
        # While it is open: the inode of a file that is gone may be given to the next.
        return path.stat().st_ino == os.fstat(descriptor).st_ino
    except FileNotFoundError:
        return False
    finally:
        os.close(descriptor)


def read_object(path: Path, remedy: str) -> dict[str, Any] | None:
    """The JSON object of a file; None where there is no file.

    Raises:
        DamagedError: It holds something else, such as half of it.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (ValueError, RecursionError) as error:
        raise DamagedError(f"{path} is damaged ({error}): {remedy}") from None
    if not isinstance(found, dict):
        raise DamagedError(f"{path} is damaged (it holds no object): {remedy}")
    return found


def set_aside(path: Path) -> Path:
    """Rename a damaged file to `{name}.damaged`, where it can be looked at; returns its path."""
    aside = path.with_name(f"{path.name}.damaged")
    os.replace(path, aside)
    return aside


def move_contents_aside(folder: Path) -> Path:
    """Move what a folder holds, but for its lock, into `{name}.N` beside it; nothing is lost."""
    number = 1
    while (aside := folder.with_name(f"{folder.name}.{number}")).exists():
        number += 1
    aside.mkdir(mode=0o700)
    for item in folder.iterdir():
        if item.name != ".lock":
            item.rename(aside / item.name)
    return aside


def read_rows(path: Path, holding: Sequence[str] = ()) -> Iterator[dict[str, Any]]:
    """The JSON rows of a file; nothing when it does not exist.

    A line that is not JSON is what a killed writer left behind, and is passed over.

    Args:
        path: The file.
        holding: Pass over lines with none of these texts, which is much faster than reading them.
    """
    if not path.is_file():
        return
    with path.open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            if holding and not any(text in line for text in holding):
                continue
            try:
                row = json.loads(line)
            except json.JSONDecodeError:
                continue
            if isinstance(row, dict):
                # JSON can name what UTF-8 cannot hold, such as "\\ud800".
                yield encodable_tree(row) if "\\ud" in line else row


def end_torn_line(path: Path) -> None:
    """End a line that a killed writer left without its newline, so that the next row is whole."""
    if not path.is_file() or path.stat().st_size == 0:
        return
    with path.open("rb+") as file:
        file.seek(-1, os.SEEK_END)
        if file.read(1) != b"\n":
            file.write(b"\n")


def plain(value: Any) -> Any:
    """What JSON can hold, in UTF-8: numpy scalars become numbers, NaN and infinities words.

    Words, since JSON has no such numbers, and a diverged run must still differ from a gap.
    """
    if isinstance(value, str):
        return encodable(value)
    if value is None or isinstance(value, (bool, int)):
        return value
    if isinstance(value, float):
        if math.isfinite(value):
            return value
        return "NaN" if math.isnan(value) else ("Infinity" if value > 0 else "-Infinity")
    if isinstance(value, dict):
        return {encodable(str(key)): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set)):
        return [plain(item) for item in value]
    if hasattr(value, "model_dump"):
        return plain(value.model_dump())
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    return encodable(str(value))
