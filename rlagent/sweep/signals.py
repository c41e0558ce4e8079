"""Ctrl+C and SIGTERM while a sweep runs: they wake its loop and wait there to be passed on."""

import signal
import socket
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class SignalQueue:
    """Takes the signals over while it is entered; handlers only note them, the loop decides."""

    def __init__(self) -> None:
        self._received: list[int] = []

    def __enter__(self) -> socket.socket:
        """Take over; returns a socket that becomes readable when a signal comes."""
        self._ours, self._theirs = socket.socketpair()
        self._ours.setblocking(False)
        self._theirs.setblocking(False)
        self._wakeup = signal.set_wakeup_fd(self._theirs.fileno(), warn_on_full_buffer=False)
        self._before: dict[int, Any] = {
            number: signal.signal(number, lambda number, _: self._received.append(number))
            for number in SIGNALS
        }
        return self._ours

    def __exit__(self, *exc: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._wakeup)
        self._ours.close()
        self._theirs.close()

    def woken(self, descriptor: int) -> None:
        """Forget that the loop was woken."""
        self._ours.recv(64)

    def take(self) -> list[int]:
        """The signals that came since the last call."""
        taken, self._received = self._received, []
        return taken
