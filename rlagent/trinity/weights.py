"""Model files of the hub, fetched before a run starts its parts.

Engine and trainer would each fetch them, at the same time, and an unreachable model would end the
run only when both have started.
"""

from collections.abc import Callable, Iterable

from rlagent.config.errors import Problem, UnreachableError
from rlagent.config.paths import local_path
from rlagent.trinity.endings import one_line

FILES = ("*.safetensors", "*.json", "*.jinja", "*.txt", "*.model")
"""Weights, configuration, tokenizer; not the copies in other formats that many models carry."""


def fetch_models(models: Iterable[tuple[str, str]], say: Callable[[str], None]) -> None:
    """Have the files of hub models in the local cache.

    Args:
        models: Configuration key and path of each; local ones are passed over.
        say: Told which model is looked for.

    Raises:
        UnreachableError: With every model that is neither here nor given by the hub.
    """
    from huggingface_hub import snapshot_download

    missing = []
    for key, path in models:
        if local_path(path) is not None:
            continue
        say(f"fetching {path}, unless it is here already")
        try:
            # Without a connection it is content with what is cached.
            snapshot_download(path, allow_patterns=list(FILES))
        # The libraries below raise whatever their transport raises; all of it means the same here.
        except Exception as error:
            text = f"the hub does not give this model: {one_line(error)}"
            missing.append(
                Problem(key, path, text, "check the name and the connection, or name a folder")
            )
    if missing:
        raise UnreachableError(missing)
