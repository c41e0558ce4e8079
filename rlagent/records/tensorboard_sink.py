"""Hands metric rows to TensorBoard event files. Runs in the mirror's process.

The files are derived from metrics.jsonl, so each attempt writes them again: steps that it repeats
then appear once, with their last values. Uses tensorboard's own writer, which needs no torch.
"""

import shlex
import shutil
from typing import Any

from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.event_file_writer import EventFileWriter

from rlagent.base.words import python_command, short_path
from rlagent.records.folder import RunFolder


def open_tensorboard(folder: RunFolder) -> "TensorboardSink":
    """Start the event file from scratch."""
    if folder.tensorboard_dir.is_dir():
        shutil.rmtree(folder.tensorboard_dir)
    return TensorboardSink(folder)


class TensorboardSink:
    """One event file; a metric's step is that of its role."""

    def __init__(self, folder: RunFolder) -> None:
        program = (
            "tensorboard"
            if shutil.which("tensorboard")
            else f"{python_command()} -m tensorboard.main"
        )
        self.place = f"{program} --logdir {shlex.quote(short_path(folder.tensorboard_dir))}"
        self._writer = EventFileWriter(str(folder.tensorboard_dir))

    def log(self, role: str, step: int, time: float, values: dict[str, float]) -> None:
        """Write one event that holds all values of a row."""
        self._write(step, time, values)
        self._writer.flush()

    def _write(self, step: int, time: float, values: dict[str, float]) -> None:
        items = [Summary.Value(tag=name, simple_value=value) for name, value in values.items()]
        self._writer.add_event(Event(wall_time=time, step=step, summary=Summary(value=items)))

    def taken(self, offset: int) -> None:
        """Nothing to remember: the next attempt writes everything again."""

    def finish(self, status: dict[str, Any]) -> None:
        """Write success before and after as scalars of their own, and close."""
        step = int(status.get("steps_trained") or 0)
        finals = {
            f"final/{name}": status[name]
            for name in ("success_before", "success_after")
            if status.get(name) is not None
        }
        if finals:
            self._write(step, status["updated"], finals)
        self._writer.close()
