"""The mirror's own process: follows a run folder and hands its rows to W&B or TensorBoard.

Any byte on standard input means that there is something new; its end means that the run is over,
or that the driver is gone. On standard output it prints one JSON object per line for the driver:
{"place": where} and {"problem": what}. Started by mirror.py.
"""

import json
import os
import signal
import sys
import threading
import traceback
from typing import Any, Protocol

from rlagent.base.cause import cause_of
from rlagent.base.stats import merge_rows
from rlagent.base.tail import Tail
from rlagent.records.folder import DIED, ENDED, RunFolder

GONE = "its process ended without a final status"
"""The cause of a run whose driver wrote none."""

EVENTS = 3
"""File descriptor of the events, once main() has moved standard output there."""


class Sink(Protocol):
    """A dashboard."""

    place: str

    def log(self, role: str, step: int, time: float, values: dict[str, float]) -> None:
        """Take the values of one row; every name belongs to one role for good."""

    def taken(self, offset: int) -> None:
        """All of metrics.jsonl up to this byte was handed over."""

    def finish(self, status: dict[str, Any]) -> None:
        """Take the final status and end."""


def main(argv: list[str]) -> int:
    """Run until standard input ends; 0 when everything was handed over."""
    with open(argv[0], encoding="utf-8") as file:
        spec = json.load(file)
    # Whatever libraries print goes to mirror.log; standard output is for events alone.
    os.dup2(1, EVENTS)
    os.dup2(2, 1)
    # Training comes first.
    os.nice(5)
    wake = threading.Event()
    over = threading.Event()
    threading.Thread(
        target=_listen, args=(wake, over, spec["finish_timeout"] + 5.0), daemon=True
    ).start()
    try:
        mirror(spec, wake, over)
    except Exception as error:
        # Only the cause; the traceback goes to mirror.log.
        traceback.print_exc()
        tell(problem=f"{cause_of(error)}; the run goes on without it")
        return 1
    return 0


def mirror(spec: dict[str, Any], wake: threading.Event, over: threading.Event) -> None:
    """Hand rows over as they come, then the final status.

    A W&B run that fails while it is written is opened again offline, once, with all that was not
    sent.
    """
    folder = RunFolder(spec["folder"])
    sink, held_bytes = open_sink(spec, folder)
    try:
        follow(sink, held_bytes, spec, folder, wake, over)
    except Exception as error:
        if spec["kind"] != "wandb":
            raise
        traceback.print_exc()
        from rlagent.records.wandb_sink import reopen_offline

        tell(problem=f"{cause_of(error)}; the run goes on offline")
        again, held_bytes = reopen_offline(spec, folder, lambda line: tell(problem=line))
        follow(again, held_bytes, spec, folder, wake, over)


def follow(
    sink: Sink,
    held_bytes: int,
    spec: dict[str, Any],
    folder: RunFolder,
    wake: threading.Event,
    over: threading.Event,
) -> None:
    """Give a dashboard everything from the first row that it lacks to the final status."""
    tell(place=sink.place)
    desk = Desk(sink)
    tail = Tail(folder.metrics_jsonl)
    for row in tail.new_rows(until=held_bytes):
        desk.fresh_values(row)
    rows = merge_rows(current_rows(tail.new_rows(), spec["attempt"], spec["resumed_from"]))
    while True:
        # Asked before the rows are read: what is written before the end is then read after it.
        last = over.is_set()
        rows += tail.new_rows()
        for row in rows:
            desk.hand_over(row)
        sink.taken(tail.offset)
        if last:
            break
        wake.wait()
        wake.clear()
        rows = []
    sink.finish({**at_the_end(folder.read_status()), **spec["ending"]})


def at_the_end(status: dict[str, Any]) -> dict[str, Any]:
    """The final status: a driver that ends writes it first, so without one it died.

    Its process is not asked: one that was killed closes its files before it is gone.
    """
    if status.get("state") in ENDED:
        return status
    return {**status, "state": DIED, "exit_code": 1, "cause": GONE}


class Desk:
    """Hands each value over once, under a name that belongs to one role."""

    def __init__(self, sink: Sink) -> None:
        self.sink = sink
        self._seen: set[tuple[int, str]] = set()
        self._owners: dict[str, str] = {}

    def hand_over(self, row: dict[str, Any]) -> None:
        """Give a row to the sink without the values that it has already."""
        values = self.fresh_values(row)
        if values:
            self.sink.log(row["role"], row["step"], row["time"], values)

    def fresh_values(self, row: dict[str, Any]) -> dict[str, float]:
        """The values of a row that were not seen before, which from now on are.

        Trinity's names are kept; only a name that another role used first gets the role before it.
        """
        role, step = row["role"], row["step"]
        values = {}
        for name, value in row["metrics"].items():
            shown = name if self._owners.setdefault(name, role) == role else f"{role}/{name}"
            if (step, shown) not in self._seen:
                self._seen.add((step, shown))
                values[shown] = value
        return values


def current_rows(
    rows: list[dict[str, Any]], attempt: int, resumed_from: int | None
) -> list[dict[str, Any]]:
    """Leave out what earlier attempts did after the checkpoint that this attempt starts from.

    One that starts from step 0 also measures that step again.
    """
    if resumed_from is None:
        return rows
    kept = resumed_from if resumed_from > 0 else -1
    return [row for row in rows if row.get("attempt", 1) >= attempt or row["step"] <= kept]


def open_sink(spec: dict[str, Any], folder: RunFolder) -> tuple[Sink, int]:
    """The dashboard asked for, and how many bytes of metrics.jsonl it holds from before."""
    if spec["kind"] == "wandb":
        from rlagent.records.wandb_sink import open_wandb

        return open_wandb(spec, folder, lambda line: tell(problem=line))
    from rlagent.records.tensorboard_sink import open_tensorboard

    return open_tensorboard(folder), 0


def tell(**event: str) -> None:
    """Print an event for the driver. Without a driver it goes nowhere."""
    try:
        os.write(EVENTS, (json.dumps(event) + "\n").encode())
    except BrokenPipeError:
        return


def _listen(wake: threading.Event, over: threading.Event, limit: float) -> None:
    """Turn standard input into events. When the end takes too long, end with all we started."""
    while os.read(0, 4096):
        wake.set()
    over.set()
    wake.set()
    threading.Event().wait(limit)
    os.killpg(os.getpgrp(), signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
