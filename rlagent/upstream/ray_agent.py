"""Stands in for the agents of a raylet, which are slow to start and which it waits for.

    python -I -S ray_agent.py SESSION NODE                    the dashboard's: listens nowhere
    python -I -S ray_agent.py SESSION NODE HOST COMMAND...    the one for runtime environments:
                                                              listens, and becomes COMMAND when it
                                                              is first asked

Started by the raylet, and ends with it. Imports nothing but the standard library: see `bare` in
ray.py.
"""

import os
import runpy
import select
import socket
import sys
from collections.abc import Sequence
from pathlib import Path

DASHBOARD_PORTS = ("metrics_agent_port", "metrics_export_port", "dashboard_agent_listen_port")
ENVIRONMENT_PORT = "runtime_env_agent_port"
"""What a raylet waits for before it says that it is up, as Ray names its files."""

NONE = -1
"""Ray's word for a service that is not in use."""

EVERY = 1.0
"""Seconds between two looks for the raylet."""

TAKE_OVER = "take-over"
"""Before the descriptor of a socket that is bound already."""


def say_ports(session: Path, node: str, port: int, *names: str) -> None:
    """Write the files that the raylet waits for, each whole."""
    for name in names:
        beside = session / f".{name}_{node}"
        beside.write_text(str(port))
        beside.rename(session / f"{name}_{node}")


def wait_for(listener: Sequence[socket.socket]) -> bool:
    """Wait until somebody connects; returns whether it was before the raylet ended."""
    raylet = int(os.environ["RAY_RAYLET_PID"])
    while os.getppid() == raylet:
        if select.select(listener, [], [], EVERY)[0]:
            return True
    return False


def take_over(bound: int, command: Sequence[str]) -> None:
    """Run an agent's script here, which binds the address that is bound already."""
    theirs = socket.socket.bind
    address = socket.socket(fileno=os.dup(bound)).getsockname()

    def bind(self: socket.socket, asked: tuple[object, ...]) -> None:
        if asked == address:
            # Whoever connected to it meanwhile is answered.
            os.dup2(bound, self.fileno())
        else:
            theirs(self, asked)

    socket.socket.bind = bind  # type: ignore[method-assign, assignment]
    # Python puts the script's folder there; that of this one has modules with the names of others.
    sys.path[0] = str(Path(command[0]).parent)
    sys.argv = [*command, f"--runtime-env-agent-port={address[1]}"]
    runpy.run_path(command[0], run_name="__main__")


def main(words: Sequence[str]) -> None:
    """Say the ports, and wait for the end of the raylet or for who asks."""
    if words[0] == TAKE_OVER:
        take_over(int(words[1]), words[2:])
        return
    session, node = Path(words[0]), words[1]
    if len(words) == 2:
        say_ports(session, node, NONE, *DASHBOARD_PORTS)
        wait_for([])
        return
    host, command = words[2], words[3:]
    listener = socket.create_server((host, 0))
    say_ports(session, node, listener.getsockname()[1], ENVIRONMENT_PORT)
    if wait_for([listener]):
        listener.set_inheritable(True)
        script = next(place for place, word in enumerate(command) if word.endswith(".py"))
        again = [__file__, TAKE_OVER, str(listener.fileno())]
        os.execv(command[0], [*command[:script], *again, *command[script:]])


if __name__ == "__main__":
    main(sys.argv[1:])
