"""The trainer actor: Trinity's Trainer with a loop that fails loudly and can be asked to stop."""

import asyncio
import time
from typing import Any

from rlagent.backends.registry import load, trainer_named
from rlagent.base import alive
from rlagent.upstream import trinity as trinity_patches
from rlagent.upstream import trinity_hooks, trinity_imports

trinity_imports.without_vllm.apply()
trinity_imports.without_services.apply()

from trinity.algorithm.sample_strategy.sample_strategy import SampleStrategy  # noqa: E402
from trinity.common.config import Config  # noqa: E402
from trinity.common.constants import SyncStyle  # noqa: E402
from trinity.common.experience import Experience  # noqa: E402
from trinity.trainer import trainer as trinity_trainer  # noqa: E402

from rlagent.base.startup import Marks  # noqa: E402
from rlagent.records.checkpoints import prune  # noqa: E402
from rlagent.records.folder import RunFolder  # noqa: E402
from rlagent.trinity.buffer import BatchReader, NothingToTrainOn, find_queue  # noqa: E402
from rlagent.trinity.given_steps import GivenConversations  # noqa: E402
from rlagent.trinity.lag import closes_with_a_sync  # noqa: E402
from rlagent.trinity.monitor import RunFolderMonitor  # noqa: E402
from rlagent.trinity.translate import CUT_RESPONSE  # noqa: E402

LOSS = "eval/loss"


class AgentTrainer(trinity_trainer.Trainer):
    """Trains until the asked step.

    Trinity's own loop logs an error and goes on as if it had finished, and looks for new samples
    once a second. This one raises, takes a sample when it comes, and ends after the current step
    when `request_stop` was called.
    """

    sample_strategy: SampleStrategy

    def __init__(self, config: Config) -> None:
        trinity_hooks.trainer_loop.apply()
        self._marks = Marks()
        self._marks.mark("trainer_process")
        trinity_patches.monitor.apply(config.monitor.monitor_type, RunFolderMonitor)
        trinity_patches.queue_reader.apply(BatchReader)
        engine = load(trainer_named(config.trainer.trainer_type).process)
        with trinity_patches.train_engine.apply(engine):
            super().__init__(config)
        self._stop = asyncio.Event()

    async def prepare(self) -> int:
        """Load model and checkpoint.

        Returns:
            The step that training continues from; 0 for a new run.
        """
        self._marks.mark("trainer_made")
        alive.doing("loading model and checkpoint")
        await super().prepare()
        queue = find_queue(self.config)
        if queue is not None:
            await queue.begin.remote(self.train_step_num)
        self._marks.mark("trainer_ready")
        return self.train_step_num

    async def startup_marks(self) -> dict[str, float]:
        """When this actor was there and ready; see startup.py."""
        return self._marks.times()

    async def request_stop(self) -> None:
        """End after the step under way, with a checkpoint."""
        self._stop.set()

    async def train(self) -> int:
        """Train up to `trainer.total_steps`.

        Returns:
            The last step trained; smaller than asked only after `request_stop` or when the
            samples ended.

        Raises:
            Exception: Whatever went wrong while sampling, training, syncing or saving.
        """
        began = time.monotonic()
        if self.train_step_num == 0 and (measured := await self._held_out_loss()):
            self.monitor.log(measured, 0)
        while self.train_step_num < self.total_steps and not self._stop.is_set():
            step = self.train_step_num + 1
            alive.doing(f"waiting for the experiences of step {step}")
            sampled = await self._next_sample()
            if sampled is None:
                break
            experiences, metrics, _ = sampled
            experiences = unmasked(experiences)
            metrics["sample/experiences"] = float(len(experiences))
            alive.doing(f"training step {step}")
            metrics.update(await self.train_step(experiences))
            alive.doing(f"handing on weights and checkpoint of step {step}")
            last = self.train_step_num >= self.total_steps
            if await self.need_sync() or (last and self._is_to_close()):
                metrics.update(await self.sync_weight())
            if self.need_save() and not last:
                always = self.save_hf_checkpoint == "always"
                metrics.update(await self.save_checkpoint(save_as_hf=always))
            if last or self._measures_now():
                metrics.update(await self._held_out_loss())
            now = time.monotonic()
            metrics["time/trainer_step"], began = now - began, now
            self.monitor.log(metrics, self.train_step_num)
        if self.train_step_num > 0:
            alive.doing(f"saving the checkpoint of step {self.train_step_num}")
            await self.save_checkpoint(
                block_until_saved=True, save_as_hf=self.save_hf_checkpoint != "never"
            )
        await self.synchronizer.set_trainer_status.remote(trinity_trainer.RunningStatus.STOPPED)
        return self.train_step_num

    async def save_checkpoint(self, *args: Any, **options: Any) -> dict:
        """Save one, and remove those that are neither of the newest nor the best."""
        metrics: dict = await super().save_checkpoint(*args, **options)
        arguments = self.config.buffer.explorer_input.tasksets[0].workflow_args
        if keep := arguments.get("keep_checkpoints"):
            prune(RunFolder(arguments["run_folder"]), keep)
        return metrics

    async def need_sync(self) -> bool:
        """Whether to hand over the weights; without an explorer nobody takes them."""
        return not self._given and await super().need_sync()

    @property
    def _given(self) -> GivenConversations | None:
        """Where conversations are learnt from that are given."""
        found = self.sample_strategy
        return found if isinstance(found, GivenConversations) else None

    def _measures_now(self) -> bool:
        every = self._given.eval_interval if self._given else 0
        return bool(every) and self.train_step_num % every == 0

    async def _held_out_loss(self) -> dict[str, float]:
        """The mean loss of the tokens to be learnt of held-out conversations; nothing without."""
        if not self._given or not self._given.held_out:
            return {}
        alive.doing("measuring the held-out loss")
        began = time.monotonic()
        loss = await self.engine.mean_loss(self._given.held_out)
        return {LOSS: loss, "time/eval": time.monotonic() - began}

    def _is_to_close(self) -> bool:
        if self._given:
            return False
        return self.last_sync_step != self.train_step_num and closes_with_a_sync(self.config)

    async def _next_sample(self) -> tuple[list, dict[str, Any], list] | None:
        """The next batch; None when stopping or when there will be no more."""
        sample = asyncio.ensure_future(self._sample_data())
        stop = asyncio.ensure_future(self._stop.wait())
        polls = self.sync_style not in {SyncStyle.FIXED}
        try:
            while True:
                done, _ = await asyncio.wait(
                    {sample, stop},
                    timeout=1 if polls else None,
                    return_when=asyncio.FIRST_COMPLETED,
                )
                if sample in done:
                    try:
                        return sample.result()
                    except NothingToTrainOn:
                        return [], {}, []
                    except StopAsyncIteration:
                        return None
                if stop in done:
                    return None
                if await self.need_sync():
                    await self.sync_weight()
        finally:
            sample.cancel()
            stop.cancel()


def unmasked(experiences: list[Experience]) -> list[Experience]:
    """Those that are trained on: an answer that was cut may be masked whole (treatment.py).

    Its reward has counted in its group by then, unless the trainer itself computes advantages.
    """
    return [
        each
        for each in experiences
        if each.truncate_status != CUT_RESPONSE
        or each.action_mask is None
        or each.action_mask.any()
    ]
