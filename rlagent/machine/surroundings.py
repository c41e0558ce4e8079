"""What a run needs of the machine beside processor and memory: temporary folder, open files, home.

Looks; `prepare` changes what can be changed for this process and those that it starts. The
doctor shows the same findings.
"""

import os
import resource
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from rlagent.base.paths import expand_user

SOCKET_BYTES = 107
"""Longest path of a socket on Linux."""

IN_A_SESSION = "/ray/session_2026-11-29_12-00-00_123456_4194304/sockets/plasma_store"
"""Where Ray puts its longest socket, below its temporary folder."""

OPEN_FILES = 1024
"""Files and connections that Ray's raylet and the processes of a small run keep open at least."""


@dataclass(frozen=True)
class Finding:
    """Something of the machine; an empty remedy means that a run can start with it."""

    name: str
    found: str
    remedy: str = ""


def ray_folder(environ: Mapping[str, str] = os.environ) -> Path:
    """Ray's temporary folder, which Ray 2.60 looks up so (ray/_common/utils.py)."""
    return Path(environ.get("RAY_TMPDIR") or environ.get("TMPDIR") or "/tmp")


def fits_sockets(folder: Path) -> bool:
    """Whether the paths of Ray's sockets below a folder are short enough for the kernel.

    >>> fits_sockets(Path("/tmp")), fits_sockets(Path("/scratch/" + 40 * "x"))
    (True, False)
    """
    return len(os.fsencode(f"{folder.absolute()}{IN_A_SESSION}")) <= SOCKET_BYTES


def temporary_folder(environ: Mapping[str, str] = os.environ) -> Finding:
    """Whether Ray can have its sockets in its temporary folder, or in /tmp instead."""
    folder = ray_folder(environ)
    said = "RAY_TMPDIR" if environ.get("RAY_TMPDIR") else "TMPDIR"
    name = "temporary folder"
    if not _writable(folder):
        return Finding(name, f"{folder} cannot be written", f"set {said} to a folder that can")
    if fits_sockets(folder):
        return Finding(name, str(folder))
    found = f"{folder} is too long for Ray's sockets"
    if said == "TMPDIR" and _writable(Path("/tmp")):
        return Finding(name, f"{found}, which go below /tmp")
    most = SOCKET_BYTES - len(IN_A_SESSION)
    return Finding(name, found, f"set RAY_TMPDIR to a folder of at most {most} characters")


def open_files() -> Finding:
    """Whether this process may open as many files as a run does."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard == resource.RLIM_INFINITY or hard >= OPEN_FILES:
        return Finding("open files", "no limit" if hard < 0 else f"up to {hard}")
    return Finding("open files", f"at most {hard}", f"raise the limit: ulimit -Hn {OPEN_FILES}")


def home(environ: Mapping[str, str] = os.environ) -> Finding:
    """Where the caches of the hub, datasets, W&B and matplotlib go."""
    folder = _home(environ)
    if _writable(folder):
        return Finding("home", str(folder))
    return Finding("home", f"{folder} cannot be written: {_spare_home()} takes its place")


def findings() -> list[Finding]:
    """All of them, for the doctor."""
    return [temporary_folder(), open_files(), home()]


def prepare(environ: "os._Environ[str]" = os.environ) -> list[Finding]:
    """Change what can be changed, for this process and those that it starts.

    Returns:
        What keeps a run from starting, each with its remedy.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < OPEN_FILES <= hard or (soft < OPEN_FILES and hard == resource.RLIM_INFINITY):
        resource.setrlimit(resource.RLIMIT_NOFILE, (OPEN_FILES, hard))
    temporary = temporary_folder(environ)
    if not temporary.remedy and not fits_sockets(ray_folder(environ)):
        environ["RAY_TMPDIR"] = "/tmp"
    if not _writable(_home(environ)):
        # Half a dozen libraries keep a cache there, each with a variable of its own.
        spare = _spare_home()
        spare.mkdir(mode=0o700, exist_ok=True)
        if spare.stat().st_uid != os.getuid():
            raise PermissionError(f"{spare} belongs to another user")
        environ["HOME"] = str(spare)
    return [each for each in (temporary, open_files()) if each.remedy]


def _home(environ: Mapping[str, str]) -> Path:
    # Of a user whom the system does not know `~` stays, and is no folder.
    return Path("/", expand_user(environ.get("HOME") or "~"))


def _spare_home() -> Path:
    return Path(tempfile.gettempdir()) / f"rlagent-home-{os.getuid()}"


def _writable(folder: Path) -> bool:
    place = folder
    try:
        while not place.exists() and place != place.parent:
            place = place.parent
        # To root, access() promises what /proc and a read-only mount refuse.
        Path(tempfile.mkdtemp(prefix=".rlagent-", dir=place)).rmdir()
    except OSError:
        return False
    return True
