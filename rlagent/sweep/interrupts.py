"""Ctrl+C, SIGTERM and SIGHUP while a sweep runs: they wake its loop, which passes them on."""

import signal
import socket
from typing import Any

from rlagent.base.process import stop_signals


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
            number: signal.signal(number, self._receive) for number in stop_signals()
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

    def _receive(self, number: int, frame: Any) -> None:
        # The end of the terminal is a stop on request, of trials that have no terminal.
        self._received.append(signal.SIGTERM if number == signal.SIGHUP else number)

    def take(self) -> list[int]:
        """The signals that came since the last call."""
        taken, self._received = self._received, []
        return taken
