"""Reads rows that are written as JSON, strictly: a row arrives as its author wrote it, or is
refused with its line.

Rows stay text here, and become objects wherever they are used: no type is guessed, no key added,
and nobody shares an object with anybody else.
"""

import codecs
import hashlib
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

DEEPEST = 200
"""Levels of lists and objects in a row; Python's own readers and writers give up below 1,000."""

_PLAIN = json.JSONDecoder()


class RowError(ValueError):
    """A row that cannot be read; `line` counts from 1, the message says what is wrong with it."""

    def __init__(self, line: int, message: str) -> None:
        self.line = line
        super().__init__(message)


def texts(file: Path) -> Iterator[tuple[int, bytes]]:
    """The rows of a .jsonl file (an object per line; blank lines do not count) or of a .json file
    (a list of objects, or one object after the other): the line each begins at, and its JSON on
    one line, as it stands there.

    Raises:
        RowError: A .json file is not JSON; of a .jsonl file nothing is read here but lines.
    """
    if file.suffix == ".json":
        yield from _texts_of_json(file)
        return
    with file.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            text = (line.removeprefix(codecs.BOM_UTF8) if number == 1 else line).strip()
            if text:
                yield number, text


def parse(text: bytes) -> dict[str, Any]:
    """The row that a JSON text means.

    Raises:
        ValueError: It is not UTF-8, not JSON (as NaN and 1e400 are not), not an object, names a
            key twice, or holds what no further part could pass on. The message says so.
    """
    try:
        decoded = text.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(not_utf8(error)) from error
    try:
        row = _STRICT.decode(decoded)
    except json.JSONDecodeError as error:
        raise ValueError(f"is not JSON: {error.msg} (character {error.pos + 1})") from error
    except RecursionError as error:
        raise ValueError(f"is nested more than {DEEPEST} levels deep") from error
    if not isinstance(row, dict):
        raise ValueError("is not a JSON object")
    if decoded.count("[") + decoded.count("{") > DEEPEST and _depth(row) > DEEPEST:
        raise ValueError(f"is nested more than {DEEPEST} levels deep")
    if "\\u" in decoded:
        try:
            canonical(row, ascii_only=False).encode()
        except UnicodeEncodeError as error:
            raise ValueError("holds half of a surrogate pair, which no text can carry") from error
    return row


def canonical(value: Any, ascii_only: bool = True) -> str:
    """JSON that is the same for equal values, whatever the order of their keys.

    >>> canonical({"b": 1, "a": "x"})
    '{"a": "x", "b": 1}'
    """
    # What only tables hold, such as a date, counts by how it is shown.
    return json.dumps(value, sort_keys=True, ensure_ascii=ascii_only, default=repr)


def content_hash(value: Any) -> str:
    """16 hexadecimal digits of the SHA-256 of `json.dumps(value, sort_keys=True)`.

    >>> content_hash({"b": 1, "a": "x"}) == content_hash({"a": "x", "b": 1})
    True
    """
    return hashlib.sha256(canonical(value).encode()).hexdigest()[:16]


def _texts_of_json(file: Path) -> Iterator[tuple[int, bytes]]:
    data = file.read_bytes().removeprefix(codecs.BOM_UTF8)
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise RowError(data.count(b"\n", 0, error.start) + 1, not_utf8(error)) from error
    at = _skip_space(text, 0)
    in_list = text.startswith("[", at)
    line, counted = 1, 0
    at = _skip_space(text, at + in_list)
    while at < len(text) and not (in_list and text[at] == "]"):
        line, counted = line + text.count("\n", counted, at), at
        try:
            end = _PLAIN.raw_decode(text, at)[1]
        except json.JSONDecodeError as error:
            raise RowError(error.lineno, f"is not JSON: {error.msg}") from error
        except RecursionError as error:
            raise RowError(line, f"is nested more than {DEEPEST} levels deep") from error
        except ValueError as error:
            raise RowError(line, f"is not JSON that can be read: {error}") from error
        # Within strings JSON has no line ends; between values they are blanks.
        yield line, text[at:end].replace("\n", " ").replace("\r", " ").encode()
        at = _skip_space(text, end)
        if in_list:
            if at < len(text) and text[at] == "," and _goes_on(text, at):
                at = _skip_space(text, at + 1)
            elif not text.startswith("]", at):
                raise RowError(text.count("\n", 0, at) + 1, "is not JSON: the list does not end")
    if in_list and (at >= len(text) or _skip_space(text, at + 1) < len(text)):
        raise RowError(text.count("\n", 0, at) + 1, "is not JSON: the list does not end")


def _goes_on(text: str, comma: int) -> bool:
    return not text.startswith("]", _skip_space(text, comma + 1))


def _skip_space(text: str, at: int) -> int:
    while at < len(text) and text[at] in " \t\r\n":
        at += 1
    return at


def not_utf8(error: UnicodeDecodeError) -> str:
    """Say which byte is wrong, and what to do."""
    byte = error.object[error.start]
    return f"is not UTF-8 (byte 0x{byte:02x}); save the file as UTF-8"


def _depth(value: Any) -> int:
    deepest, left = 0, [(value, 1)]
    while left:
        item, level = left.pop()
        if isinstance(item, dict | list):
            deepest = max(deepest, level)
            inner = item.values() if isinstance(item, dict) else item
            left += [(child, level + 1) for child in inner]
    return deepest


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"names the key {twice!r} twice")
    return made


def _finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise ValueError(f"holds {text}, which is beyond the largest number of 64 bits")
    return number


def _whole(text: str) -> int:
    try:
        return int(text)
    except ValueError as error:
        raise ValueError(f"holds a number of {len(text)} digits") from error


def _no_json(text: str) -> NoReturn:
    raise ValueError(f"holds {text}, which is not JSON; write null, or leave the key out")


_STRICT = json.JSONDecoder(
    object_pairs_hook=_unique, parse_float=_finite, parse_int=_whole, parse_constant=_no_json
)
