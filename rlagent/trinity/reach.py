"""Whether the hub gives the models of a run, asked before its parts start.

Engine and trainer fetch weights themselves, where they run; an unreachable model would end the run
only when both have started.
"""

from collections.abc import Iterable
from typing import Any

from rlagent.config.errors import Problem, UnreachableError
from rlagent.config.paths import local_path
from rlagent.run.cause import cause_of


def models_of(tree: dict[str, Any]) -> list[tuple[str, str]]:
    """Configuration key and path of each model of Trinity's configuration.

    >>> models_of({"model": {"model_path": "a/b"}})
    [('model.path', 'a/b')]
    """
    models = [("model.path", tree["model"]["model_path"])]
    for index, auxiliary in enumerate(tree.get("explorer", {}).get("auxiliary_models") or []):
        models.append((f"workflow.auxiliary_models.{index}.path", auxiliary["model_path"]))
    return models


def require_models(models: Iterable[tuple[str, str]]) -> None:
    """Ask the hub, or the local cache without a connection, for each model's configuration.

    Args:
        models: Configuration key and path of each; local ones are passed over.

    Raises:
        UnreachableError: With every model that neither gives.
    """
    missing = []
    for key, path in models:
        if local_path(path) is not None:
            continue
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

        try:
            # Not hf_hub_download, which goes on asking a hub that is away for half a minute.
            snapshot_download(path, allow_patterns=["config.json"])
        except (HfHubHTTPError, LocalEntryNotFoundError) as error:
            text = f"the hub does not give this model: {cause_of(error)}"
            remedy = "check the name and the connection, or name a local folder"
            missing.append(Problem(key, path, text, remedy))
    if missing:
        raise UnreachableError(missing)
