"""The queue between explorer and trainer: whole steps, or batches of a fixed size.

Trinity's reader asks for a fixed number of experiences, but an agent that calls its model a
varying number of times makes a varying number of them. Here the queue passes on what one step
produced, as one batch: the trainer gets every experience exactly once. Where a fixed batch is
asked for, Trinity's queue and reader are used, which here wait for nothing that cannot come.
"""

import asyncio
import contextlib
import time
from collections import deque
from typing import Any

from trinity.algorithm.sample_strategy.sample_strategy import SampleStrategy
from trinity.algorithm.sample_strategy.utils import representative_sample
from trinity.buffer.reader.queue_reader import QueueReader
from trinity.buffer.storage.queue import QueueStorage
from trinity.common.config import BufferConfig, Config, StorageConfig
from trinity.common.experience import Experience
from trinity.utils.timer import Timer

from rlagent.base import alive
from rlagent.base.process import end_on_sigterm
from rlagent.trinity.translate import WHOLE_STEPS
from rlagent.upstream import trinity as trinity_patches
from rlagent.upstream import trinity_hooks

trinity_patches.fast_payloads.apply()

LATEST_LOOK = 1.0
"""Seconds after which a read looks again: a replay buffer gives back on its own what was used."""


class NothingToTrainOn(Exception):  # noqa: N818 - not an error: the step leaves the weights
    """The batch of this step is empty, and no more can come before it is trained."""


class EndingQueue(QueueStorage):
    """Trinity's queue, which also knows what can no longer come.

    The explorer waits for weights, which only further training steps bring, and it ends; the
    trainer must not wait for experiences meanwhile.
    """

    def __init__(self, config: StorageConfig) -> None:
        trinity_hooks.queue_of_steps.apply()
        # Those who wait for it get to know.
        end_on_sigterm()
        super().__init__(config)
        self._changed = asyncio.Event()
        # The training step whose batch was read last.
        self._step = 0
        # Steps up to this one take what there is.
        self._due = 0
        self._ended = False

    async def begin(self, step: int) -> None:
        """Note the step that the trainer continues from."""
        self._step = step

    async def expect(self, step: int) -> None:
        """Note that nothing more comes before this training step is done."""
        self._due = max(self._due, step)
        self._changed.set()

    async def end(self, step: int) -> None:
        """Note that nothing more comes at all; training still goes up to this step."""
        self._ended = True
        await self.queue.close()
        await self.expect(step)

    async def _change(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._changed.wait(), seconds)
        self._changed.clear()


class WholeStepQueue(EndingQueue):
    """Trinity's queue, which can also be read one explore step at a time.

    The queue keeps no copy of the experiences on disk; conversations are in the run folder.
    """

    def __init__(self, config: StorageConfig) -> None:
        alive.start("queue", "handing experiences on")
        super().__init__(config)
        self.writer = None
        self._steps: deque[bytes] = deque()

    async def put_batch(self, exp_bytes: bytes) -> None:
        """Take what one explore step produced; nothing is a step too."""
        # As it came: nothing here looks inside.
        self._steps.append(exp_bytes or Experience.serialize_many([]))
        self._changed.set()

    async def get_step(self) -> bytes | None:
        """The experiences of the oldest step not read yet; waits for one. None: all are read."""
        while not self._steps and not self._ended:
            await self._change(LATEST_LOOK)
        return self._steps.popleft() if self._steps else None

    def length(self) -> int:
        """Steps waiting to be trained on."""
        return len(self._steps)


class FixedBatchQueue(EndingQueue):
    """Trinity's queue, whose batches are short where a full one cannot come."""

    async def put_batch(self, exp_bytes: bytes) -> None:
        """Take what one explore step produced."""
        await super().put_batch(exp_bytes)
        self._changed.set()

    async def get_batch(
        self, batch_size: int, timeout: float, min_model_version: int = 0
    ) -> bytes | None:
        """The next batch, in the order in which experiences came; see `train_batch_size`.

        Args:
            batch_size: Experiences wanted.
            timeout: Seconds to wait for them at most.
            min_model_version: Experiences of older weights are left out.

        Returns:
            The batch: full, unless the explorer waits for this step or has ended; then it may be
            empty too. None: nothing is left, and none of the asked steps either.

        Raises:
            TimeoutError: The batch is not full after `timeout` seconds.
        """
        deadline = time.monotonic() + timeout
        batch: list[Experience] = []
        while True:
            while len(batch) < batch_size and (experience := await self._next()) is not None:
                if (experience.info or {}).get("model_version", 0) >= min_model_version:
                    batch.append(experience)
            is_due = self._step < self._due
            if len(batch) == batch_size or is_due or (self._ended and batch):
                self._step += 1
                return Experience.serialize_many(batch)
            if self._ended:
                return None
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError(
                    f"only {len(batch)} of the {batch_size} experiences of training step "
                    f"{self._step + 1} came within max_read_timeout={timeout:g} s"
                )
            await self._change(min(left, LATEST_LOOK))

    async def _next(self) -> Experience | None:
        """The oldest experience; None when none is there."""
        while not self.exp_pool and self.queue.qsize():
            self.exp_pool.extend(await self.queue.get())
        return self.exp_pool.popleft() if self.exp_pool else None


class BatchReader(QueueReader):
    """Trinity's reader, which takes short batches too and knows the end."""

    async def read(self, batch_size: int | None = None, **kwargs: Any) -> list[Experience]:
        """The batch of the next training step.

        Raises:
            NothingToTrainOn: It is empty.
            StopAsyncIteration: There are no more.
        """
        size = self.read_batch_size if batch_size is None else batch_size
        found = await self.queue.get_batch.remote(size, timeout=self.timeout, **kwargs)
        if found is None:
            raise StopAsyncIteration
        experiences = Experience.deserialize_many(found)
        if not experiences:
            raise NothingToTrainOn
        return experiences


def create_queue(config: Config) -> Any:
    """Make the queue actor under the name by which Trinity's reader and writer find it.

    Returns:
        Its handle; None where experiences do not go through a queue.
    """
    import ray

    storage = _storage(config)
    if storage is None:
        return None
    whole = config.algorithm.sample_strategy == WHOLE_STEPS
    return (
        ray.remote(WholeStepQueue if whole else FixedBatchQueue)
        .options(
            name=f"queue-{storage.name}",
            namespace=config.ray_namespace,
            get_if_exists=True,
            num_cpus=0,
        )
        .remote(storage)
    )


def find_queue(config: Config) -> Any:
    """The handle of the actor that `create_queue` made; None where it made none."""
    import ray

    storage = _storage(config)
    if storage is None:
        return None
    return ray.get_actor(f"queue-{storage.name}", namespace=config.ray_namespace)


def _storage(config: Config) -> StorageConfig | None:
    buffer = config.buffer.trainer_input.experience_buffer
    if buffer is None or buffer.storage_type != "queue":
        return None
    return buffer.to_storage_config()


class WholeStepSampling(SampleStrategy):
    """Reads one explore step per training step."""

    def __init__(self, buffer_config: BufferConfig, **kwargs: Any) -> None:
        super().__init__(buffer_config)
        storage = buffer_config.trainer_input.experience_buffer.to_storage_config()
        self.queue = QueueStorage.get_wrapper(storage)

    async def sample(self, step: int, **kwargs: Any) -> tuple[list[Experience], dict, list]:
        """Wait for the next step's experiences.

        Returns:
            The experiences, metrics (`sample/...`, `time/read_experience` in s), and the best
            and worst sample for Trinity's preview.

        Raises:
            StopAsyncIteration: Exploring has ended, and all of its steps are read.
        """
        metrics: dict[str, float] = {}
        with Timer(metrics, "time/read_experience"):
            found = await self.queue.get_step.remote()
        if found is None:
            raise StopAsyncIteration
        experiences = Experience.deserialize_many(found)
        if not experiences:
            return [], metrics, []
        self.set_model_version_metric(experiences, metrics)
        versions = [exp.info["model_version"] for exp in experiences if "model_version" in exp.info]
        if versions:
            metrics["sample/lag"] = (step - 1) - sum(versions) / len(versions)
        return experiences, metrics, representative_sample(experiences)

    @classmethod
    def default_args(cls) -> dict:
        """It has no settings."""
        return {}

    def state_dict(self) -> dict:
        """Nothing to keep: a resumed run explores its step again."""
        return {}

    def load_state_dict(self, state_dict: dict) -> None:
        """Nothing to restore."""
