"""Environments: used again, alone in what they do wrong, and gone when their rollout is."""

import asyncio
import contextlib
import os
import re
import select
import subprocess

import pytest

from rlagent.base.in_rollout import Held, RolloutEndedError, at_end
from rlagent.environments import (
    EnvironmentDiedError,
    EnvironmentGarbageError,
    EnvironmentRaisedError,
    EnvironmentTimeoutError,
    Step,
    opened,
    process,
    session,
)
from rlagent.environments.process import InProcess, close_idle
from rlagent.environments.protocol import NoStepError, as_step
from rlagent.trinity.guard import Rollout, within
from tests.faulty_environments import Counter, SlowToClose, Waiting, broken, lines


def _ran(scenario):
    async def whole():
        try:
            return await scenario
        finally:
            await close_idle()

    return asyncio.run(whole())


def _wait_until_gone(pid: int) -> None:
    """Return when a process has ended, which SIGKILL brings about in its own time."""
    with contextlib.suppress(ProcessLookupError):
        descriptor = os.pidfd_open(pid)
        ready, _, _ = select.select([descriptor], [], [], 60)
        os.close(descriptor)
        assert ready, f"process {pid} goes on"


async def _walked(make, where, **args):
    async with opened(make, where=where, args=args) as world:
        first = await world.reset(seed=1)
        steps = [await world.step("on"), await world.step("on")]
        return first, steps, world.reward, world.done, world.steps


@pytest.mark.parametrize(
    ("make", "where"),
    [(Counter, "process"), (Counter, "thread"), (Waiting, "thread"), (Waiting, "loop")],
)
def test_an_environment_is_acted_in_wherever_it_runs(tmp_path, make, where):
    log = tmp_path / "log"
    first, steps, reward, done, number = _ran(_walked(make, where, log=str(log)))
    assert first == Step(1)
    assert steps == [Step("at 2", 0.5), Step("at 3", 0.5, True)]
    assert (reward, done, number) == (1.0, True, 2)
    assert lines(log)[-1] == "closed"


def test_a_process_starts_once_for_the_rollouts_that_follow_each_other(tmp_path):
    log = tmp_path / "log"

    async def twice():
        for _ in range(2):
            async with opened(Waiting, args={"log": str(log)}) as world:
                # What the first one left is gone.
                assert (await world.reset()).observation == 0
                assert (await world.step("on")).observation == "at 1"
        assert len(lines(log)) == 1

    _ran(twice())
    assert lines(log)[1:] == ["closed"]


def test_an_environment_for_each_task_leaves_no_process_for_each(tmp_path, monkeypatch):
    monkeypatch.setattr(process, "MOST_IDLE", 1)
    log = tmp_path / "log"

    async def three():
        for goal in (4, 5, 5):
            async with opened(Counter, args={"log": str(log), "goal": goal}) as world:
                await world.reset()
        assert [re.sub(r"\d", "", line) for line in lines(log)] == ["made ", "made ", "closed"]

    _ran(three())


def test_a_slow_close_behind_an_episode_fails_no_rollout(monkeypatch):
    monkeypatch.setattr(session, "CLOSE_SECONDS", 0.0)

    async def walked():
        async with opened(SlowToClose, where="thread", call_timeout=60) as world:
            return await world.reset()

    assert _ran(walked()) == Step(0)


def test_rollouts_side_by_side_have_an_environment_each(tmp_path):
    log = tmp_path / "log"

    async def one(seed):
        async with opened(Counter, args={"log": str(log), "goal": 9}) as world:
            await world.reset(seed=seed)
            await asyncio.sleep(0)
            return (await world.step("on")).observation

    async def both():
        return await asyncio.gather(one(1), one(5))

    assert _ran(both()) == ["at 2", "at 6"]
    assert len({line for line in lines(log) if line.startswith("made")}) == 2


@pytest.mark.parametrize(
    ("action", "error", "words"),
    [
        ("dies", EnvironmentDiedError, r"Counter died in step\(\): exit status 3"),
        ("raises", EnvironmentRaisedError, r"Counter.step\(\) raised RuntimeError: no such door"),
        ("hangs", EnvironmentTimeoutError, r"Counter.step\(\) took longer than 0.2 s"),
        ("none", EnvironmentGarbageError, r"Counter.step\(\) returned NoneType None; a Step is"),
        ("bytes", EnvironmentGarbageError, r"Counter.step\(\) returned what is no JSON: bytes"),
        ("megabyte", EnvironmentGarbageError, r"returned 1,000,0\d\d characters; 100,000 at most"),
        ("nan", EnvironmentGarbageError, r"returned the reward nan; it must be finite"),
    ],
)
def test_what_goes_wrong_is_named_and_its_process_is_used_no_more(tmp_path, action, error, words):
    log = tmp_path / "log"

    async def wrong():
        async with opened(Counter, args={"log": str(log)}, call_timeout=60) as world:
            await world.reset()
            world.seconds = 0.2 if action == "hangs" else 60
            with pytest.raises(error, match=words):
                await world.step(action)
        async with opened(Counter, args={"log": str(log)}) as world:
            assert (await world.reset()).observation == 0

    _ran(wrong())
    first, second = (int(line.split()[1]) for line in lines(log) if line.startswith("made"))
    assert first != second
    _wait_until_gone(first)


@pytest.mark.parametrize("where", ["process", "thread", "loop"])
def test_one_that_cannot_be_made_is_named(where):
    async def wrong():
        async with opened(broken, where=where):
            pass

    with pytest.raises(
        EnvironmentRaisedError, match=r"broken.ma[dk]e\S* raised OSError: the world"
    ):
        _ran(wrong())


@pytest.mark.parametrize("how", ["cancelled", "too long"])
def test_a_rollout_that_is_given_up_leaves_no_process(tmp_path, how):
    log = tmp_path / "log"

    async def agent(acts):
        async with opened(Counter, args={"log": str(log)}) as world:
            await world.reset()
            await world.step("forks")
            acts.set()
            if how == "too long":
                await within(Rollout("1/0/0", timeout=0.1), world.step("hangs"))
            await world.step("hangs")

    async def rollout(acts):
        with Held():
            await within(Rollout("1/0/0"), agent(acts))

    async def given_up():
        acts = asyncio.Event()
        task = asyncio.ensure_future(rollout(acts))
        await acts.wait()
        if how == "cancelled":
            task.cancel()
        await task

    with pytest.raises(asyncio.CancelledError if how == "cancelled" else TimeoutError):
        _ran(given_up())
    started = [int(re.sub(r"\D", "", line)) for line in lines(log)]
    assert len(started) == 2, "the environment and the process that it had started"
    for pid in started:
        _wait_until_gone(pid)


def test_what_an_abandoned_thread_starts_after_its_rollout_is_ended_at_once():
    ended = []
    with Held() as held:
        at_end(lambda: ended.append("first"))
        forget = at_end(lambda: ended.append("never"))
        forget()
    assert ended == ["first"]
    with pytest.raises(RolloutEndedError):
        held.add(lambda: ended.append("late"))
    assert ended == ["first", "late"]


def test_what_is_started_while_its_rollout_ends_is_ended_once(monkeypatch):
    ended, held = [], []

    def while_it_ends():
        held[0].__exit__()
        yield 1

    monkeypatch.setattr("rlagent.base.in_rollout.itertools.count", while_it_ends)
    held.append(Held().__enter__())
    with pytest.raises(RolloutEndedError):
        held[0].add(lambda: ended.append("late"))
    assert ended == ["late"]


def test_a_process_that_does_not_end_holds_up_no_other():
    class Stuck:
        """As one whose disk does not answer: not even SIGKILL ends it."""

        pid = 0

        def wait(self, timeout=None):
            assert timeout is not None, "it would wait forever"
            raise subprocess.TimeoutExpired("environment", timeout)

    one = InProcess("kind", "name")
    one.kill()
    one._child = Stuck()
    one._reap()
    assert one._link.fileno() == -1


def test_what_raises_at_the_end_of_a_rollout_keeps_nothing_else_running():
    ended = []

    def broken():
        raise OSError("it is gone")

    def rollout():
        with Held():
            at_end(lambda: ended.append("first"))
            at_end(broken)
            at_end(lambda: ended.append("last"))

    with pytest.raises(OSError, match="it is gone"):
        rollout()
    assert sorted(ended) == ["first", "last"]


def test_what_happened_is_kept_behind_the_calls_of_the_model(tmp_path):
    calls = []

    async def agent():
        async with opened(Counter, where="thread") as world:
            await world.reset()
            calls.append("left")
            await world.step("on")

    with Held(lambda: len(calls)) as held:
        _ran(agent())
    assert held.events == [
        {"after": 0, "environment": "Counter", "observation": 0, "reward": 0.0, "done": False},
        {
            "after": 1,
            "environment": "Counter",
            "action": "on",
            "observation": "at 1",
            "reward": 0.5,
            "done": False,
        },
    ]


def test_a_class_of_a_function_is_refused_for_a_process_with_what_to_do():
    class Inner(Counter):
        pass

    async def wrong():
        async with opened(Inner):
            pass

    with pytest.raises(ValueError, match="define it in a module, or open it with where='thread'"):
        _ran(wrong())


def test_a_step_may_be_a_tuple_and_hold_numpy():
    import numpy as np

    step = as_step((np.arange(3), np.float32(0.5), np.bool_(True), {"n": np.int64(2)}))
    assert step == Step([0, 1, 2], 0.5, True, {"n": 2})
    with pytest.raises(NoStepError, match="returned tuple"):
        as_step((1, 2))
