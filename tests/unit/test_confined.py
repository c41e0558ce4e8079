"""What a confined program cannot do, tried by programs that do try."""

import asyncio
import os
import re
import socket
import subprocess
import sys
import sysconfig
from pathlib import Path

import psutil
import pyseccomp
import pytest

from rlagent.tools.confined import ConfinementError, Limits, calls, refusal, run, run_blocking
from rlagent.trinity import guard

REPOSITORY = Path(__file__).parents[2]

pytestmark = pytest.mark.skipif(bool(refusal()), reason=refusal() or "confines")


def tried(source: str, **limits: float) -> str:
    """What becomes of a program: what it prints, and why it failed."""
    outcome = run_blocking(source, Limits(**limits))  # type: ignore[arg-type]
    return f"{outcome.stdout}{outcome.failure}"


def below(pid: int) -> list[psutil.Process]:
    """The processes that a process has started which have not ended."""
    found = psutil.Process(pid).children(recursive=True)
    return [one for one in found if one.is_running() and one.status() != psutil.STATUS_ZOMBIE]


@pytest.fixture(autouse=True)
def _nothing_is_left():
    yield
    assert not below(os.getpid())


def test_it_computes_with_the_standard_library():
    source = "import math, json, re, random, hashlib\nprint(json.dumps(math.factorial(5)))"
    assert tried(source) == "120\n"


def test_it_may_keep_small_files_of_its_own():
    assert tried("open('a', 'w').write('x' * 1000)\nprint(len(open('/tmp/a').read()))") == "1000\n"


def test_so_little_memory_that_every_program_would_fail_is_refused():
    with pytest.raises(ValueError, match=r"memory_mib=31: .* 32 or more"):
        Limits(memory_mib=31)
    assert tried("print(6 * 7)", memory_mib=32) == "42\n"


WRITES_BELOW = r"""
import sys
from rlagent.tools.confined import run_blocking
place = sys.argv[1]
print(run_blocking(f"import os\nprint(os.listdir({place!r}))\nopen({place!r} + '/x', 'w')"))
"""


def test_what_is_mounted_below_the_standard_library_cannot_be_written(tmp_path):
    place = Path(sysconfig.get_path("stdlib"), "pydoc_data")
    # One that is mounted elsewhere may have any name.
    (odd := tmp_path / os.fsdecode(b"caf\xe9")).mkdir()
    mounts = 'mount -t tmpfs none "$0" && mount -t tmpfs none "$1" && touch "$0/there"'
    inside = ["unshare", "--mount", "--map-root-user", "sh", "-c"]
    inside += [f'{mounts} && shift && exec "$@"', str(place), str(odd)]
    done = subprocess.run(
        [*inside, sys.executable, "-c", WRITES_BELOW, str(place)],
        capture_output=True,
        text=True,
        check=False,
        cwd=REPOSITORY,
    )
    assert "['there']" in done.stdout, done.stderr
    assert "Read-only file system" in done.stdout


def test_each_has_a_folder_of_its_own():
    run_blocking("open('/tmp/left-by-the-program', 'w').write('x')")
    assert tried("import os\nprint(os.listdir('/tmp'))") == "[]\n"
    assert not Path("/tmp/left-by-the-program").exists()


@pytest.mark.parametrize(
    ("source", "failure"),
    [
        ("print(x)", "NameError: name 'x' is not defined"),
        ("def f(:", "SyntaxError: invalid syntax"),
        ("raise SystemExit(3)", "exit status 3"),
        ("import os\nos.kill(os.getpid(), 9)\nos._exit(7)", "exit status 7"),
        ("import ctypes\nctypes.string_at(0)", "ended by SIGSEGV"),
    ],
)
def test_what_goes_wrong_is_said_in_one_line(source, failure):
    assert run_blocking(source).failure == failure


C = "import ctypes\nlibc = ctypes.CDLL(None)\nassert libc."


@pytest.mark.parametrize(
    ("what", "source"),
    [
        ("a socket", "import socket; socket.socket()"),
        ("a socket of the machine", "import socket; socket.socket(socket.AF_UNIX)"),
        ("a process", "import os; os.fork()"),
        ("a program", "import os; os.execv('/bin/sh', ['sh'])"),
        ("a thread", "import threading; threading.Thread(target=print).start()"),
        ("a file at the top", "open('/new', 'w')"),
        ("a file of the library", "import os; open(os.__file__, 'a')"),
        ("a listing of root's home", "import os; os.listdir('/root/.ssh')"),
        ("the machine's users", "open('/etc/passwd')"),
        ("processes", "import os; os.listdir('/proc')"),
        ("devices", "import os; os.listdir('/dev')"),
        ("what is installed", "import pytest"),
        ("a mount", f"{C}mount(b'a', b'/tmp', b'tmpfs', 0, None) == 0"),
        ("another namespace", f"{C}unshare(0x10000000) == 0"),
        ("tracing", f"{C}ptrace(0, 0, 0, 0) == 0"),
        ("surviving its parent", f"{C}prctl(1, 0, 0, 0, 0) == 0"),
        ("memory without a limit", f"{C}memfd_create(b'a', 0) >= 0"),
        ("a higher limit", "import resource as r; r.setrlimit(r.RLIMIT_AS, (1 << 40, 1 << 40))"),
    ],
)
def test_it_cannot_have(what, source):
    assert run_blocking(source).failure, what


def test_it_sees_neither_environment_nor_run_folder(tmp_path, monkeypatch):
    (tmp_path / "key").write_text("secret")
    monkeypatch.setenv("RLAGENT_SOME_KEY", "secret")
    source = (
        "import os\nprint('RLAGENT_SOME_KEY' in os.environ)\n"
        f"print(os.path.exists({str(tmp_path)!r}), os.path.exists({str(REPOSITORY)!r}))"
    )
    assert tried(source) == "False\nFalse False\n"


def test_it_has_no_open_files_of_this_process(tmp_path):
    with socket.socket() as mine, open(tmp_path / "f", "w") as file:
        os.set_inheritable(mine.fileno(), True)
        os.set_inheritable(file.fileno(), True)
        found = tried(
            "import os\nfor n in range(3, 64):\n  try: os.fstat(n); print(n)\n  except OSError: 0"
        )
    assert found == ""


@pytest.mark.parametrize(
    ("what", "source", "failure"),
    [
        ("sleeping", "import time\ntime.sleep(99)", LATE := r"it took longer than 0\.5 s"),
        ("computing", "while True: pass", LATE),
        (
            "closing its output and sleeping",
            "import os, time\nos.closerange(0, 64)\ntime.sleep(99)",
            LATE,
        ),
        (
            "ignoring what can be ignored",
            "import signal\nfor n in {*range(1, 32)} - {9, 19}: signal.signal(n, lambda *_: 0)\n"
            "while True: pass",
            LATE,
        ),
        ("memory", "a = bytearray(400 << 20)", "MemoryError"),
        ("memory by degrees", "a = []\nwhile True: a.append(bytearray(1 << 20))", "MemoryError"),
        (
            "a large file",
            "f = open('a', 'wb')\nwhile True: f.write(bytes(1 << 20))",
            "File too large|No space",
        ),
        ("many files", "for n in range(9999): open(str(n), 'w').close()", "No space left"),
        ("printing", "print('x' * 1_000_000)", "it printed more than 65536 bytes"),
        ("a fork bomb", "import os\nwhile True: os.fork()", "PermissionError"),
        (
            "killing all that it sees",
            "import contextlib, os\nfor pid in (-1, os.getppid(), 0, 2):\n"
            "  with contextlib.suppress(OSError): os.kill(pid, 9)\nraise OSError('alone')",
            "OSError: alone",
        ),
    ],
)
def test_it_is_ended_for(what, source, failure):
    outcome = run_blocking(source, Limits(seconds=0.5 if "0\\.5" in failure else 20))
    assert re.search(failure, outcome.failure), (what, outcome.failure)
    assert len(outcome.stdout) <= 65_536


def test_it_is_ended_when_nobody_waits_for_it_any_more():
    async def abandoned() -> None:
        task = asyncio.create_task(
            run("import time\nprint('on', flush=True)\ntime.sleep(60)", Limits(60))
        )
        while len(below(os.getpid())) < 2:
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(abandoned())


def test_it_is_ended_when_the_time_of_its_rollout_is_over():
    rollout = guard.Rollout("one", timeout=1.0)

    async def rolled_out() -> None:
        await guard.within(rollout, run("import time\ntime.sleep(60)", Limits(60)))

    with pytest.raises(TimeoutError, match=r"workflow\.timeout"):
        asyncio.run(rolled_out())


IN_A_RUNNER = """
import asyncio, os
from rlagent.tools.confined import Limits, run
from rlagent.trinity.guard import Rollout, within
from rlagent.trinity.shared_loop import protect

async def agent(number):
    os.environ["KEY"] = "secret"
    os.chdir("/")
    return (await run(f"import os; print({number}, os.environ.get('KEY'))", Limits(30))).stdout

async def runner():
    protect(asyncio.get_running_loop())
    rollouts = (within(Rollout(str(n), 60), agent(n)) for n in range(6))
    print("".join(await asyncio.gather(*rollouts)), end="")

asyncio.run(runner())
"""


def test_rollouts_of_a_runner_confine_their_programs_side_by_side():
    done = subprocess.run(
        [sys.executable, "-c", IN_A_RUNNER],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.splitlines() == [f"{n} None" for n in range(6)], done.stderr


def test_many_are_asked_for_and_few_run_at_once(monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    most = 0

    async def all_of_them() -> list[str]:
        nonlocal most
        work = asyncio.gather(*(run(f"print({n})", Limits(30)) for n in range(12)))
        while not work.done():
            await asyncio.sleep(0.005)
            most = max(most, len(psutil.Process().children()))
        return [outcome.stdout.strip() for outcome in await work]

    assert asyncio.run(all_of_them()) == [str(n) for n in range(12)]
    assert most <= 4


def test_it_ends_with_the_process_that_started_it():
    script = (
        "from rlagent.tools.confined import Limits, run_blocking\n"
        "run_blocking('import time; time.sleep(60)', Limits(60))"
    )
    starter = subprocess.Popen([sys.executable, "-c", script], cwd=REPOSITORY)
    while len(started := below(starter.pid)) < 2:
        assert starter.poll() is None
    starter.kill()
    starter.wait()
    gone, alive = psutil.wait_procs(started, timeout=60)
    assert not alive
    assert len(gone) == 2


@pytest.mark.skipif(os.geteuid() != 0, reason="all of this file is tried by a plain user")
def test_it_is_the_same_for_a_plain_user():
    python = next(
        (p for p in ("/usr/bin/python3.12", "/usr/bin/python3.11") if Path(p).exists()), ""
    )
    if not python:
        pytest.skip("the only Python here is root's own")
    packages = Path(pyseccomp.__file__).parent
    script = "from rlagent.tools.confined import *; print(run_blocking('print(6 * 7)'))"
    done = subprocess.run(
        [python, "-c", script],
        env={"PYTHONPATH": f"{REPOSITORY}:{packages}"},
        user=65534,
        group=65534,
        extra_groups=[],
        capture_output=True,
        text=True,
        check=False,
    )
    if "No module named" in done.stderr or "Permission denied" in done.stderr:
        pytest.skip("another user cannot read this checkout")
    assert "42" in done.stdout, done.stderr


def test_a_machine_that_cannot_confine_refuses_with_the_reason(monkeypatch):
    def none_here() -> bytes:
        raise calls.NoFilterError("pyseccomp is not installed: pip install it")

    monkeypatch.setattr(calls, "program", none_here)
    assert "pyseccomp is not installed" in refusal()
    with pytest.raises(ConfinementError, match="pyseccomp is not installed"):
        run_blocking("print('never')")


def test_a_step_that_fails_keeps_the_program_from_being_run(monkeypatch, tmp_path):
    # What the kernel does not take as a filter.
    monkeypatch.setattr(calls, "program", lambda: bytes(7 * 8))
    left = tmp_path / "left"
    with pytest.raises(ConfinementError, match=r"cannot confine a program .*seccomp"):
        run_blocking(f"open({str(left)!r}, 'w')")
    assert not left.exists()
