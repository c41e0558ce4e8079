"""Whether W&B can be used online from here, found without importing wandb or showing the key."""

import netrc
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlparse

DEFAULT_URL = "https://api.wandb.ai"
MODES = {"online": "online", "offline": "offline", "dryrun": "offline", "disabled": "disabled"}
"""WANDB_MODE's words, and what each means here."""
NO_KEY = "no key was found"


@dataclass(frozen=True)
class WandbAccess:
    """How W&B will be used, where its key is (never the key), and why."""

    mode: str
    key_source: str | None
    why: str


def wandb_access(asked: str, environ: Mapping[str, str] = os.environ) -> WandbAccess:
    """Decide between online, offline and disabled.

    Args:
        asked: monitor.mode: auto, online or offline. auto follows WANDB_MODE where it is set,
            else it is online with a key and offline without.
        environ: Environment variables.
    """
    source = key_source(environ)
    if asked != "auto":
        return WandbAccess(asked, source, f"monitor.mode={asked}")
    told = MODES.get(environ.get("WANDB_MODE", "").lower())
    if told:
        return WandbAccess(told, source, f"WANDB_MODE={environ['WANDB_MODE']}")
    if source:
        return WandbAccess("online", source, f"a key was found in {source}")
    return WandbAccess("offline", None, NO_KEY)


def key_source(environ: Mapping[str, str] = os.environ) -> str | None:
    """Where a W&B key is: `WANDB_API_KEY`, or the netrc file's path; None without one."""
    for name in ("WANDB_API_KEY", "WANDB_IDENTITY_TOKEN_FILE"):
        if environ.get(name):
            return name
    host = urlparse(environ.get("WANDB_BASE_URL") or DEFAULT_URL).hostname or ""
    home = Path(environ.get("HOME", "~")).expanduser()
    named = environ.get("NETRC")
    for path in [Path(named)] if named else [home / ".netrc", home / "_netrc"]:
        if not path.is_file():
            continue
        try:
            found = netrc.netrc(str(path)).authenticators(host)
        except (netrc.NetrcParseError, OSError, UnicodeDecodeError):
            # wandb cannot read such a file either, so it holds no usable key.
            continue
        if found and found[2]:
            return str(path)
    return None
