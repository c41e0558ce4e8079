"""Ctrl+C, SIGTERM and SIGHUP while a run is under way; what they lead to is left to driver.py."""

import signal
import threading
from typing import Any

from rlagent.base.process import stop_signals


class Signals:
    """Turns the signals that ask for a stop into a request; the second Ctrl+C raises."""

    def __init__(self) -> None:
        self.received: list[int] = []
        self.stopping = False
        self._before: dict[int, Any] = {}

    @property
    def interrupted(self) -> bool:
        """Whether Ctrl+C was among them."""
        return signal.SIGINT in self.received

    @property
    def hung_up(self) -> bool:
        """Whether nothing but the end of its terminal asked."""
        return set(self.received) == {signal.SIGHUP}

    def install(self) -> None:
        """Take the signals over; only the main thread can."""
        if threading.current_thread() is threading.main_thread():
            for number in stop_signals():
                before = signal.signal(number, self._receive)
                self._before.setdefault(number, before)

    def __enter__(self) -> "Signals":
        self.install()
        return self

    def __exit__(self, *exc: object) -> None:
        for number, handler in self._before.items():
            # None: it was not set from Python, and cannot be put back from here.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)

    def _receive(self, number: int, frame: Any) -> None:
        again = number == signal.SIGINT and signal.SIGINT in self.received
        self.received.append(number)
        if again:
            raise KeyboardInterrupt
