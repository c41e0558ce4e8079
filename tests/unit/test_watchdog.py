"""Who keeps a shared event loop from going on, seen from another thread."""

import asyncio
import threading
import time

import pytest

from rlagent.trinity import watchdog
from rlagent.trinity.guard import Rollout, within
from rlagent.trinity.shared_loop import protect
from tests.unit.test_guard import _alone


def _watched(work, monkeypatch, grace=0.1):
    """What a thread sees until it has found somebody, or the work has ended."""
    monkeypatch.setattr(watchdog, "GRACE", grace)
    monkeypatch.setattr(watchdog, "NOTICED", grace)

    async def scenario():
        loop = asyncio.get_running_loop()
        protect(loop)
        dog = watchdog.Watchdog(loop, None)
        found, done, end, long = [], threading.Event(), threading.Event(), threading.Event()

        def look():
            while not done.wait(0.01):
                report = dog.look()
                if report.slow and not found:
                    found.append(report)
                if sum(dog._held.values()) > 0.6:
                    long.set()
                if report.fate:
                    found.append(report)
                    end.set()

        thread = threading.Thread(target=look)
        thread.start()
        result = await work(end, long)
        done.set()
        thread.join()
        return found, result

    return _alone(scenario)


def test_a_rollout_that_blocks_the_loop_beyond_its_time_is_found_with_the_place(monkeypatch):
    async def work(end, long):
        async def blocks():
            end.wait(30)
            return "went on"

        await asyncio.gather(
            within(Rollout("1/0/0", 30), asyncio.sleep(0)), within(Rollout("1/0/1", 0.05), blocks())
        )

    found, _ = _watched(work, monkeypatch)
    assert (found[-1].fate.key, found[-1].fate.certain) == ("1/0/1", True)
    assert "test_watchdog.py" in found[-1].fate.cause
    assert found[-1].fate.cause.endswith("in blocks: end.wait(30)")


def test_code_of_nobody_that_blocks_the_loop_is_found_when_all_have_waited_long(monkeypatch):
    async def work(end, long):
        asyncio.get_running_loop().call_soon(end.wait, 30)
        await within(Rollout("1/0/1", 0.3), asyncio.sleep(0))

    found, _ = _watched(work, monkeypatch)
    assert (found[-1].fate.key, found[-1].fate.certain) == (None, False)


def test_a_rollout_may_block_the_loop_within_its_time_and_others_are_not_charged(monkeypatch):
    rollouts = [Rollout("1/0/0", 0.3), Rollout("1/0/1", 30)]

    async def work(end, long):
        async def blocks():
            long.wait(30)

        for rollout in rollouts:
            rollout.began = time.monotonic()
        await asyncio.gather(within(rollouts[0], asyncio.sleep(0.1)), within(rollouts[1], blocks()))
        return [rollout.kept_waiting for rollout in rollouts]

    found, (waited, own) = _watched(work, monkeypatch)
    assert not any(report.fate for report in found)
    assert [report.slow.endswith("in blocks: long.wait(30)") for report in found] == [True]
    # Longer than its own time.
    assert waited > rollouts[0].timeout
    assert own < waited / 2


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
