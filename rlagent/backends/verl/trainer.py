"""Trinity's verl trainer, which takes whole steps: every experience once, whatever their number.

Steps, advantages, metrics and checkpoints are Trinity's, FSDP and the optimizer verl's.
"""

from collections.abc import Callable
from typing import Any

from trinity.algorithm import POLICY_LOSS_FN
from trinity.common.config import AlgorithmConfig, Config
from trinity.common.constants import SyncMethod
from trinity.common.experience import Experience
from trinity.trainer.verl import trainer as verl_trainer
from trinity.trainer.verl.monkey_patch import left_right_2_no_padding
from trinity.trainer.verl.utils import to_data_proto
from verl import DataProto
from verl.utils import tensordict_utils as tu
from verl.utils.metric import reduce_metrics
from verl.utils.py_functional import rename_dict

from rlagent.backends import off_policy
from rlagent.backends.updates import Updates
from rlagent.backends.verl.merged import allows_merging, merge_turns
from rlagent.backends.verl.step_batch import StepBatch
from rlagent.backends.verl.step_loss import StepLoss
from rlagent.backends.verl.worker import StepWorker
from rlagent.backends.vllm.engine_arguments import SHARED_WEIGHTS
from rlagent.base.signs import settled
from rlagent.machine import flash_attention
from rlagent.upstream import trinity as trinity_patches
from rlagent.upstream import trinity_hooks, verl

_AGREEMENT = "rollout_probs_diff"
_AT_ONCE = 64
"""Held-out sequences that are scored together; verl makes micro-batches of them."""


def reads_reference(algorithm: AlgorithmConfig) -> bool:
    """Whether any part of the loss reads the reference model's log-probabilities."""
    policy = POLICY_LOSS_FN.get(algorithm.policy_loss_fn)
    return (
        algorithm.kl_loss_fn != "none"
        or algorithm.kl_penalty_fn != "none"
        or "ref_logprob" in policy._select_keys
    )


class StepTrainer(verl_trainer.VERLTrainer):
    """Updates over all experiences of a step; one, unless more are asked for."""

    def __init__(self, config: Config) -> None:
        trinity_hooks.verl_steps.apply()
        if flash_attention.flash_attention_version() is None:
            verl.torch_padding.apply()
        with trinity_patches.verl_worker.apply(StepWorker):
            super().__init__(config)
        self.set_updates()

    def set_updates(self) -> None:
        """Note how often a step updates the weights, and where its old log-probabilities are from.

        One update computes them itself, unless a reward with a KL term needs them before.
        """
        config = self.global_config
        seed = self.config.actor.data_loader_seed
        self._updates = Updates.of(config.trainer.trainer_config, seed)
        self._fresh = self._updates.only_one and not (
            config.algorithm.bypass_old_logprobs or self.algorithm.compute_advantage_in_trainer
        )

    @property
    def use_reference_policy(self) -> bool:
        """Whether a reference model is kept; Trinity keeps one that nothing reads, too."""
        return self._keeps_reference

    @use_reference_policy.setter
    def use_reference_policy(self, wanted: bool) -> None:
        self._keeps_reference = wanted and reads_reference(self.global_config.algorithm)

    async def prepare(self) -> None:
        """Load the newest checkpoint and hand the loss to the workers."""
        await super().prepare()
        self.set_loss()
        if self.global_config.synchronizer.sync_method == SyncMethod.NCCL:
            # Now, while the engine loads: later explorer and engine would wait for it.
            self.actor_rollout_wg.import_weight_transfer()

    def set_loss(self) -> None:
        """Hand the loss to the workers, in the place of Trinity's."""
        loss = StepLoss(self.algorithm_config, self._fresh)
        # Advantages that the trainer computes are by its rows.
        self._merges = not self.algorithm.compute_advantage_in_trainer and allows_merging(
            self.algorithm_config, loss.policy_loss_fn
        )
        self.actor_rollout_wg.set_loss_fn(loss)

    async def upload_state_dict(self) -> None:
        """Publish the weights, in GPU memory where engines on the same GPUs read them there."""
        if self._shares_weights():
            self.actor_rollout_wg.share_weights(self.global_steps)
        else:
            await super().upload_state_dict()

    def _shares_weights(self) -> bool:
        engine = self.global_config.explorer.rollout_model
        return bool((engine.extra_engine_args or {}).get(SHARED_WEIGHTS))

    async def train_step(self, batch_exps: list[Experience]) -> dict[str, Any]:
        """Train on what one explore step produced; on nothing, the weights stay."""
        if self._shares_weights():
            # Without a lag, what is trained on was sampled with them.
            self.actor_rollout_wg.withdraw_weights()
        if not batch_exps:
            self.global_steps += 1
            return {}
        if not self._merges:
            metrics = await super().train_step(batch_exps)
        else:
            merged = merge_turns(batch_exps)
            metrics = await super().train_step(merged.sequences)
            metrics["tokens/merged"] = float(merged.saved)
            metrics["sample/turns_apart"] = float(merged.apart)
        metrics.update(off_policy.lag_of(batch_exps, self.global_steps))
        metrics["tokens/trained"] = float(metrics.get("perf/total_num_tokens", 0))
        return metrics

    async def mean_loss(self, given: list[Experience]) -> float:
        """Mean of -log p over the actions of experiences that are not trained on, in nats."""
        total, actions = 0.0, 0
        compute = super()._compute_old_log_prob
        for first in range(0, len(given), _AT_ONCE):
            batch = to_data_proto(
                given[first : first + _AT_ONCE],
                self.tokenizer.pad_token_id,
                self.empty_model,
                self.logger,
            )
            batch.meta_info["temperature"] = self.global_config.model.temperature
            scored = self._spread(batch, lambda rows: compute(rows, {}))
            mask = scored.batch["response_mask"].bool()
            total -= float(scored.batch["old_log_probs"][mask].sum())
            actions += int(mask.sum())
        return total / actions

    def _balance_batch(self, batch: DataProto, metrics: dict) -> None:
        """Each computation balances its own rows; the step's stay as they are."""

    def _spread(self, batch: DataProto, compute: Callable[[DataProto], DataProto]) -> DataProto:
        step = StepBatch(batch, self._get_dp_size())
        return step.take_back(compute(step.spread))

    def _compute_old_log_prob(self, batch: DataProto, metrics: dict) -> DataProto:
        if self._fresh:
            # The loss takes those of its own forward pass.
            return batch
        compute = super()._compute_old_log_prob
        return self._spread(batch, lambda rows: compute(rows, metrics))

    def _compute_ref_log_prob(self, batch: DataProto) -> DataProto:
        return self._spread(batch, super()._compute_ref_log_prob)

    def _compute_values(self, batch: DataProto) -> DataProto:
        return self._spread(batch, super()._compute_values)

    def _update_critic(self, batch: DataProto, metrics: dict) -> DataProto:
        compute = super()._update_critic

        def update(rows: DataProto) -> DataProto:
            self.config.critic.ppo_mini_batch_size = len(rows)
            return compute(rows, metrics)

        return self._spread(batch, update)

    def _update_actor(self, batch: DataProto, metrics: dict) -> DataProto:
        """The step's updates, each an optimizer step over its whole mini-batch."""
        chosen = self._updates.split(len(batch), self.global_steps)
        rows = [batch if len(chosen) == 1 else batch.select_idxs(part) for part in chosen]
        done = [self._update(part, last=part is rows[-1]) for part in rows]
        merged = off_policy.of_updates(done)
        for name in [name for name in merged if _AGREEMENT in name]:
            merged[name.replace("actor/", "training/")] = merged.pop(name)
        for name in [name for name in merged if off_policy.FAMILY in name]:
            merged[name.removeprefix("actor/")] = merged.pop(name)
        old_is_behaviour = self.global_config.algorithm.bypass_old_logprobs
        metrics.update(
            off_policy.informative(off_policy.finished(merged), len(done), old_is_behaviour)
        )
        metrics["actor/updates"] = float(len(done))
        return batch

    def _update(self, batch: DataProto, last: bool) -> dict[str, Any]:
        """One optimizer step; as Trinity's own, but over all rows at once.

        Args:
            batch: The rows.
            last: Whether it is the step's last one, with which the learning rate moves on.
        """
        rows = StepBatch(batch, self._get_dp_size()).spread
        data = left_right_2_no_padding(rows.to_tensordict())
        tu.assign_non_tensor(
            data,
            # Also without an entropy term: it is shown.
            calculate_entropy=True,
            # What the loss divides by: the experiences, without the rows that fill up.
            global_batch_size=len(batch),
            mini_batch_size=len(rows),
            epochs=1,
            seed=self.config.actor.data_loader_seed,
            dataloader_kwargs={"shuffle": False},
            temperature=batch.meta_info.get("temperature", self.global_config.model.temperature),
            compute_loss=True,
            moves_rate=last,
        )
        output = tu.get(self.actor_rollout_wg.update_actor(data), "metrics")
        output = rename_dict(output, "actor/")
        if "actor/mfu" in output:
            output["perf/mfu/actor"] = output.pop("actor/mfu")
        return settled(reduce_metrics(output))
