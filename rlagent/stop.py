"""`rlagent stop RUN|SWEEP`: end a run, or a sweep with all its trials, from another shell.

Leaves a request in the run folder, which the driver looks at between its waits, and waits until it
has ended; a driver that does not come to look is sent SIGTERM. Saving the checkpoint and writing
how it ended are the driver's. A sweep's launcher is sent SIGTERM, upon which it stops its trials.
"""

import argparse
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Sequence

from rlagent.base.process import open_recorded
from rlagent.base.screen import lasting_streams
from rlagent.base.words import duration, short_path
from rlagent.records.files import DamagedError
from rlagent.records.find import find_any
from rlagent.records.folder import ENDED, RunFolder, RunNotFoundError
from rlagent.records.summary import how_it_ended
from rlagent.records.sweep_store import RUNNING, SweepFolder

TIMEOUT = 120.0
"""Seconds that a driver may take to save a checkpoint and take everything down."""

PATIENCE = 15.0
"""Seconds that the request alone is given before SIGTERM: the file cannot hit a bad moment, such
as the one in which Ray installs signal handlers of its own."""


@lasting_streams()
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Returns:
        0 when the run has ended; 1 when it did not end in time or is out of reach; 2 when there
        is no such run or sweep.
    """
    parser = argparse.ArgumentParser(
        prog="rlagent stop",
        description="End a run or a sweep cleanly: the same command goes on from its checkpoint.",
    )
    parser.add_argument("run", help="run or sweep: its folder, name or id, or `latest`")
    parser.add_argument("--root", default="outputs", help="where run folders are (outputs)")
    parser.add_argument(
        "--timeout", type=float, default=TIMEOUT, help="seconds to wait for its end (120)"
    )
    asked = parser.parse_args(sys.argv[1:] if argv is None else list(argv))
    try:
        folder = find_any(asked.run, asked.root)
        if isinstance(folder, SweepFolder):
            return stop_sweep(folder, asked.timeout)
        return stop(folder, asked.timeout)
    except RunNotFoundError as error:
        print(f"rlagent stop: {error}", file=sys.stderr)
        return 2
    except DamagedError as error:
        print(f"rlagent stop: {error}; if it runs, end it with SIGTERM", file=sys.stderr)
        return 1


def stop_sweep(folder: SweepFolder, timeout: float = TIMEOUT) -> int:
    """Ask a sweep to stop all its trials and wait for it; returns the exit status."""
    sweep = folder.read()
    if sweep.state != RUNNING:
        print(f"{folder.name} has ended already: {sweep.state}.")
        return 0
    if sweep.host and sweep.host != socket.gethostname():
        print(f"{folder.name} runs on {sweep.host}; stop it from there.", file=sys.stderr)
        return 1
    descriptor = open_recorded(sweep.pid, folder.driver_alive)
    if descriptor is None:
        print(
            f"{folder.name} says running, but its launcher {sweep.pid} is gone: it was killed. "
            "The same command finishes what is unfinished.",
            file=sys.stderr,
        )
        return 1
    began = time.monotonic()
    try:
        signal.pidfd_send_signal(descriptor, signal.SIGTERM)
        if _is_frozen(sweep.pid):
            return _say_frozen(f"the launcher of {folder.name}, process", sweep.pid)
        print(f"{folder.name} was asked to stop; each trial saves a checkpoint first.", flush=True)
        if not _ended(descriptor, timeout):
            print(
                f"{folder.name} has not ended after {duration(timeout)}; a trial may be within a "
                "long step. Wait, or ask again.",
                file=sys.stderr,
            )
            return 1
    finally:
        os.close(descriptor)
    after = folder.read().state
    if after == RUNNING:
        print(f"{folder.name}: its launcher ended without a final status", file=sys.stderr)
        return 1
    print(f"{folder.name}: {after}. It took {duration(time.monotonic() - began)} to end.")
    return 0


def stop(folder: RunFolder, timeout: float = TIMEOUT) -> int:
    """Ask a run to end and wait for it; returns the exit status of the command."""
    status = folder.read_status()
    if status.get("state") in ENDED:
        print(f"{folder.name} has ended already. {how_it_ended(status)}")
        return 0
    host = status.get("host")
    if host and host != socket.gethostname():
        # The request alone reaches it, where both machines see the same folder.
        folder.request_stop()
        print(f"{folder.name} runs on {host}; it was asked to stop and will end soon.")
        return 0
    pid = status.get("pid")
    descriptor = open_recorded(pid, folder.driver_alive)
    if descriptor is None:
        print(
            f"{folder.name} says {status.get('state')}, but its process {pid} is gone: it was "
            f"killed after {status.get('steps_trained') or 0} steps. The same command resumes it.",
            file=sys.stderr,
        )
        return 1
    try:
        folder.request_stop()
        if _is_frozen(pid):
            return _say_frozen(f"{folder.name}'s process", pid)
        print(f"{folder.name} was asked to stop; it saves a checkpoint first.", flush=True)
        return _await_end(folder, descriptor, pid, timeout)
    finally:
        os.close(descriptor)


def _await_end(folder: RunFolder, descriptor: int, pid: int | None, timeout: float) -> int:
    """Wait for the process to end, then say how the run did."""
    began = time.monotonic()
    patience = min(PATIENCE, timeout)
    # After its final status the driver still writes the report: SIGTERM would cut that off.
    if not _ended(descriptor, patience) and folder.read_status().get("state") not in ENDED:
        signal.pidfd_send_signal(descriptor, signal.SIGTERM)
    if not _ended(descriptor, timeout - patience):
        print(
            f"{folder.name} has not ended after {duration(timeout)}; it may be within a long "
            f"step. Ask again, or end process {pid} by force: kill -9 {pid}",
            file=sys.stderr,
        )
        return 1
    status = folder.read_status()
    if status.get("state") not in ENDED:
        print(
            f"the process ended without a final status; see {short_path(folder.path)}/attempts",
            file=sys.stderr,
        )
        return 1
    print(f"{how_it_ended(status)}\nIt took {duration(time.monotonic() - began)} to end.")
    return 0


def _is_frozen(pid: int | None) -> bool:
    """Whether a process is stopped, as by SIGSTOP or Ctrl+Z, and so reacts to nothing."""
    import psutil

    try:
        return psutil.Process(pid).status() in (psutil.STATUS_STOPPED, psutil.STATUS_TRACING_STOP)
    except psutil.NoSuchProcess:
        return False


def _say_frozen(what: str, pid: int | None) -> int:
    print(
        f"{what} {pid} is frozen (SIGSTOP or Ctrl+Z): it was asked to stop, and does so once it "
        f"goes on: kill -CONT {pid}",
        file=sys.stderr,
    )
    return 1


def _ended(descriptor: int, timeout: float) -> bool:
    """Wait for a process to end; False when it has not after `timeout` seconds."""
    return bool(select.select([descriptor], [], [], timeout)[0])


if __name__ == "__main__":
    sys.exit(main())
