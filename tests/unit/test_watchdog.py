"""Who keeps a shared event loop from going on, seen from outside of it."""

import asyncio
import faulthandler
import threading
from types import SimpleNamespace

import pytest

from rlagent.trinity import guard, watchdog
from rlagent.trinity.guard import Rollout, within
from tests.unit.test_guard import _alone


def _watched(work):
    """What `work(dog, pass_time)` returns in a process of its own.

    Time goes on there only when `pass_time(seconds)` is called.
    """

    async def scenario():
        clock = SimpleNamespace(now=0.0)
        guard.time = watchdog.time = SimpleNamespace(monotonic=lambda: clock.now)

        def pass_time(seconds):
            clock.now += seconds

        dog = watchdog.Watchdog(asyncio.get_running_loop(), None)
        return await work(dog, pass_time)

    return _alone(scenario)


def _blocks_until_found(dog, pass_time):
    for _ in range(1000):
        report = dog.look()
        if report.fate:
            return report.fate
        pass_time(watchdog.TICK)
    return None


def test_a_rollout_that_blocks_the_loop_beyond_its_time_is_found_with_the_place():
    async def work(dog, pass_time):
        async def blocks():
            return _blocks_until_found(dog, pass_time)

        rollouts = Rollout("1/0/0", 30), Rollout("1/0/1", 3)
        found = await asyncio.gather(
            within(rollouts[0], asyncio.sleep(0)), within(rollouts[1], blocks())
        )
        return found[1]

    fate = _watched(work)
    assert (fate.key, fate.certain) == ("1/0/1", True)
    assert "for 5 s" in fate.cause
    assert "test_watchdog.py" in fate.cause
    assert fate.cause.endswith("in _blocks_until_found: report = dog.look()")


def test_code_of_no_rollout_that_blocks_the_loop_is_found_when_all_have_waited_long():
    async def work(dog, pass_time):
        found = []
        asyncio.get_running_loop().call_soon(
            lambda: found.append(_blocks_until_found(dog, pass_time))
        )
        await within(Rollout("1/0/1", 3), asyncio.sleep(0))
        return found[0]

    fate = _watched(work)
    assert (fate.key, fate.certain) == (None, False)


def test_a_rollout_may_block_the_loop_within_its_time_and_others_are_not_charged():
    async def work(dog, pass_time):
        rollouts, reports = [Rollout("1/0/0", 3), Rollout("1/0/1", 30)], []

        async def blocks():
            for _ in range(40):
                reports.append(dog.look())
                pass_time(watchdog.TICK)

        await asyncio.gather(within(rollouts[0], asyncio.sleep(0)), within(rollouts[1], blocks()))
        return [rollout.seconds_left() for rollout in rollouts], reports

    (waited, own), reports = _watched(work)
    assert not any(report.fate for report in reports)
    slow = {report.slow for report in reports} - {""}
    assert [each.endswith("in blocks: reports.append(dog.look())") for each in slow] == [True]
    # Blocked for 10 s; all but those before the first look are not charged to the other.
    assert waited == pytest.approx(3, abs=1)
    assert own == pytest.approx(20, abs=1)


def test_a_process_that_goes_on_lives_though_nobody_asks_how_it_is(tmp_path, monkeypatch):
    monkeypatch.setattr(watchdog, "TICK", 0.01)
    monkeypatch.setattr(watchdog, "ARM", 0.0)

    async def scenario():
        times, again = [], threading.Event()

        def arm(seconds, **options):
            times.append(seconds)
            if len(times) > 3:
                again.set()

        monkeypatch.setattr(faulthandler, "dump_traceback_later", arm)
        watchdog.Watchdog(asyncio.get_running_loop(), tmp_path / "runner-0").start()
        return await within(Rollout("1/0/0", 60), asyncio.to_thread(again.wait, 30))

    given_time_again = _alone(scenario)
    assert given_time_again


def test_a_watchdog_that_fails_says_so_to_whoever_asks(monkeypatch):
    async def scenario():
        def look():
            raise RuntimeError("cannot look")

        dog = watchdog.Watchdog(asyncio.get_running_loop(), None)
        monkeypatch.setattr(dog, "look", look)
        try:
            return await dog.start().watch(30)
        except RuntimeError as error:
            return str(error)

    assert _alone(scenario) == "cannot look"


@pytest.mark.parametrize(
    ("stacks", "cause"),
    [
        ("", "the process that ran it died (killed, crashed or out of memory)"),
        (
            'Fatal Python error: Segmentation fault\n\nCurrent thread 0x1:\n  File "/lib/python3'
            '.11/site-packages/x.py", line 1 in f\n  File "/home/a/tool.py", line 7 in tool\n',
            "it crashed the process that ran it (Segmentation fault), at "
            'File "/home/a/tool.py", line 7 in tool',
        ),
    ],
)
def test_a_dead_process_says_what_its_files_say(tmp_path, stacks, cause):
    files = tmp_path / "runner-0"
    assert watchdog.read_fate(files).key is None
    (tmp_path / "runner-0.stacks").write_text(stacks)
    (tmp_path / "runner-0.last").write_bytes(Rollout("3/1/0").key_bytes)
    fate = watchdog.read_fate(files)
    assert (fate.key, fate.cause, fate.certain) == ("3/1/0", cause, False)
