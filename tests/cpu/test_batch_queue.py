"""Batches of a fixed number: full ones in the order of coming, and nothing waits for what cannot
come."""

import asyncio

import pytest
import torch
from trinity.common.config import ReplayBufferConfig, StorageConfig
from trinity.common.experience import Experience

from rlagent.trinity.buffer import FixedBatchQueue, WholeStepQueue

WAIT = 60.0
"""Seconds within which whatever can come has come."""


def experiences(*numbers: int, version: int = 0) -> bytes:
    """What an explore step made: experiences told apart by their rewards."""
    return Experience.serialize_many(
        [
            Experience(
                tokens=torch.arange(3),
                prompt_length=1,
                reward=float(number),
                info={"model_version": version, "use_count": 0},
            )
            for number in numbers
        ]
    )


@pytest.fixture
def make(tmp_path):
    """Makes a queue, as its actor does."""

    def queue(kind: type = FixedBatchQueue, **options):
        return kind(StorageConfig(name="queue", path=str(tmp_path / "copy.jsonl"), **options))

    return queue


def numbers(batch: bytes | None) -> list[int] | None:
    if batch is None:
        return None
    return [int(each.reward) for each in Experience.deserialize_many(batch)]


async def batch(queue, size: int = 4, **options) -> list[int] | None:
    return numbers(await asyncio.wait_for(queue.get_batch(size, WAIT, **options), WAIT))


async def is_waiting(reading: asyncio.Future) -> bool:
    """Whether a read still waits once it has seen all there is."""
    for _ in range(20):
        await asyncio.sleep(0)
    return not reading.done()


def test_full_batches_come_in_order_and_leave_the_rest(make):
    async def run():
        queue = make()
        await queue.put_batch(experiences(1, 2, 3, 4, 5, 6))
        assert await batch(queue) == [1, 2, 3, 4]
        reading = asyncio.ensure_future(batch(queue))
        assert await is_waiting(reading)
        await queue.put_batch(experiences(7, 8, 9))
        assert await reading == [5, 6, 7, 8]

    asyncio.run(run())


def test_a_batch_is_short_when_the_explorer_waits_for_its_step(make):
    async def run():
        queue = make()
        await queue.put_batch(experiences(1, 2, 3))
        reading = asyncio.ensure_future(batch(queue))
        assert await is_waiting(reading)
        # One of four failed, and exploring goes on only with the weights of step 1.
        await queue.expect(1)
        assert await reading == [1, 2, 3]
        # The next step is not waited for yet: it gets a full batch.
        await queue.put_batch(experiences(4, 5))
        reading = asyncio.ensure_future(batch(queue))
        assert await is_waiting(reading)
        await queue.put_batch(experiences(6, 7))
        assert await reading == [4, 5, 6, 7]

    asyncio.run(run())


def test_what_was_filtered_away_makes_an_empty_batch_and_no_wait(make):
    async def run():
        queue = make()
        await queue.put_batch(experiences())
        await queue.expect(1)
        assert await batch(queue) == []
        # With a sync every two steps, the second one may be the empty one.
        await queue.put_batch(experiences(1, 2, 3, 4))
        await queue.expect(3)
        assert [await batch(queue), await batch(queue)] == [[1, 2, 3, 4], []]

    asyncio.run(run())


def test_full_batches_come_first_where_exploring_runs_ahead(make):
    async def run():
        queue = make()
        for step in (0, 1):
            await queue.put_batch(experiences(10 * step, 10 * step + 1, 10 * step + 2))
        await queue.expect(1)
        assert await batch(queue) == [0, 1, 2, 10]
        reading = asyncio.ensure_future(batch(queue))
        assert await is_waiting(reading)
        await queue.expect(2)
        assert await reading == [11, 12]

    asyncio.run(run())


def test_a_resumed_trainer_counts_from_its_step(make):
    async def run():
        queue = make()
        await queue.begin(7)
        await queue.put_batch(experiences(1))
        reading = asyncio.ensure_future(batch(queue))
        await queue.expect(7)
        assert await is_waiting(reading)
        await queue.expect(8)
        assert await reading == [1]

    asyncio.run(run())


def test_what_is_left_when_exploring_has_ended_is_the_last_batch(make):
    async def run():
        queue = make()
        await queue.put_batch(experiences(1, 2, 3, 4, 5))
        await queue.end(0)
        assert [await batch(queue) for _ in range(3)] == [[1, 2, 3, 4], [5], None]

    asyncio.run(run())


def test_all_asked_steps_are_trained_when_all_are_explored(make):
    async def run():
        queue = make()
        reading = asyncio.ensure_future(batch(queue))
        assert await is_waiting(reading)
        await queue.put_batch(experiences(1, 2))
        await queue.end(3)
        assert [await reading, await batch(queue), await batch(queue)] == [[1, 2], [], []]
        assert await batch(queue) is None

    asyncio.run(run())


def test_experiences_of_too_old_weights_are_left_out_and_not_waited_for(make):
    async def run():
        queue = make()
        await queue.put_batch(experiences(1, 2, version=0))
        await queue.put_batch(experiences(3, 4, version=2))
        await queue.expect(1)
        assert await batch(queue, min_model_version=1) == [3, 4]

    asyncio.run(run())


def test_a_batch_that_does_not_come_in_time_says_how_many_are_there(make):
    async def run():
        queue = make()
        await queue.put_batch(experiences(1, 2))
        with pytest.raises(TimeoutError, match=r"only 2 of the 4 .*max_read_timeout=0 s"):
            await queue.get_batch(4, 0.0)

    asyncio.run(run())


def test_a_replay_buffer_ends_too(make):
    async def run():
        replay = ReplayBufferConfig(enable=True, reuse_cooldown_time=3600.0)
        queue = make(replay_buffer=replay)
        await queue.put_batch(experiences(1, 2, 3, 4, 5, 6))
        # It hands out what one step made at a time, and gives it back an hour later.
        assert await batch(queue) == [1, 2, 3, 4]
        await queue.end(2)
        assert [await batch(queue), await batch(queue)] == [[5, 6], None]

    asyncio.run(run())


def test_whole_steps_end_too(make):
    async def run():
        queue = make(WholeStepQueue)
        reading = asyncio.ensure_future(queue.get_step())
        assert await is_waiting(reading)
        await queue.put_batch(experiences(1, 2, 3))
        await queue.put_batch(b"")
        assert numbers(await reading) == [1, 2, 3]
        await queue.end(0)
        assert queue.length() == 1
        assert [numbers(await queue.get_step()) for _ in range(2)] == [[], None]

    asyncio.run(run())
