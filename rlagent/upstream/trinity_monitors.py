"""Imports Trinity's monitors without the services that they report to.

Trinity does without those that are not installed. Here only the driver's mirror speaks to W&B: in
the other processes importing it costs most of a second, and leaves two folders in /tmp behind
when Ray ends the process.
"""

import importlib
import sys

SERVICES = ("mlflow", "swanlab", "wandb")


def install() -> None:
    """Import `trinity.utils.monitor` as if none of `SERVICES` were installed."""
    hidden = [name for name in SERVICES if name not in sys.modules]
    # What Python takes for 'cannot be imported'.
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]
    try:
        importlib.import_module("trinity.utils.monitor")
    finally:
        for name in hidden:
            sys.modules.pop(name, None)
