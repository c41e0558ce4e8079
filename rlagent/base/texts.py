"""Texts that come from outside - models, agents, errors, tasks - made fit for files and screens.

Where they enter a record they are made encodable; where they are shown they become one line.
"""

import re
from typing import IO, Any

MOST = 400
"""Characters of a cause on the screen and in status.json; the log has the whole text."""

_ESCAPES = re.compile(
    # Colours, cursor and titles of a terminal, which a foreign text must not set.
    r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b[@-_]"
)
_UNSHOWN = re.compile(
    # Control characters, and those that turn the direction of what follows.
    "[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]"
)


def encodable(text: str) -> str:
    r"""The text itself, with lone surrogates, which UTF-8 has no bytes for, written out.

    >>> encodable("caf\u00e9"), encodable("bad \ud800")
    ('café', 'bad \\ud800')
    """
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def is_encodable(text: str) -> bool:
    """Whether a text can be written to a file as it is: bytes that were no UTF-8 cannot."""
    return encodable(text) == text


def encodable_tree(value: Any) -> Any:
    r"""A JSON value in which every text can be encoded; what is no JSON value is kept as it is.

    >>> encodable_tree({"a\udc00": ["\ud800", 1, None]})
    {'a\\udc00': ['\\ud800', 1, None]}
    """
    if isinstance(value, str):
        return encodable(value)
    if isinstance(value, dict):
        return {
            encodable(key) if isinstance(key, str) else key: encodable_tree(item)
            for key, item in value.items()
        }
    if isinstance(value, (list, tuple)):
        return [encodable_tree(item) for item in value]
    return value


def writable(text: str, stream: IO[str]) -> str:
    """The text with characters that the stream cannot encode, as under the locale C, escaped."""
    encoding = getattr(stream, "encoding", None) or "utf-8"
    return text.encode(encoding, "backslashreplace").decode(encoding)


def shown(text: str, limit: int = MOST) -> str:
    r"""One line of at most `limit` characters that does nothing to a terminal.

    >>> shown("\x1b[31mred\x1b[0m\n  and\tmore\ud800"), shown("abcdefgh", 6)
    ('red and more\\ud800', 'abc...')
    """
    # A hundred times what can be shown holds it, also where most of it is colours.
    text = _UNSHOWN.sub(" ", _ESCAPES.sub("", text[: 100 * limit]))
    line = " ".join(encodable(text).split())
    return line if len(line) <= limit else line[: limit - 3].rstrip() + "..."


def visible(text: str) -> str:
    r"""Text of any number of lines that does nothing to a terminal: what would is written out.

    >>> visible("\x1b[31mred\n\tnext\u202e"), visible("a\r\n")
    ('\\x1b[31mred\n\tnext\\u202e', 'a\\r\n')
    """
    return _UNSHOWN.sub(
        lambda found: found[0] if found[0] in "\n\t" else ascii(found[0])[1:-1], encodable(text)
    )
