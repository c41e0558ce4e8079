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
    """The same for a YAML text, written anew in block style; comments are lost.

    Not line by line: a secret may go over several lines.
    """
    import yaml

    try:
        data = redact(yaml.safe_load(text))
    except yaml.YAMLError as error:
        # Unread, it cannot be told which part of it is a secret.
        return f"(not shown: this is no YAML that can be read: {type(error).__name__})\n"
    return yaml.safe_dump(data, sort_keys=False, allow_unicode=True, width=100)


def _is_secret(key: Any, value: Any) -> bool:
    return isinstance(key, str) and value not in (None, "") and bool(SECRET_KEY.search(key))
