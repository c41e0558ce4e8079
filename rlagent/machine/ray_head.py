"""Whether a Ray cluster already runs here, found without importing Ray."""

import os
import socket

from rlagent.base.errors import Problem
from rlagent.machine.surroundings import ray_folder


def answers(address: str) -> bool:
    """Whether something listens at `host:port`."""
    host, _, port = address.rpartition(":")
    if not port.isdigit():
        return False
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=2):
            return True
    except OSError:
        return False


def running_head() -> str | None:
    """Address of the Ray head that this user started with `ray start --head`; None without one."""
    note = ray_folder() / "ray" / "ray_current_cluster"
    try:
        if note.stat().st_uid != os.getuid():
            return None
        address = note.read_text().strip()
    except OSError:
        return None
    return address if answers(address) else None


def address_to_join(ray: str) -> str | None:
    """The address that a value of `hardware.ray` means; None: start one."""
    if ray == "start":
        return None
    if ray != "auto":
        return ray
    return os.environ.get("RAY_ADDRESS") or running_head()


def no_answer(ray: str, address: str) -> Problem | None:
    """What is wrong with an address at which no Ray answers; None where one does, or may.

    Args:
        ray: The value of `hardware.ray`.
        address: What it means, see `address_to_join`.
    """
    if address == "auto" or "://" in address or answers(address):
        return None
    remedy = "start one with `ray start --head`, or use hardware.ray=start"
    key = "hardware.ray" if ray == address else "RAY_ADDRESS"
    return Problem(key, address, "no Ray answers there", remedy)


def cluster_is_running() -> bool:
    """Whether `hardware.ray=auto` would join a cluster rather than start one."""
    return bool(os.environ.get("RAY_ADDRESS")) or running_head() is not None
