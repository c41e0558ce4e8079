"""Warnings of the actors, which the driver says on the screen: rows in the attempt's folder.

Nobody reads an actor's own log while all seems well.
"""

import os
from pathlib import Path

from rlagent.records.files import append_row

NAME = "warnings.jsonl"


def file_of(logs: Path) -> Path:
    """Where the warnings of an attempt are, given the folder of its logs."""
    return logs.parent / NAME


def say(line: str) -> None:
    """Have the driver say a line; without TRINITY_LOG_DIR, as in a test, there is no driver."""
    if logs := os.environ.get("TRINITY_LOG_DIR"):
        append_row(file_of(Path(logs)), {"warning": line})
