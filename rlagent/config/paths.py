"""Where the shipped presets and assets are, in a checkout and in an installed package."""

from pathlib import Path

BUILTIN = "builtin:"
"""Prefix of paths to assets that are shipped with rlagent."""

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


def asset_dir(name: str) -> Path:
    """Return the folder of a shipped asset, such as `tiny` or `gsm8k_tiny`."""
    return _PACKAGE / "embedded" / "assets" / name


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
    expanded = Path(path).expanduser()
    looks_local = path.startswith(("/", ".", "~")) or path.count("/") > 1
    looks_local = looks_local or expanded.suffix in (".jsonl", ".json", ".parquet", ".gguf")
    return expanded if looks_local or expanded.exists() else None
