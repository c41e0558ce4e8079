"""Whether flash-attn is installed, found without importing it or torch.

A folder named flash_attn alone is not enough: some hosts have a stub of it, without kernels.
"""

import importlib.metadata
import importlib.util

PACKAGE = "flash_attn"
PACKED = "rlagent_packed"
"""Name under which rlagent.backends.verl.packed registers its attention with transformers."""


def flash_attention_version() -> str | None:
    """Return the version of the flash-attn that verl would use, None when there is none."""
    if importlib.util.find_spec(PACKAGE) is None:
        return None
    for distribution in ("flash-attn", "flash_attn"):
        try:
            return importlib.metadata.version(distribution)
        except importlib.metadata.PackageNotFoundError:
            continue
    return None
