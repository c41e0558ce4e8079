"""Whole steps: the trainer gets every experience of an explore step exactly once, however many.

Trinity's reader asks for a fixed number of experiences, but an agent that calls its model a
varying number of times makes a varying number of them. Here the queue hands on what one step
produced, as one batch. Where a fixed batch is asked for, Trinity's own reader is used instead.
"""

import asyncio
from typing import Any

from trinity.algorithm.sample_strategy.sample_strategy import SampleStrategy
from trinity.algorithm.sample_strategy.utils import representative_sample
from trinity.buffer.storage.queue import QueueStorage
from trinity.common.config import BufferConfig, Config, StorageConfig
from trinity.common.experience import Experience
from trinity.utils.timer import Timer

from rlagent.trinity import payloads

payloads.install()


class WholeStepQueue(QueueStorage):
    """Trinity's queue, which can also be read one explore step at a time.

    The queue keeps no copy of the experiences on disk; conversations are in trajectories.jsonl.
    """

    def __init__(self, config: StorageConfig) -> None:
        super().__init__(config)
        self.writer = None
        self._steps: asyncio.Queue[bytes] = asyncio.Queue()

    async def put_batch(self, exp_bytes: bytes) -> None:
        """Take what one explore step produced; nothing is a step too."""
        # As it came: nothing here looks inside.
        self._steps.put_nowait(exp_bytes or Experience.serialize_many([]))

    async def get_step(self) -> bytes:
        """The experiences of the oldest step not read yet; waits for one."""
        return await self._steps.get()

    def length(self) -> int:
        """Steps waiting to be trained on."""
        return self._steps.qsize()


def create_queue(config: Config) -> Any:
    """Make the queue actor under the name by which Trinity's reader and writer find it."""
    import ray

    storage = config.buffer.trainer_input.experience_buffer.to_storage_config()
    return (
        ray.remote(WholeStepQueue)
        .options(
            name=f"queue-{storage.name}",
            namespace=config.ray_namespace,
            get_if_exists=True,
            num_cpus=0,
        )
        .remote(storage)
    )


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
        """
        metrics: dict[str, float] = {}
        with Timer(metrics, "time/read_experience"):
            experiences = Experience.deserialize_many(await self.queue.get_step.remote())
        metrics["sample/experiences"] = float(len(experiences))
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
