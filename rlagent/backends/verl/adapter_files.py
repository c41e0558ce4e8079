"""Puts the files of an adapter where engines read them, each only when it is whole.

A step's checkpoint writes the adapter again that its sync has written, while an engine may read it.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def written_whole(place: Path) -> Iterator[Path]:
    """A folder beside `place` to write into, whose files get their place there at the end.

    Where it is left by an error, what was in place stays.
    """
    scratch = place.with_name(f".{place.name}")
    # What a killed attempt has left is not this step's.
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    yield scratch
    place.mkdir(exist_ok=True)
    # Where the weights are, their configuration is.
    for file in sorted(scratch.iterdir(), key=lambda file: file.suffix == ".safetensors"):
        os.replace(file, place / file.name)
    scratch.rmdir()
