"""Which requests a server on loopback may answer: its own user's, not those of a web site's pages.

A page of any site may send requests to loopback. A browser then says where the page comes from
(Origin), or, when the site's name was made to point to loopback, calls the server by that name
(Host).
"""

import contextlib
import os
import secrets
from collections.abc import Iterator, Mapping
from urllib.parse import urlsplit

ADDRESS = "127.0.0.1"
"""Where everything listens that a person did not ask to listen elsewhere."""

NAMES = (ADDRESS, "localhost", "::1")


def is_loopback(host: str) -> bool:
    """Whether a Host header names loopback, whatever the port.

    >>> is_loopback("127.0.0.1:8000"), is_loopback("localhost"), is_loopback("evil.example:8000")
    (True, True, False)
    """
    try:
        return urlsplit(f"//{host}").hostname in NAMES
    except ValueError:
        return False


def is_key(given: str, key: str) -> bool:
    """Whether a key is the right one, in a time that does not depend on where they differ."""
    return secrets.compare_digest(given.encode("utf-8", "backslashreplace"), key.encode())


def without_proxy(environ: Mapping[str, str]) -> dict[str, str]:
    """Environment in which requests to loopback pass no proxy, whatever else does.

    Where `http_proxy` is set and `no_proxy` is not, agents would ask the proxy for the engine.

    >>> without_proxy({"no_proxy": "example.org"})["NO_PROXY"]
    'example.org,127.0.0.1,localhost,::1'
    """
    kept = (environ.get("no_proxy") or environ.get("NO_PROXY") or "").split(",")
    hosts = ",".join(dict.fromkeys(host.strip() for host in (*kept, *NAMES) if host.strip()))
    # Libraries differ in which of the two they read.
    return {"no_proxy": hosts, "NO_PROXY": hosts}


@contextlib.contextmanager
def past_proxies() -> Iterator[None]:
    """Within the block, this process's requests to loopback pass no proxy."""
    before = dict(os.environ)
    os.environ.update(without_proxy(before))
    try:
        yield
    finally:
        for name in without_proxy(before):
            if name in before:
                os.environ[name] = before[name]
            else:
                del os.environ[name]
