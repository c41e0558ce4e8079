"""Where the shipped presets and assets are, in a checkout and in an installed package."""

import os
from pathlib import Path

BUILTIN = "builtin:"
"""Prefix of paths to assets that are shipped with rlagent."""

_LONGEST_NAME, _LONGEST_PATH = 255, 4000
"""Longest name and path that Linux and macOS take, in bytes; less for a path, as files go below."""

_PACKAGE = Path(__file__).resolve().parent.parent


def conf_dir() -> Path:
    """Return the folder of the shipped presets.

    An installed package carries it as `rlagent/conf`; in a checkout it lies beside the package.

    Raises:
        FileNotFoundError: When the installation is incomplete.
    """
    for folder in (_PACKAGE / "conf", _PACKAGE.parent / "conf"):
        if (folder / "config.yaml").is_file():
            return folder
    raise FileNotFoundError(
        f"the presets (conf/) are neither in {_PACKAGE} nor beside it; reinstall rlagent"
    )


def import_root() -> Path:
    """Return the folder from which Python imports rlagent."""
    return _PACKAGE.parent


def asset_dir(name: str) -> Path:
    """Return the folder of a shipped asset, such as `tiny` or `gsm8k_tiny`."""
    return _PACKAGE / "assets" / name


def shown(path: Path) -> str:
    """Return a file as a person names it: a shipped preset as `conf/...`, others from here."""
    for folder, before in ((conf_dir(), "conf"), (Path.cwd(), "")):
        if path.is_relative_to(folder):
            return str(Path(before, path.relative_to(folder)))
    return str(path)


def expand_user(path: str) -> Path:
    """Return a path with `~` and `~user` replaced by that home folder.

    A user that does not exist is left as written; `path_fault` names it.
    """
    return Path(os.path.expanduser(path))


def path_fault(path: str) -> str:
    r"""Return why no file or folder can have this path; empty when one can.

    >>> path_fault("~/runs"), path_fault("a\0b")
    ('', 'holds a character that no path can hold')
    """
    if any(ord(sign) < 32 for sign in path):
        return "holds a character that no path can hold"
    parts = str(expand_user(path)).split("/")
    if max(len(part.encode(errors="replace")) for part in parts) > _LONGEST_NAME:
        return f"a name in a path has at most {_LONGEST_NAME} bytes"
    if sum(len(part.encode(errors="replace")) + 1 for part in parts) > _LONGEST_PATH:
        return f"a path has at most {_LONGEST_PATH} bytes"
    if parts[0].startswith("~"):
        return f"there is no user {parts[0][1:]}" if parts[0][1:] else "there is no home folder"
    return ""


def resolve_path(path: str) -> str:
    """Turn `builtin:NAME` into the folder of that asset; leave other paths and hub ids alone.

    >>> resolve_path("Qwen/Qwen3-8B")
    'Qwen/Qwen3-8B'
    """
    if path.startswith(BUILTIN):
        return str(asset_dir(path[len(BUILTIN) :]))
    return path


def local_path(path: str) -> Path | None:
    """Return the file or folder that `path` means on this machine, None for a hub id.

    What looks like a path (starts with `/`, `.`, `~` or `builtin:`, has more than one `/`, or
    ends like a data file) is local even when it does not exist.
    """
    if path.startswith(BUILTIN):
        return Path(resolve_path(path))
    expanded = expand_user(path)
    looks_local = path.startswith(("/", ".", "~")) or path.count("/") > 1
    looks_local = looks_local or expanded.suffix in (".jsonl", ".json", ".csv", ".parquet", ".gguf")
    return expanded if looks_local or expanded.exists() else None


def whole_path(path: str) -> str:
    """Return a path that means the same in every folder; hub ids and `builtin:NAME` as they are.

    >>> whole_path("Qwen/Qwen3-8B"), whole_path("builtin:tiny"), whole_path("/a/../b.jsonl")
    ('Qwen/Qwen3-8B', 'builtin:tiny', '/b.jsonl')
    """
    local = None if path.startswith(BUILTIN) else local_path(path)
    return str(local.resolve()) if local else path
