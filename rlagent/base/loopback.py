"""Which requests a server on loopback may answer: its own user's, not those of a web site's pages.

A page of any site may send requests to loopback. A browser then says where the page comes from
(Origin), or, when the site's name was made to point to loopback, calls the server by that name
(Host).
"""

import secrets
from urllib.parse import urlsplit

ADDRESS = "127.0.0.1"
"""Where everything listens that a person did not ask to listen elsewhere."""


def is_loopback(host: str) -> bool:
    """Whether a Host header names loopback, whatever the port.

    >>> is_loopback("127.0.0.1:8000"), is_loopback("localhost"), is_loopback("evil.example:8000")
    (True, True, False)
    """
    try:
        return urlsplit(f"//{host}").hostname in (ADDRESS, "localhost", "::1")
    except ValueError:
        return False


def is_key(given: str, key: str) -> bool:
    """Whether a key is the right one, in a time that does not depend on where they differ."""
    return secrets.compare_digest(given.encode("utf-8", "backslashreplace"), key.encode())
