"""What agent code changes around itself: working directory, environment, logging, streams.

A process has one of each, and the code of its rollouts takes turns. So each rollout has its own
changes: they are there while its code runs, gone while that of others does, and gone when it ends.
What is imported changes them for all: a module is imported once.
"""

import ctypes
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

from rlagent.base.programs import Program
from rlagent.trinity import streams
from rlagent.trinity.guard import Rollout, current


class _Changed:
    """Whether any rollout has ever changed its directory: else there is nothing to switch."""

    any = False


class _Programs:
    """How many programs this process has started since it was asked to look."""

    started = 0
    is_counted = False


class _Own:
    """What the process had before any rollout, and where the loop's thread is now."""

    process = 0
    thread = 0
    directory = ""
    inside = ""
    # Level and handlers of the root logger, and the level below which nothing is logged.
    log: tuple[int, list[logging.Handler], int] | None = None
    loggers: list[logging.Logger] = []


changed = _Changed()
programs = _Programs()
_own = _Own()
_thread = threading.local()
_chdir, _fchdir = os.chdir, os.fchdir
_popen = subprocess.Popen.__init__


def remember() -> None:
    """Take the process as it is for its own state; called in the thread of the event loop."""
    _own.process, _own.thread = os.getpid(), threading.get_ident()
    _own.directory = _own.inside = os.getcwd()
    _leave_shared_directory()
    os.chdir = _change_directory(_chdir)  # type: ignore[assignment]
    os.fchdir = _change_directory(_fchdir)  # type: ignore[assignment]
    # Not another object: modules hold this one.
    os.environ.__class__ = _Environment
    streams.install()
    subprocess.Popen.__init__ = _with_environment  # type: ignore[method-assign]
    os.system = _system
    os.posix_spawn, os.posix_spawnp = _noting(os.posix_spawn), _noting(os.posix_spawnp)
    programs.is_counted = True


def enter(rollout: Rollout | None) -> None:
    """Put the loop's thread where the rollout is whose code is about to run."""
    wanted = (rollout.directory if rollout is not None else None) or _own.directory
    if wanted != _own.inside:
        _go_to(wanted)
        _own.inside = wanted


def reset(rollout: Rollout) -> None:
    """Undo what a rollout has changed; called from its code or after it."""
    rollout.directory = None
    rollout.streams.clear()
    rollout.environment.clear()
    if changed.any and threading.get_ident() == _own.thread:
        enter(None)


def keep_logging() -> None:
    """Undo what a rollout has done to logging; the first call takes it as it is."""
    root = logging.getLogger()
    if _own.log is None:
        _own.log = (root.level, list(root.handlers), root.manager.disable)
        loggers = [one for one in root.manager.loggerDict.values() if _is_ours(one)]
        _own.loggers = [one for one in loggers if isinstance(one, logging.Logger)]
        return
    level, handlers, disabled = _own.log
    if root.level != level:
        root.setLevel(level)
    if root.handlers != handlers:
        root.handlers[:] = handlers
    if root.manager.disable != disabled:
        logging.disable(disabled)
    for logger in _own.loggers:
        # logging.config disables every logger that it is not about.
        logger.disabled = False


def _is_ours(logger: Any) -> bool:
    return getattr(logger, "name", "").startswith(("trinity", "rlagent"))


def in_thread_of(rollout: Rollout | None, function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, to be called in another thread, in the directory that the rollout has now."""
    wanted = (rollout.directory if rollout is not None else None) or _own.directory

    def call(*args: Any, **kwargs: Any) -> Any:
        if wanted and _leave_shared_directory():
            _go_to(wanted)
        return function(*args, **kwargs)

    return call


def _go_to(directory: str) -> None:
    try:
        _chdir(directory)
    except OSError:
        # A rollout's temporary directory, gone meanwhile.
        _chdir(_own.directory)


def _leave_shared_directory() -> bool:
    """Give this thread a directory of its own; returns whether it has one.

    Linux keeps it per thread where one asks for it, which some containers forbid.
    """
    if not hasattr(_thread, "alone"):
        clone_fs = 0x200
        try:
            _thread.alone = ctypes.CDLL(None).unshare(clone_fs) == 0
        except (OSError, AttributeError):
            _thread.alone = False
    return _thread.alone


def _change_directory(really: Callable[[Any], None]) -> Callable[[Any], None]:
    def change(path: Any) -> None:
        if os.getpid() != _own.process:
            really(path)
            return
        alone = _leave_shared_directory()
        really(path)
        rollout = current.get()
        if threading.get_ident() != _own.thread:
            if not alone:
                # The loop's thread is there now too, until it next looks.
                _own.inside, changed.any = "", True
        elif rollout is not None:
            rollout.directory = _own.inside = os.getcwd()
            changed.any = True
        else:
            _own.inside = os.getcwd()

    return change


def _with_environment(self: Any, *args: Any, **kwargs: Any) -> None:
    """Popen's constructor; a program gets the environment of the rollout that starts it, and is
    noted where it is to end with it."""
    rollout = current.get()
    # The eleventh argument; an empty one is meant.
    given = len(args) > 10 or kwargs.get("env") is not None
    if rollout is not None and rollout.environment and not given:
        kwargs["env"] = dict(os.environ)
    _popen(self, *args, **kwargs)
    _note(self.pid)


def _note(pid: int) -> None:
    programs.started += 1
    rollout = current.get()
    if rollout is not None and rollout.programs is not None:
        rollout.programs.append(Program.of(pid))


def _noting(spawn: Callable[..., int]) -> Callable[..., int]:
    def call(*args: Any, **kwargs: Any) -> int:
        pid = spawn(*args, **kwargs)
        _note(pid)
        return pid

    return call


def _system(command: Any) -> int:
    """os.system by way of subprocess: C's own neither says what it started nor knows of a
    rollout's environment."""
    code = subprocess.Popen(os.fspath(command), shell=True, close_fds=False).wait()
    # As the system has it.
    return code << 8 if code >= 0 else -code


class _Environment(os._Environ):  # type: ignore[type-arg]
    """os.environ, in which each rollout sees its own changes."""

    def __getitem__(self, key: str) -> str:
        own = _environment()
        if own and key in own:
            value = own[key]
            if value is None:
                raise KeyError(key)
            return value
        return super().__getitem__(key)

    def __setitem__(self, key: str, value: str) -> None:
        own = _environment()
        if own is None or _importing():
            super().__setitem__(key, value)
            return
        # What is no text is refused as ever.
        self.encodekey(key), self.encodevalue(value)
        own[key] = value

    def __delitem__(self, key: str) -> None:
        own = _environment()
        if own is None or _importing():
            super().__delitem__(key)
            return
        self[key]
        own[key] = None

    def __iter__(self) -> Iterator[str]:
        own = _environment()
        if not own:
            yield from super().__iter__()
            return
        yield from (key for key in super().__iter__() if key not in own)
        yield from (key for key, value in list(own.items()) if value is not None)

    def __len__(self) -> int:
        return sum(1 for _ in self)


def _environment() -> dict[str, str | None] | None:
    rollout = current.get()
    return None if rollout is None else rollout.environment


def _importing() -> bool:
    """Whether this is the code of a module that is being imported."""
    frame = sys._getframe(2)
    while frame is not None:
        if frame.f_code.co_filename == "<frozen importlib._bootstrap>":
            return True
        frame = frame.f_back  # type: ignore[assignment]
    return False
