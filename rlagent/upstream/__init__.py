"""Every change to foreign code, one file per library; patch.py says what a patch is.

Nothing is changed on import: whoever needs a patch applies it, in the process that needs it.
"""

import importlib

from rlagent.upstream.patch import PATCHES, Patch

LIBRARIES = (
    "trinity",
    "trinity_hooks",
    "trinity_imports",
    "verl",
    "vllm",
    "agentscope",
    "ray",
    "ray_groups",
    "hydra",
    "wandb",
    "optuna",
)
"""The modules of this room that hold patches."""


def patches() -> list[Patch]:
    """All patches; imports none of the libraries."""
    for name in LIBRARIES:
        importlib.import_module(f"{__name__}.{name}")
    return list(PATCHES.values())
