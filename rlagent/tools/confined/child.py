"""The confined process: run as a script by run.py, without rlagent and its packages.

It reads from its input what to run and how far to go, takes everything away from a process below
it, says on a descriptor of its own that it is ready, and runs the program there. Each step has to
succeed; one that does not ends it before the program is run.

The process started by run.py stays outside, as the parent of the one inside, which it ends when it
is asked to (SIGTERM); each ends when the one above it does.
"""

import base64
import contextlib
import ctypes
import json
import os
import re
import resource
import select
import signal
import sys
from typing import Any, NoReturn

_LIBC = ctypes.CDLL(None, use_errno=True)
_NEW = {
    "user": 0x10000000,
    "mount": 0x00020000,
    "process": 0x20000000,
    "network": 0x40000000,
    "IPC": 0x08000000,
    "name": 0x04000000,
}
_RDONLY, _NOSUID, _NODEV, _NOEXEC, _REMOUNT = 1, 2, 4, 8, 32
_BIND, _REC, _PRIVATE, _RELATIME = 4096, 16384, 1 << 18, 1 << 21
_ST_RELATIME = 4096
_DETACH = 2
_SET_PDEATHSIG, _SET_SECCOMP, _SET_NO_NEW_PRIVS, _FILTER = 1, 22, 38, 2
_CAPABILITIES_3 = 0x20080522
_USER = 1000
"""The program's user in its own namespace; outside it is whoever has started this."""


class _Instructions(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("program", ctypes.c_void_p)]


def _must(step: str, result: int) -> None:
    """Raise OSError with what was tried when a call of the C library has failed."""
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{step}: {os.strerror(number)}")


def _end_with_parent() -> None:
    _must("prctl(PR_SET_PDEATHSIG)", _LIBC.prctl(_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0))


def _leave_namespaces() -> None:
    """Give this process and its children namespaces of their own."""
    user, group = os.geteuid(), os.getegid()
    _must(
        f"new namespaces ({', '.join(_NEW)})",
        _LIBC.unshare(ctypes.c_int(sum(_NEW.values()))),
    )
    for name, text in (
        ("setgroups", "deny"),
        ("uid_map", f"{_USER} {user} 1"),
        ("gid_map", f"{_USER} {group} 1"),
    ):
        with open(f"/proc/self/{name}", "w") as file:
            file.write(text)


def _mount(source: str, target: str, kind: str, flags: int, options: str = "") -> None:
    result = _LIBC.mount(
        source.encode(), target.encode(), kind.encode(), ctypes.c_ulong(flags), options.encode()
    )
    _must(f"mount {kind or source} on {target}", result)


def _read_only(target: str) -> None:
    """Make a mount read-only; what is forbidden on it already stays so."""
    now = os.statvfs(target).f_flag
    kept = now & (_NOSUID | _NODEV | _NOEXEC | 1024 | 2048)
    kept |= _RELATIME if now & _ST_RELATIME else 0
    _mount("", target, "", _REMOUNT | _BIND | _RDONLY | _NOSUID | _NODEV | kept)


def _take_files_away(library: str, disk: int) -> None:
    """Leave the standard library, read-only, and an empty /tmp of `disk` bytes; nothing else."""
    _mount("", "/", "", _REC | _PRIVATE)
    below = _mounts_below(library)
    new = "/proc"  # a folder that is sure to exist, and not to hold the library
    _mount("root", new, "tmpfs", _NOSUID | _NODEV, "size=64k,mode=755")
    inside = new + library
    os.makedirs(inside)
    _mount(library, inside, "", _BIND | _REC)
    for place in ("", *below):
        _read_only(inside + place)
    packages = f"{inside}/site-packages"
    if os.path.isdir(packages):
        _mount("none", packages, "tmpfs", _NOSUID | _NODEV | _RDONLY, "size=4k,mode=555")
    os.mkdir(f"{new}/tmp")
    options = f"size={disk},nr_inodes=1000,mode=700"
    _mount("tmp", f"{new}/tmp", "tmpfs", _NOSUID | _NODEV | _NOEXEC, options)
    os.chdir(new)
    _must("pivot_root", _LIBC.pivot_root(b".", b"."))
    _must("leave the old root", _LIBC.umount2(b".", _DETACH))
    _read_only("/")
    os.chdir("/tmp")


def _mounts_below(folder: str) -> list[str]:
    """Paths, relative to a folder, of what is mounted below it. A bind mount takes them along, each
    with its own flags, and only who mounted them may leave them out."""
    folder = os.path.realpath(folder)
    # All of the machine's mounts are listed, and a name may be of any bytes.
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        # Blanks in it are written as octal numbers.
        places = [re.sub(r"\\(\d{3})", _octal, line.split()[4]) for line in file]
    return [place[len(folder) :] for place in places if place.startswith(f"{folder}/")]


def _octal(found: "re.Match[str]") -> str:
    return chr(int(found[1], 8))


def _limit(memory: int, seconds: int, disk: int) -> None:
    limits = {
        resource.RLIMIT_AS: memory,
        resource.RLIMIT_CPU: seconds,
        resource.RLIMIT_FSIZE: disk,
        resource.RLIMIT_NOFILE: 64,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_MEMLOCK: 0,
        resource.RLIMIT_MSGQUEUE: 0,
        resource.RLIMIT_NPROC: 1,
    }
    for what, most in limits.items():
        # Never above what holds already, which only root could.
        hard = resource.getrlimit(what)[1]
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(what, (most, most))


def _drop_capabilities() -> None:
    header = (ctypes.c_uint32 * 2)(_CAPABILITIES_3, 0)
    _must("drop capabilities", _LIBC.capset(header, (ctypes.c_uint32 * 6)()))


def _filter_calls(instructions: bytes) -> None:
    _must("no new privileges", _LIBC.prctl(_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
    kept = ctypes.create_string_buffer(instructions, len(instructions))
    filter_ = _Instructions(len(instructions) // 8, ctypes.addressof(kept))
    result = _LIBC.prctl(_SET_SECCOMP, _FILTER, ctypes.byref(filter_), 0, 0)
    _must("filter system calls (seccomp)", result)


def _confine(asked: dict[str, Any], ready: int) -> None:
    os.setsid()  # what it signals as its group is itself
    _take_files_away(asked["library"], asked["disk"])
    _limit(asked["memory"], asked["cpu_seconds"], asked["disk"])
    _drop_capabilities()
    _filter_calls(base64.b64decode(asked["filter"]))
    os.write(ready, b"ready")
    os.close(ready)


def _run(source: str) -> int:
    """Run the program as Python would run a file; returns its exit status."""
    try:
        exec(compile(source, "program.py", "exec"), {"__name__": "__main__"})
    except SystemExit as error:
        return error.code if isinstance(error.code, int) else int(error.code is not None)
    except BaseException as error:
        print(_told(error), file=sys.stderr)
        return 1
    return 0


def _told(error: BaseException) -> str:
    """The error with the program's own lines, without those of this file."""
    import traceback

    trace = error.__traceback__.tb_next if error.__traceback__ else None
    return "".join(traceback.format_exception(type(error), error, trace, limit=-3)).rstrip()


def _inside(asked: dict[str, Any], ready: int, above: int) -> NoReturn:
    status = 1
    try:
        _end_with_parent()
        # The parent may have ended before that; then the other end of its pipe is closed.
        if select.select([above], [], [], 0)[0]:
            os._exit(1)
        os.close(above)
        _confine(asked, ready)
        status = _run(asked["source"])
    except BaseException as error:
        with contextlib.suppress(BaseException):
            print(f"{type(error).__name__}: {error}", file=sys.stderr)
    finally:
        with contextlib.suppress(BaseException):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(status & 0xFF)


def main() -> int:
    """Confine a process and wait for it; returns its exit status, 128 + N: ended by signal N."""
    ready = int(sys.argv[1])
    parent = int(sys.argv[2])
    _end_with_parent()
    if os.getppid() != parent:
        return 1
    asked = json.load(sys.stdin)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    _leave_namespaces()
    above, mine = os.pipe()
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    inside = os.fork()
    if inside == 0:
        os.close(mine)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
        _inside(asked, ready, above)
    signal.signal(signal.SIGTERM, lambda *_: os.kill(inside, signal.SIGKILL))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    # `ready` stays open: it closes when both have ended, whatever the program closes.
    for descriptor in (1, 2):
        os.close(descriptor)
    code = os.waitstatus_to_exitcode(os.waitpid(inside, 0)[1])
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    os._exit(main())
