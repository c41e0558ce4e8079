"""Changes to Hydra: where presets are looked for, and how they are laid over each other."""

import argparse
import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rlagent.upstream.patch import Relies, patch

LIBRARY = "hydra-core"
VERSIONS = ">=1.3.8,<1.4"
SOURCE = "https://github.com/facebookresearch/hydra/blob/v1.3.8/hydra"

_LOADER = "hydra._internal.config_loader_impl:ConfigLoaderImpl"
_FILES = "hydra._internal.core_plugins.file_config_source:FileConfigSource"


@patch(
    LIBRARY,
    VERSIONS,
    f"{SOURCE}/_internal/config_loader_impl.py#L48",
    "hydra.searchpath can put folders before the primary one",
    [
        Relies(f"{_LOADER}.__init__", "self, config_search_path", "self.repository"),
        Relies(f"{_LOADER}.config_search_path"),
        Relies("hydra._internal.config_repository:ConfigRepository", "self, config_search_path"),
        Relies("hydra._internal.sources_registry:SourcesRegistry.register", "self, type_"),
        Relies(f"{_FILES}.scheme", ""),
        Relies(f"{_FILES}.is_config", "self, config_path"),
    ],
)
def presets_first(folders: Sequence[Path]) -> None:
    """Have Hydra look for presets in these folders before it looks among the shipped ones.

    Its own hydra.searchpath puts them behind, where a preset with a shipped name is never found.
    """
    from hydra._internal.config_loader_impl import ConfigLoaderImpl
    from hydra._internal.config_repository import ConfigRepository
    from hydra._internal.sources_registry import SourcesRegistry
    from hydra.core.global_hydra import GlobalHydra

    source = _own_presets()
    SourcesRegistry.instance().register(source)
    loader = GlobalHydra.instance().config_loader()
    assert isinstance(loader, ConfigLoaderImpl)
    for folder in folders:
        path = f"{source.scheme()}://{folder}"
        loader.config_search_path.prepend("--config-dir", path, anchor="main")
    loader.repository = ConfigRepository(loader.config_search_path)


@functools.cache
def _own_presets() -> Any:
    from hydra._internal.core_plugins.file_config_source import FileConfigSource

    class OwnPresets(FileConfigSource):
        """A user's folder of presets: the primary configuration is not looked for in it."""

        @staticmethod
        def scheme() -> str:
            return "presets"

        def is_config(self, config_path: str) -> bool:
            """Return whether there is such a preset."""
            return config_path not in ("config", "config.yaml") and super().is_config(config_path)

    return OwnPresets


@patch(
    LIBRARY,
    VERSIONS,
    f"{SOURCE}/_internal/config_loader_impl.py#L393",
    "Hydra says of a composed value which file set it",
    [
        Relies(f"{_LOADER}._load_single_config", "self, default, repo", "default.config_path"),
        Relies(
            f"{_LOADER}._compose_config_from_defaults_list",
            holds="self._load_single_config(default=default, repo=repo)",
        ),
        Relies("hydra.plugins.config_source:ConfigResult", holds="path: str"),
    ],
)
def note_presets(note: Callable[[Any, Path], None]) -> None:
    """Have `note` called with each preset of a file that Hydra loads, and with the file.

    What it is called with has its keys where the preset's package puts them.
    """
    from hydra.core.global_hydra import GlobalHydra

    loader: Any = GlobalHydra.instance().config_loader()
    load = loader._load_single_config

    def noting(default: Any, repo: Any) -> Any:
        loaded = load(default=default, repo=repo)
        scheme, _, folder = loaded.path.partition("://")
        # The others are the schema and Hydra's own settings.
        if scheme in ("file", _own_presets().scheme()):
            note(loaded.config, Path(folder, f"{default.config_path}.yaml"))
        return loaded

    loader._load_single_config = noting


@patch(
    LIBRARY,
    VERSIONS,
    f"{SOURCE}/_internal/config_loader_impl.py#L336",
    "Hydra applies overrides to a configuration that is composed already",
    [Relies(f"{_LOADER}._apply_overrides_to_config", "overrides, cfg")],
)
def lay_over(values: Sequence[Any], node: Any) -> None:
    """Apply overrides to a composed configuration, as Hydra does after it has composed presets.

    The trials of a sweep share their presets, which are composed once.
    """
    from hydra._internal.config_loader_impl import ConfigLoaderImpl

    ConfigLoaderImpl._apply_overrides_to_config(list(values), node)


@patch(
    LIBRARY,
    VERSIONS,
    f"{SOURCE}/_internal/utils.py#L501",
    "Hydra offers the parser of its flags, which collects mistakes instead of ending the process",
    [Relies("hydra._internal.utils", None, "def get_args_parser()")],
)
def flags_parser(kind: type[argparse.ArgumentParser]) -> argparse.ArgumentParser:
    """The parser of Hydra's own flags, as an object of a class that may treat mistakes otherwise.

    Hydra's prints its usage and ends the process at the first one.
    """
    from hydra._internal.utils import get_args_parser

    parser = get_args_parser()
    parser.__class__ = kind
    return parser
