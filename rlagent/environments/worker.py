"""The process of one environment, with a socket as its standard input. process.py starts it and
speaks to it.

Requests and answers are JSON, each behind its length. The environment runs in the main thread; one
that prints does so to standard error.
"""

import json
import os
import queue
import signal
import socket
import struct
import sys
import threading
from typing import Any

LENGTH = struct.Struct("!I")

GRACE = 2
"""Seconds beyond its limit after which a call ends the process from within, and those that closing
may take when the process that asked has gone. A signal does it, which needs no interpreter."""


def main() -> None:
    """Answer requests until there are no more."""
    link = socket.socket(fileno=os.dup(0))
    with open(os.devnull, "rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    os.dup2(2, 1)
    requests: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(link, requests), daemon=True).start()

    from rlagent.base.cause import cause_of
    from rlagent.environments.finisher import Finisher
    from rlagent.environments.protocol import NoStepError, as_step
    from rlagent.environments.reference import found

    environment: Any = None
    with Finisher() as finished:
        while (request := requests.get()) is not None:
            method: str = request["method"]
            answer: dict[str, Any] = {}
            signal.setitimer(signal.ITIMER_REAL, request["seconds"] + GRACE)
            try:
                if method == "make":
                    environment = finished(found(request["make"]), **request["arguments"])
                elif method == "close":
                    finished(environment.close)
                else:
                    step = as_step(finished(getattr(environment, method), **request["arguments"]))
                    answer["step"] = [step.observation, step.reward, step.done, step.info]
            except NoStepError as error:
                answer["garbage"] = str(error)
            except Exception as error:
                answer["raised"] = cause_of(error)
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
            _write(link, answer)
            if method == "close":
                return
        if environment is not None:
            signal.setitimer(signal.ITIMER_REAL, GRACE)
            finished(environment.close)


def _read(link: socket.socket, requests: "queue.SimpleQueue[dict[str, Any] | None]") -> None:
    stream = link.makefile("rb")
    while head := stream.read(LENGTH.size):
        requests.put(json.loads(stream.read(*LENGTH.unpack(head))))
    # Nobody asks any more.
    requests.put(None)


def _write(link: socket.socket, answer: dict[str, Any]) -> None:
    text = json.dumps(answer).encode()
    try:
        link.sendall(LENGTH.pack(len(text)) + text)
    except OSError:
        # Nobody waits for it.
        sys.exit(0)
