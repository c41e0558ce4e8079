"""What agent code does to its process costs its own rollout, and nothing else."""

import asyncio
import contextlib
import io
import logging
import multiprocessing
import os
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pytest

from rlagent.base.programs import end_programs
from rlagent.trinity.guard import AgentAbortError, Rollout, as_exception, within
from rlagent.trinity.threads import in_thread


def _alone(scenario):
    """Run a scenario in a process of its own, whose loop is protected as a runner's is.

    Returns what it returns; agent code must not reach the process of the tests.
    """
    results, end = multiprocessing.get_context("fork").Pipe(duplex=False)

    def child():
        from rlagent.trinity import changes, shared_loop

        async def prepare():
            shared_loop.protect(asyncio.get_running_loop())
            changes.keep_logging()

        loop = asyncio.new_event_loop()
        loop.run_until_complete(prepare())
        end.send(loop.run_until_complete(scenario()))

    process = multiprocessing.get_context("fork").Process(target=child)
    process.start()
    end.close()
    try:
        return results.recv()
    finally:
        process.join(120)
        assert process.exitcode == 0


async def _ends(work, timeout=None, rollout=None):
    """How a rollout ends: what it returns, or the exception in words."""
    try:
        return await within(rollout or Rollout("1/0/0", timeout), work)
    except Exception as error:
        return f"{type(error).__name__}: {error}"


async def _good(turns=20):
    for _ in range(turns):
        await asyncio.sleep(0)
    return 1.0


async def _raises(error):
    await asyncio.sleep(0)
    raise error


async def _exits():
    sys.exit(3)


async def _exits_at_once():
    os._exit(3)


async def _exits_in_a_task():
    await asyncio.gather(_good(), _exits())


async def _exits_in_a_callback():
    asyncio.get_running_loop().call_soon(sys.exit, 3)
    return await _good()


async def _cancels_itself():
    asyncio.current_task().cancel()
    await asyncio.sleep(10)


async def _cancels_all():
    for task in asyncio.all_tasks():
        task.cancel()
    await asyncio.sleep(10)


async def _stops_the_loop():
    asyncio.get_running_loop().stop()


async def _forks_and_returns():
    os.fork()
    return 1.0


async def _forks_and_goes_on():
    os.fork()
    return await _good()


async def _exits_in_a_thread():
    return await in_thread(sys.exit, **{})


async def _forks_in_a_thread():
    return await in_thread(lambda: (os.fork(), 1.0)[1])


@pytest.mark.parametrize(
    ("work", "outcome"),
    [
        (lambda: _raises(asyncio.CancelledError("why")), "raised CancelledError"),
        (_cancels_itself, "AgentAbortError: the workflow was cancelled by agent code"),
        (_cancels_all, "AgentAbortError: the workflow was cancelled by agent code"),
        (_exits, "AgentAbortError: the agent called sys.exit(3)"),
        (_exits_at_once, "AgentAbortError: the agent called os._exit(3)"),
        (_exits_in_a_task, "AgentAbortError: the agent called sys.exit(3)"),
        (_exits_in_a_thread, "AgentAbortError: the agent called sys.exit()"),
        (lambda: _raises(KeyboardInterrupt()), "AgentAbortError: the agent raised Keyboard"),
        (lambda: _raises(GeneratorExit()), "AgentAbortError: the agent raised GeneratorExit"),
        (lambda: _raises(ValueError("own")), "ValueError: own"),
        (lambda: _raises(TimeoutError("own")), "TimeoutError: own"),
        (_stops_the_loop, "RuntimeError: a workflow must not stop the event loop"),
        (_exits_in_a_callback, "1.0"),
        (_forks_and_returns, "1.0"),
        (_forks_and_goes_on, "1.0"),
        (_forks_in_a_thread, "1.0"),
    ],
)
def test_a_rollout_fails_alone(work, outcome):
    async def scenario():
        return await asyncio.gather(_ends(_good()), _ends(work()), _ends(_good()))

    before, found, after = _alone(scenario)
    assert (before, after) == (1.0, 1.0)
    assert outcome in str(found)


def test_who_asked_for_a_rollout_can_cancel_it():
    async def scenario():
        ended = []

        async def work():
            try:
                await asyncio.sleep(10)
            finally:
                ended.append(True)

        waiting = asyncio.ensure_future(within(Rollout("1/0/0"), work()))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait({waiting})
        await asyncio.sleep(0)
        return waiting.cancelled(), ended

    assert _alone(scenario) == (True, [True])


def test_a_rollout_that_takes_too_long_is_given_up_even_if_it_goes_on(monkeypatch):
    monkeypatch.setattr("rlagent.trinity.guard.CANCEL_SECONDS", 0.01)

    async def scenario():
        never = asyncio.Event()

        async def ignores():
            while True:
                with contextlib.suppress(asyncio.CancelledError):
                    await never.wait()

        end = threading.Event()
        found, rollouts = [], []
        for work in (never.wait(), ignores(), in_thread(end.wait)):
            rollouts.append(Rollout("1/0/0", timeout=0.1))
            found.append(await _ends(work, rollout=rollouts[-1]))
        left = [rollout.goes_on() for rollout in rollouts]
        end.set()
        for thread in rollouts[2].elsewhere:
            thread.join()
        return found, left, rollouts[2].goes_on()

    found, left, thread = _alone(scenario)
    assert set(found) == {"TimeoutError: a rollout took longer than workflow.timeout=0.1 s"}
    assert left == [False, True, True]
    assert not thread


def test_a_rollout_is_not_charged_for_waiting_for_others():
    rollout = Rollout("1/0/0", timeout=100)
    rollout.began -= 150
    assert rollout.seconds_left() < 0
    rollout.kept_waiting = 60
    assert 0 < rollout.seconds_left() <= 10


def test_threads_that_never_end_leave_room_for_others():
    async def scenario():
        end = threading.Event()
        rollout = Rollout("1/0/0", timeout=0.05)

        async def work():
            await asyncio.gather(*(asyncio.to_thread(end.wait) for _ in range(64)))

        await _ends(work(), rollout=rollout)
        left = rollout.goes_on()
        found = await _ends(asyncio.to_thread(int, "7"))
        end.set()
        return left, found

    assert _alone(scenario) == (True, 7)


def _program(text):
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_each_rollout_has_its_own_directory_environment_and_streams(tmp_path):
    (tmp_path / "data.txt").write_text("theirs")
    home = os.getcwd()

    async def meddles(turn):
        os.chdir(tmp_path)
        os.environ["WHO"] = "meddler"
        del os.environ["PATH"]
        with tempfile.TemporaryFile("w+") as file:
            sys.stdout = file
            turn.set()
            await asyncio.sleep(0.01)
            print("mine")
            await asyncio.to_thread(print, "mine too")
            file.seek(0)
            printed = file.read()
            text = Path("data.txt").read_text()
            in_thread = await asyncio.to_thread(os.getcwd)
            seen = _program("import os; print(os.getcwd(), os.environ['WHO'])")
            return printed, text, in_thread, seen, "PATH" in os.environ, os.environ.get("WHO")

    async def others(turn):
        await turn.wait()
        print("theirs")
        sys.stdout.close()
        return os.getcwd(), "WHO" in os.environ, "PATH" in os.environ, sys.stdout.closed

    async def scenario():
        turn, rollout = asyncio.Event(), Rollout("1/0/0")
        found = await asyncio.gather(_ends(meddles(turn), rollout=rollout), _ends(others(turn)))
        from rlagent.trinity import changes

        changes.reset(rollout)
        return *found, await _ends(others(turn)), dict(rollout.environment)

    meddler, other, later, left = _alone(scenario)
    here = str(tmp_path)
    assert meddler == ("mine\nmine too\n", "theirs", here, f"{here} meddler", False, "meddler")
    assert other == later == (home, False, True, False)
    assert left == {}


def test_a_thread_captures_what_it_prints_while_others_print():
    async def scenario():
        turn = threading.Event()

        def captures():
            with contextlib.redirect_stdout(io.StringIO()) as found:
                print("a")
                turn.wait()
                print("b")
            return found.getvalue()

        async def prints():
            for _ in range(3):
                print("c")
                await asyncio.sleep(0)
            turn.set()

        with contextlib.redirect_stdout(io.StringIO()) as whole:
            found = await asyncio.gather(_ends(in_thread(captures)), _ends(prints()))
        return found[0], whole.getvalue()

    assert _alone(scenario) == ("a\nb\n", "c\nc\nc\n")


def test_a_thread_of_a_rollout_starts_where_the_process_is(tmp_path):
    home = os.getcwd()

    async def scenario():
        def moves():
            os.chdir(tmp_path)
            asyncio.set_event_loop(asyncio.new_event_loop())
            return os.getcwd()

        def loop_of_thread():
            with contextlib.suppress(RuntimeError):
                return bool(asyncio.get_event_loop())

        return [
            await _ends(in_thread(moves)),
            os.getcwd(),
            await _ends(in_thread(os.getcwd)),
            await _ends(in_thread(loop_of_thread)),
        ]

    assert _alone(scenario) == [str(tmp_path), home, home, None]


def test_a_program_started_without_an_environment_gets_none():
    async def scenario():
        async def starts():
            os.environ["WHO"] = "meddler"
            printing = [sys.executable, "-c", "import os; print('WHO' in os.environ)"]
            return [subprocess.check_output(printing, env=env).strip() for env in ({}, None)]

        return await _ends(starts())

    assert _alone(scenario) == [b"False", b"True"]


def test_programs_are_noted_where_they_are_to_end_with_their_rollout():
    async def scenario():
        rollout = Rollout("1/0/0")
        rollout.programs = []

        async def starts():
            # Nothing in its environment says whose it is.
            return subprocess.Popen(["/bin/sleep", "600"], env={}).pid

        started = await _ends(starts(), rollout=rollout)
        noted = [one.pid for one in rollout.programs]
        return noted == [started], end_programs(rollout.programs, []) == [started]

    assert _alone(scenario) == (True, True)


def test_programs_of_the_os_module_are_noted_too_and_know_their_rollouts_environment(tmp_path):
    async def scenario():
        rollout = Rollout("1/0/0")
        rollout.programs = []

        async def starts():
            os.environ["WHO"] = "meddler"
            status = os.system(f"sleep 600 & echo $! $WHO > {tmp_path}/said; exit 3")
            killed = os.system("kill -9 $$")
            sleep = "/bin/sleep", ["sleep", "600"], {}
            spawned = [os.posix_spawn(*sleep), os.posix_spawnp(*sleep)]
            return spawned, os.waitstatus_to_exitcode(status), os.waitstatus_to_exitcode(killed)

        spawned, *codes = await _ends(starts(), rollout=rollout)
        pid, who = (tmp_path / "said").read_text().split()
        ended = end_programs(rollout.programs, ["WHO=meddler"])
        return codes, who, set(ended) == {*spawned, int(pid)}

    assert _alone(scenario) == ([3, -9], "meddler", True)


def test_what_is_imported_changes_the_environment_for_all(tmp_path, monkeypatch):
    (tmp_path / "sets_a_variable.py").write_text("import os\nos.environ['IMPORTED'] = 'yes'\n")
    monkeypatch.syspath_prepend(str(tmp_path))

    async def scenario():
        async def imports():
            import sets_a_variable

            return sets_a_variable.__name__

        return await _ends(imports()), os.environ.get("IMPORTED")

    assert _alone(scenario) == ("sets_a_variable", "yes")


def test_a_rollout_silences_no_log():
    async def scenario():
        from rlagent.trinity import changes

        before = logging.getLogger().handlers, logging.getLogger().level

        async def silences():
            logging.disable(logging.CRITICAL)
            logging.basicConfig(level=logging.ERROR, force=True)
            return logging.getLogger().level

        found = await _ends(silences())
        changes.keep_logging()
        root = logging.getLogger()
        return found, (root.handlers, root.level) == before, root.manager.disable

    assert _alone(scenario) == (logging.ERROR, True, 0)


def test_exceptions_stay_what_they_are():
    error = ValueError("x")
    assert as_exception(error) is error
    assert isinstance(as_exception(SystemExit()), AgentAbortError)
