"""Says in one line why a model cannot be loaded, and from what.

What its files show without loading them is found before a run begins (config/model_files.py).
"""

import contextlib
from collections.abc import Iterator

from rlagent.base.cause import cause_of

TOKENIZER = "its tokenizer (tokenizer.json, tokenizer_config.json)"
WEIGHTS = "its weights (config.json, model.safetensors)"


class ModelNotLoadedError(RuntimeError):
    """A library could not load a model; the message is one line."""

    says_all = True


@contextlib.contextmanager
def loading(path: str, what: str) -> Iterator[None]:
    """Within its block something of a model is loaded.

    Args:
        path: model.path.
        what: `TOKENIZER` or `WEIGHTS`.

    Raises:
        ModelNotLoadedError: From whatever the library raised.
    """
    try:
        yield
    # Each library raises its own errors, down to a bare Exception for a damaged file.
    except Exception as error:
        raise ModelNotLoadedError(
            f"model.path={path}: {what} cannot be loaded: {cause_of(error)}; mend or download "
            "these files again, or name another model"
        ) from error
