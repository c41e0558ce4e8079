"""Watches the shared event loop from a thread of its own: which rollout blocks it.

A rollout that blocks the loop, with `time.sleep` or a `while True`, keeps all others of its process
waiting: they are not charged for it, and it is found when its own time is over. What keeps even
other threads from running, and a crash, end the process, and a file says where; who it was stands
in another one, which the loop writes.
"""

import asyncio
import faulthandler
import mmap
import os
import sys
import sysconfig
import threading
import time
import traceback
from pathlib import Path

from rlagent.trinity import guard
from rlagent.trinity.fates import DIED, Fate, Report
from rlagent.trinity.guard import KEY_BYTES, Rollout, current
from rlagent.trinity.shared_loop import shared

TICK = 0.25
"""Seconds between two looks."""

ARM = 1.0
"""Seconds after which the process is again given time to live (see `_arm`)."""

GRACE = 2.0
"""Seconds beyond its time after which a rollout that blocks the loop is taken for one that does so
for good: one that ends before that is timed out as any other."""

NOTICED = 5.0
"""Seconds of waiting for one rollout after which the others are reported to wait."""

MOST_THREADS = 200
"""Threads beyond those that work for rollouts that a process may gather; libraries have some."""

_LIBRARIES = tuple(sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib"))


class Watchdog:
    """Watches the loop of this process, whose thread is the calling one, once it is started.

    Args:
        loop: The protected loop.
        files: Where to leave what is left of this process if it dies, without the ending of the
            names; None: nowhere.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, files: Path | None) -> None:
        self._loop = loop
        self._thread = threading.get_ident()
        self._files = files
        self._sent = time.monotonic()
        self._answered = True
        self._looked = self._sent
        self._report = Report()
        self._error: Exception | None = None
        # Seconds by which each rollout has held up the loop since the last answer.
        self._held: dict[Rollout | None, float] = {}
        self._armed = 0.0
        # Otherwise one that holds the interpreter from its first moment on would never be found.
        guard.on_first[:] = [self._arm]
        # Rollouts that have ended, some of whose code has not.
        self._worn: list[Rollout] = []
        if files is not None:
            files.parent.mkdir(parents=True, exist_ok=True)
            self._stacks = open(_stacks(files), "w")  # noqa: SIM115 - as long as the process
            faulthandler.enable(self._stacks)
            shared.last = _last(files)

    def start(self) -> "Watchdog":
        """Watch from now on, asked or not: the process has to outlive an explorer
        that is busy."""
        threading.Thread(target=self._go_on, name="watchdog", daemon=True).start()
        return self

    async def watch(self, seconds: float) -> Report:
        """Wait until what is seen has changed, or the time is over; called in another loop."""
        until = time.monotonic() + seconds
        before = self._report
        while time.monotonic() < until:
            if before.fate is not None or self._error is not None or self._report != before:
                break
            await asyncio.sleep(TICK)
        if self._error is not None:
            raise self._error
        return self._report

    def _go_on(self) -> None:
        try:
            while self._report.fate is None:
                self._report = self.look()
                time.sleep(TICK)
        # Raised by `watch`, since nobody sees what a thread raises.
        except Exception as error:
            faulthandler.cancel_dump_traceback_later()
            self._error = error

    def look(self) -> Report:
        """What there is to say of the process now."""
        now = time.monotonic()
        since, self._looked = now - self._looked, now
        if now - self._armed >= ARM:
            self._arm()
        if self._answered:
            self._answered, self._sent = False, now
            self._loop.call_soon_threadsafe(self._answer, now)
            return Report(worn=self._wear())
        context = shared.context
        rollout = context.get(current) if context is not None else None
        self._held[rollout] = self._held.get(rollout, 0.0) + since
        waited = now - self._sent
        if waited < GRACE:
            return Report(worn=self._wear())
        if self._is_over(rollout, waited):
            cause = (
                f"it blocked the event loop of its process for {waited:.0f} s, and so all other "
                f"rollouts in it, at {self._place()}"
            )
            key = None if rollout is None else rollout.key
            return Report(fate=Fate(key, cause, certain=key is not None))
        return Report(worn=self._wear(), slow=self._place() if waited > NOTICED else "")

    def _is_over(self, rollout: Rollout | None, waited: float) -> bool:
        """Whether the time of the one that blocks the loop is over; of nobody's code, that of
        all who wait."""
        if rollout is None:
            longest = _longest_timeout()
            return longest is not None and waited > longest + GRACE
        # What the others wait for is not charged to them yet.
        others = sum(seconds for one, seconds in self._held.items() if one is not rollout)
        left = rollout.seconds_left()
        return left is not None and left + others < -GRACE and self._held[rollout] >= GRACE

    def ended(self, rollout: Rollout) -> None:
        """Note a rollout that is no longer waited for."""
        if rollout.goes_on():
            self._worn.append(rollout)

    def _wear(self) -> str:
        self._worn = [rollout for rollout in self._worn if rollout.goes_on()]
        if self._worn:
            return f"code of {len(self._worn)} ended rollouts goes on"
        threads = sum(
            not thread.name.startswith(("workflow", "to_thread"))
            for thread in threading.enumerate()
        )
        return f"{threads} threads were left" if threads > MOST_THREADS else ""

    def _answer(self, sent: float) -> None:
        """Run by the loop: it goes on."""
        waited = time.monotonic() - sent
        if waited > TICK:
            for rollout in list(guard.under_way):
                others = waited - self._held.get(rollout, 0.0)
                rollout.kept_waiting += max(0.0, min(others, time.monotonic() - rollout.began))
        self._held = {}
        self._answered = True

    def _place(self) -> str:
        """Where the loop's thread is in the code of a user."""
        stack = traceback.extract_stack(sys._current_frames().get(self._thread))
        own = [each for each in stack if not _is_known(each.filename)]
        last = (own or stack)[-1]
        return f"{Path(last.filename).name}:{last.lineno} in {last.name}: {last.line}"

    def _arm(self) -> None:
        """End the process if this thread, too, no longer gets to run."""
        if self._files is None:
            return
        self._armed = time.monotonic()
        longest = _longest_timeout()
        if longest is None:
            faulthandler.cancel_dump_traceback_later()
        else:
            faulthandler.dump_traceback_later(longest + 2 * GRACE, exit=True, file=self._stacks)


def _longest_timeout() -> float | None:
    """Of the rollouts under way; None: none has one."""
    timeouts = (rollout.timeout for rollout in list(guard.under_way))
    return max((each for each in timeouts if each is not None), default=None)


def _is_library(filename: str) -> bool:
    return filename.startswith((*_LIBRARIES, "<frozen")) or "site-packages" in filename


def _is_known(filename: str) -> bool:
    return _is_library(filename) or Path(filename).parent == Path(__file__).parent


def _stacks(files: Path) -> Path:
    return files.with_name(files.name + ".stacks")


def _last_name(files: Path) -> Path:
    return files.with_name(files.name + ".last")


def _last(files: Path) -> mmap.mmap:
    """Memory that outlives the process, for the rollout whose code ran last."""
    path = _last_name(files)
    path.write_bytes(bytes(KEY_BYTES))
    with path.open("r+b") as file:
        return mmap.mmap(file.fileno(), KEY_BYTES)


def read_fate(files: Path | None) -> Fate:
    """What the files of a dead process say of its end; its `.stacks` stay if they say something."""
    if files is None:
        return Fate(None, DIED, certain=False)
    key = stacks = ""
    if _last_name(files).is_file():
        key = _last_name(files).read_bytes().rstrip(b"\0").decode(errors="replace")
        _last_name(files).unlink()
    if _stacks(files).is_file():
        stacks = _stacks(files).read_text(errors="replace")
        if not stacks:
            _stacks(files).unlink()
    return Fate(key or None, _cause(stacks), certain=False)


def _cause(stacks: str) -> str:
    """The first line of what faulthandler wrote, and where the code of a user was.

    >>> _cause("")
    'the process that ran it died (killed, crashed or out of memory)'
    """
    if not stacks.strip():
        return DIED
    lines = [line.strip() for line in stacks.splitlines()]
    places = [line for line in lines if line.startswith("File ")]
    files = [line.split('"')[1] for line in places]
    own = [line for line, file in zip(places, files, strict=True) if not _is_known(file)]
    what = lines[0]
    if what.startswith("Timeout"):
        what = "it kept the interpreter, and all other rollouts of its process, from running"
    else:
        what = f"it crashed the process that ran it ({what.removeprefix('Fatal Python error: ')})"
    place = (own or places)[:1]
    return f"{what}, at {place[0]}" if place else what


def log_files(name: str) -> Path | None:
    """Where a runner process of that name leaves files; None: there is no folder for logs."""
    folder = os.environ.get("TRINITY_LOG_DIR")
    return Path(folder) / name if folder else None
