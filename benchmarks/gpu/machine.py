"""What the GPUs of this machine hold, watched through NVML; and which code is measured."""

import subprocess
import threading
import time
from pathlib import Path
from types import TracebackType

from rlagent.health.headroom import gpu_memory
from rlagent.machine.resources import detect

GIB = 1024**3
PERIOD = 0.2
"""Seconds between two looks."""
FREE_GIB = 2.0
"""A GPU that holds less than this is free; drivers keep some of it for themselves."""


def _used() -> list[float]:
    import pynvml

    handles = [
        pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(pynvml.nvmlDeviceGetCount())
    ]
    return [pynvml.nvmlDeviceGetMemoryInfo(handle).used / GIB for handle in handles]


def used_gib() -> list[float]:
    """Memory in use on each GPU of the machine, whoever uses it; nothing without a GPU."""
    if not detect().gpus:
        return []
    import pynvml

    pynvml.nvmlInit()
    try:
        return _used()
    finally:
        pynvml.nvmlShutdown()


def await_free_gpus(most: float = 90.0) -> None:
    """Wait until the processes of the run before have given the visible GPUs' memory back.

    Raises:
        TimeoutError: They did not within `most` seconds.
    """
    end = time.monotonic() + most
    while detect().gpus:
        held = [(total - free) / GIB for _, free, total in gpu_memory()]
        if max(held) <= FREE_GIB:
            return
        if time.monotonic() > end:
            raise TimeoutError(f"the GPUs are still in use: {held} GiB")
        time.sleep(PERIOD)


class Peaks:
    """Watches memory while the block runs."""

    def __init__(self) -> None:
        self._most: list[float] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "Peaks":
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join()

    def gib(self) -> list[float]:
        """The most that each GPU held, all processes together."""
        return [round(value, 2) for value in self._most]

    def _watch(self) -> None:
        if not detect().gpus:
            return
        import pynvml

        pynvml.nvmlInit()
        self._most = _used()
        while not self._stop.wait(PERIOD):
            now = _used()
            self._most = [max(pair) for pair in zip(self._most, now, strict=True)]
        pynvml.nvmlShutdown()


def commit() -> str:
    """The commit that is measured; a file COMMIT beside the project stands in for git."""
    root = Path(__file__).resolve().parents[2]
    note = root / "COMMIT"
    if note.is_file():
        return note.read_text(encoding="utf-8").strip()
    asked = subprocess.run(
        ["git", "-C", str(root), "rev-parse", "--short", "HEAD"], capture_output=True, text=True
    )
    return asked.stdout.strip() or "unknown"
