"""Whether the hub has the models of a run, asked before its actors start.

Engine and trainer fetch weights themselves, where they run; an unreachable model would end the run
only when both have started.
"""

import functools
import socket
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies

from rlagent.base.cause import cause_of
from rlagent.base.errors import Problem, UnreachableError, raise_if_any
from rlagent.base.paths import local_path
from rlagent.config.chat_templates import template_problems

_SECONDS = 4.0
"""How long a hub may take to answer at all."""


def models_of(tree: dict[str, Any]) -> list[tuple[str, str]]:
    """Configuration key and path of each model of Trinity's configuration.

    >>> models_of({"model": {"model_path": "a/b"}})
    [('model.path', 'a/b')]
    """
    models = [("model.path", tree["model"]["model_path"])]
    for index, auxiliary in enumerate(tree.get("explorer", {}).get("auxiliary_models") or []):
        models.append((f"workflow.auxiliary_models.{index}.path", auxiliary["model_path"]))
    return models


@functools.cache
def hub_is_away() -> str:
    """Return why no hub can be reached, found out within seconds; empty when one may be.

    The hub's own client tries a name that does not resolve for half a minute.
    """
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return "HF_HUB_OFFLINE is set"
    host, proxies = urlsplit(constants.ENDPOINT), getproxies()
    if proxies.get(host.scheme) or proxies.get("all"):
        return ""  # The proxy resolves the name.
    port = host.port or (80 if host.scheme == "http" else 443)
    try:
        with socket.create_connection((host.hostname, port), timeout=_SECONDS):
            return ""
    except OSError as error:
        return f"{host.hostname} cannot be reached: {error}"


def require_models(models: Iterable[tuple[str, str]]) -> None:
    """Ask the hub, or the local cache without a connection, for each model's configuration.

    Args:
        models: Configuration key and path of each; local ones are passed over.

    Raises:
        UnreachableError: With every model that neither has.
    """
    missing = []
    for key, path in models:
        if local_path(path) is not None:
            continue
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import (
            HfHubHTTPError,
            HFValidationError,
            LocalEntryNotFoundError,
        )

        away = hub_is_away()
        try:
            # Not hf_hub_download, which goes on asking a hub that is away for half a minute; and
            # asked only for what is here where it is away.
            snapshot_download(path, allow_patterns=["config.json"], local_files_only=bool(away))
        except HFValidationError as error:
            text = f"is neither a folder here nor a hub id: {cause_of(error)}"
            missing.append(Problem(key, path, text, "write OWNER/NAME, or name a local folder"))
        except (HfHubHTTPError, LocalEntryNotFoundError) as error:
            why = away or cause_of(error)
            text = f"is no folder here, and the hub does not give this model: {why}"
            remedy = "check the name and the connection, or name a local folder"
            missing.append(Problem(key, path, text, remedy))
    if missing:
        raise UnreachableError(missing)


def require_template(path: str, template: str | None) -> None:
    """Check a chat template against the tokenizer of a model of the hub; local ones are checked
    where they are resolved.

    Args:
        path: Of the model, which `require_models` has found.
        template: model.chat_template as resolved.

    Raises:
        ConfigError: It does not fit.
    """
    if not template or local_path(path) is not None:
        return
    from huggingface_hub import snapshot_download

    files = ["config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json"]
    folder = snapshot_download(path, allow_patterns=files, local_files_only=bool(hub_is_away()))
    raise_if_any(template_problems(template, Path(folder)))
