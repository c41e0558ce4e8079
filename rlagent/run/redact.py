"""Takes secrets out of configurations before anyone else sees them.

By key name only: a secret under an innocent name is not recognised.
"""

import re
from typing import Any

SECRET_KEY = re.compile(
    r"(^|[_.-])(api_?key|key|token|secret|password|passwd|credentials?|authorization|auth_token)$",
    re.IGNORECASE,
)
HIDDEN = "(hidden)"


def redact(value: Any) -> Any:
    """A copy with every value under a secret-sounding key replaced by `(hidden)`.

    >>> redact({"api_key": "x", "max_response_tokens": 5, "args": [{"password": "y"}]})
    {'api_key': '(hidden)', 'max_response_tokens': 5, 'args': [{'password': '(hidden)'}]}
    """
    if isinstance(value, dict):
        return {
            key: HIDDEN if _is_secret(key, item) else redact(item) for key, item in value.items()
        }
    if isinstance(value, (list, tuple)):
        return [redact(item) for item in value]
    return value


def redact_yaml(text: str) -> str:
    """The same for the lines of a block-style YAML text, layout and comments kept."""
    return re.sub(r"^(\s*(?:- )?([\w.-]+):[ \t]+)(?!\s*$)(.+)$", _hide_line, text, flags=re.M)


def _hide_line(match: re.Match[str]) -> str:
    if _is_secret(match[2], match[3]) and match[3].strip() not in ("null", "''", '""', "~"):
        return match[1] + HIDDEN
    return match[0]


def _is_secret(key: Any, value: Any) -> bool:
    return isinstance(key, str) and value not in (None, "") and bool(SECRET_KEY.search(key))
