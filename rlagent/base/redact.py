"""Takes secrets out of what is shown. What is written holds none: rlagent.base.secrets refuses
them; this is for folders from elsewhere, and for names that may mean one."""

import re
import shlex
from collections.abc import Iterator, Sequence
from typing import Any

from rlagent.base.secrets import HIDDEN, hides_secret, is_reference

__all__ = ["HIDDEN", "redact", "redact_command", "redact_said", "redact_yaml"]

_MAY_BE = re.compile(r"(^|[_.-])key$", re.IGNORECASE)

_HEADER = re.compile(r"([\w-]+):\s*(?!//)(\S.*)", re.DOTALL)
"""Of HTTP, as an argument."""


def redact(value: Any) -> Any:
    """A copy with `(hidden)` in place of every value that is secret by its name or by itself.

    >>> redact({"api_key": "x", "max_response_tokens": 5, "args": [{"password": "y"}]})
    {'api_key': '(hidden)', 'max_response_tokens': 5, 'args': [{'password': '(hidden)'}]}
    """
    return _redacted(value, "")


def redact_yaml(text: str) -> str:
    """The same for a YAML text, written again in block style; comments are lost.

    Not line by line: a secret may go over several lines.
    """
    import yaml

    try:
        data = redact(yaml.safe_load(text))
    except yaml.YAMLError as error:
        # Which part of it is a secret is unknown without reading it.
        return f"(not shown: this is no YAML that can be read: {type(error).__name__})\n"
    return yaml.safe_dump(data, sort_keys=False, allow_unicode=True, width=100)


def redact_command(command: str) -> str:
    """A command line with `(hidden)` in place of secrets: a user's script may have been given one.

    >>> redact_command("python mine.py --api-key sesame lr=1 db.password=x --steps 3")
    "python mine.py --api-key '(hidden)' lr=1 'db.password=(hidden)' --steps 3"
    >>> redact_command("npx mcp-remote --header 'X-API-Key: sesame'")
    "npx mcp-remote --header 'X-API-Key: (hidden)'"
    """
    try:
        words = shlex.split(command)
    except ValueError:
        return HIDDEN if hides_secret("", command) else command
    found = [shown for shown, _ in _shown(words)]
    # As it was written where nothing is hidden.
    return command if found == words else shlex.join(found)


def redact_said(said: str, words: Sequence[str]) -> str:
    """What a program says, with `(hidden)` in place of the secrets of its command line.

    >>> redact_said("unknown key: sesame", ["serve", "--api-key", "sesame"])
    'unknown key: (hidden)'
    """
    for _, secret in _shown(words):
        said = said.replace(secret, HIDDEN) if secret else said
    return said


def _shown(words: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Each word of a command line as it is shown, and the secret in it; empty without one."""
    option = ""
    for word in words:
        key, equals, value = word.rpartition("=")
        name = re.split(r"[.+~/]", key)[-1].lstrip("-")
        header = _HEADER.fullmatch(word)
        if header and _hides(header[1], header[2]):
            # What is before the key says how it is sent.
            yield f"{header[1]}: {HIDDEN}", header[2].split()[-1]
        elif option and not word.startswith("-") and _hides(option, word):
            yield HIDDEN, word
        elif _hides(name, value):
            yield f"{key}{equals}{HIDDEN}", value
        else:
            yield word, ""
        option = word.lstrip("-") if word.startswith("-") and not equals else ""


def _redacted(value: Any, name: str) -> Any:
    if isinstance(value, dict):
        # All of what stands under a secret's name, in whatever form.
        return {
            key: HIDDEN if _hides(str(key), item) else _redacted(item, str(key))
            for key, item in value.items()
        }
    if isinstance(value, (list, tuple)):
        return [_redacted(item, name) for item in value]
    return HIDDEN if _hides(name, value) else value


def _hides(name: str, value: Any) -> bool:
    if value in (None, "") or is_reference(value):
        return False
    if isinstance(value, (dict, list)):
        return bool(value) and hides_secret(name, "any text")
    return hides_secret(name, value) or (bool(name) and bool(_MAY_BE.search(name)))
