"""Names what makes an environment, so that another process can import it too."""

import inspect
from collections.abc import Callable
from typing import Any

from rlagent.config.functions import import_function, split_reference


def name_of(make: str | Callable[..., Any]) -> str:
    """The short name of an environment, for records and errors.

    >>> name_of("rlagent.environments.gym:Gymnasium")
    'Gymnasium'
    """
    return split_reference(make)[1] if isinstance(make, str) else make.__name__


def reference_of(make: str | Callable[..., Any]) -> str:
    """`module:name` or `file.py:name` of what makes an environment.

    Raises:
        ValueError: It is defined inside of a function, where no other process finds it.
    """
    if isinstance(make, str):
        return make
    if "." in make.__qualname__:
        raise ValueError(
            f"{make.__qualname__} is defined inside of another function or class, so that no "
            "process of its own finds it: define it in a module, or open it with where='thread'"
        )
    module = make.__module__
    if not module.startswith("rlagent."):
        # Where a script, or a file by its path, is run, the module has a name that nobody imports.
        module = inspect.getsourcefile(make) or module
    return f"{module}:{make.__name__}"


def found(make: str | Callable[..., Any]) -> Callable[..., Any]:
    """What makes an environment, imported where it is a name."""
    return import_function(make) if isinstance(make, str) else make
