"""One training step of the embedded trainer: experiences in, updated weights and metrics out.

Composes micro_batches.py, scoring.py, loss.py, advantages.py and optim.py. It knows nothing of Ray,
checkpoints or weight synchronisation.

Cores are used by running micro-batches side by side, each on one core ("lanes"), not by spreading
each operation: OpenMP's threads wait for each other at every operation, and on a machine that has
anything else to do they wait for long (ten times slower was measured with two busy cores).
"""

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from typing import Any, Callable, Dict, Iterator, List, Optional, Sequence, Tuple, TypeVar

import torch
from transformers import PreTrainedModel

from rlagent.backends.embedded.micro_batches import (
    MicroBatch,
    merge_rows,
    plan_micro_batches,
    share_out,
)
from rlagent.backends.embedded.trainer.advantages import TrainerAdvantage
from rlagent.backends.embedded.trainer.lora import Adapter
from rlagent.backends.embedded.trainer.optim import apply_update, make_optimizer
from rlagent.backends.embedded.trainer.scoring import Scorer
from rlagent.backends.embedded.trainer.step_data import StepData
from rlagent.backends.embedded.trainer.step_metrics import agreement_metrics, data_metrics
from rlagent.backends.loss import Extent, Objective
from rlagent.backends.off_policy import finished, informative, is_largest, lag_of, of_updates
from rlagent.backends.updates import ONE_UPDATE, Updates
from rlagent.base.signs import settled
from rlagent.config.schedule import lr_factor, warmup_steps

ACTIVATION_BYTES = 3 * 2**29
"""Memory that the activations of all lanes may take, by a rough estimate: 1.5 GiB."""

MOST_TOKENS = 4096
"""Tokens of a micro-batch of a small model; beyond this nothing gets faster."""


T = TypeVar("T")


def default_token_budget(model_config: Any, lanes: int = 1) -> int:
    """Tokens of a micro-batch so that the activations of all lanes fit ACTIVATION_BYTES.

    A block keeps about 14 vectors of the residual width and 4 of the feed-forward width per token
    for the backward pass, in float32.
    """
    shape = model_config.get_text_config()
    hidden = shape.hidden_size
    inner = getattr(shape, "intermediate_size", None) or 4 * hidden
    per_token = 4 * shape.num_hidden_layers * (14 * hidden + 4 * inner)
    return int(min(MOST_TOKENS, max(256, ACTIVATION_BYTES // (lanes * per_token))))


class Learner:
    """Holds the trained model, its optimizer and the loss.

    Args:
        config: Trinity's Config after its validators.
        model: Float32, in evaluation mode; its parameters are trained in place.
        reference: Loads the reference model; called once, and only if a KL term needs it and there
            is no adapter: without it the model is the reference.
        token_budget: Tokens per micro-batch, padding included; 0: chosen for the model.
        updates: How often a step updates the weights.
        lanes: Micro-batches that run side by side, one core each.
        adapter: Of the model, which alone is trained then.

    Raises:
        ValueError: If the configuration asks for what this trainer does not do.
    """

    def __init__(
        self,
        config: Any,
        model: PreTrainedModel,
        reference: Callable[[], PreTrainedModel],
        token_budget: int = 0,
        updates: Updates = ONE_UPDATE,
        lanes: int = 1,
        adapter: Optional[Adapter] = None,
    ):
        if adapter is not None and adapter.drops:
            # Side by side they would draw from one random state in an order that differs each time.
            lanes = 1
        self.adapter = adapter
        self.algorithm = config.algorithm
        self.total_steps = config.trainer.total_steps or 0
        self.grad_clip = config.trainer.grad_clip or 0.0
        self.updates = updates
        self.model = model
        self.scorer = Scorer(model, config.model.temperature)
        self.token_budget = token_budget or default_token_budget(model.config, lanes)
        self.lanes = lanes
        self._pool = ThreadPoolExecutor(
            lanes, thread_name_prefix="lane", initializer=lambda: torch.set_num_threads(1)
        )
        self.objective = Objective(self.algorithm)
        in_trainer = self.objective.type.compute_advantage_in_trainer
        self.trainer_advantage = TrainerAdvantage(self.algorithm) if in_trainer else None
        self.warmup = warmup_steps(self.algorithm.optimizer, self.total_steps)
        self.learning_rate(1)
        self.optimizer, self.parameter_names = make_optimizer(
            model.named_parameters(), self.algorithm.optimizer
        )
        self._parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        self._load_reference = reference
        self._reference: Optional[Scorer] = None

    def learning_rate(self, step: int) -> float:
        """Learning rate of a training step; the first is 1."""
        optimizer = self.algorithm.optimizer
        return optimizer.lr * lr_factor(
            step,
            optimizer.lr_scheduler_type,
            self.warmup,
            self.total_steps,
            optimizer.min_lr_ratio,
        )

    def train(self, experiences: Sequence[Any], step: int) -> Dict[str, float]:
        """Train on every experience, as often as there are passes.

        Args:
            experiences: Trinity's, any number of them, with advantages unless the algorithm
                computes them in the trainer.
            step: Number of this training step, the first is 1.

        Returns:
            Metrics by Trinity's and verl's names; times in seconds.

        Raises:
            ValueError: If experiences lack what the algorithm reads.
        """
        started = time.perf_counter()
        metrics: Dict[str, float] = {}
        data = StepData(experiences)
        metrics.update(data_metrics(experiences, step))
        metrics.update(lag_of(experiences, step))
        if not data.samples:
            raise ValueError(
                f"step {step}: none of {len(experiences)} experiences has a token that the model "
                "chose; every prompt was truncated, or no model call was recorded"
            )
        updates = self.updates.split(len(data.samples), step)
        self._old_logprobs(data, updates, metrics)
        if self.trainer_advantage is not None:
            with _timed(metrics, "time/adv"):
                metrics.update(self._advantages_in_trainer(data, metrics))
        if self.objective.has_kl_loss and "ref_logprob" not in data.fields:
            data.fields["ref_logprob"] = self._reference_logprobs(data, metrics)
        self._check_fields(data)
        rate = self.learning_rate(step)
        learning = nullcontext() if self.adapter is None else self.adapter.training()
        with _timed(metrics, "time/update_actor"), learning:
            parts = [self._update(data, indices, rate, step) for indices in updates]
        metrics.update(finished(of_updates(parts)))
        metrics["actor/lr"] = rate
        metrics["actor/updates"] = float(len(updates))
        metrics["tokens/trained"] = float(sum(len(s.actions) for s in data.samples))
        metrics["tokens/computed"] = float(sum(part["tokens/computed"] for part in parts))
        metrics["perf/time_per_step"] = time.perf_counter() - started
        if self.objective.of_given:
            metrics.pop("actor/ppo_kl", None)
        return informative(metrics, len(updates), self.algorithm.bypass_old_logprobs)

    def mean_loss(self, experiences: Sequence[Any]) -> float:
        """Mean of -log p over all actions, in nats; nothing is trained."""
        data = StepData(experiences)
        scored = self._score_all(self.scorer, data, range(len(data.samples)))
        # What is no action counts 0.
        total = sum(float(values.sum()) for values in scored if values is not None)
        return -total / sum(len(sample.actions) for sample in data.samples)

    def _old_logprobs(
        self, data: StepData, updates: List[List[int]], metrics: Dict[str, float]
    ) -> None:
        """Fill `old_logprob`: as the rollout recorded them, or as the weights before the step
        give them. Where the first update itself computes them, they are left out."""
        if self.objective.of_given:
            return
        if self.algorithm.bypass_old_logprobs:
            data.fields["old_logprob"] = data.require(
                "logprobs", "set algorithm.bypass_old_logprobs=false, so the trainer computes them"
            )
        elif len(updates) > 1:
            later = sorted({index for indices in updates[1:] for index in indices})
            with _timed(metrics, "time/old_log_prob"):
                data.fields["old_logprob"] = self._score_all(self.scorer, data, later)

    def _advantages_in_trainer(self, data: StepData, metrics: Dict[str, float]) -> Dict[str, float]:
        """Advantages of a whole step through Trinity's in-trainer functions."""
        assert self.trainer_advantage is not None
        everyone = range(len(data.samples))
        mask = data.action_mask(everyone)
        ready = {
            "token_level_scores": data.padded(data.token_rewards(), everyone),
            "response_mask": mask,
            "attention_mask": data.response_mask(everyone).long(),
            "responses": torch.zeros_like(mask, dtype=torch.int64),
        }
        teacher = data.optional("teacher_logprobs")
        if teacher is not None:
            ready["teacher_logprobs"] = data.padded(teacher, everyone)

        def old() -> torch.Tensor:
            if "old_logprob" not in data.fields or any(
                value is None for value in data.fields["old_logprob"]
            ):
                with _timed(metrics, "time/old_log_prob"):
                    data.fields["old_logprob"] = self._score_all(self.scorer, data, everyone)
            return data.padded(data.fields["old_logprob"], everyone)

        def reference() -> torch.Tensor:
            data.fields["ref_logprob"] = self._reference_logprobs(data, metrics)
            return data.padded(data.fields["ref_logprob"], everyone)

        lazy = {"old_log_probs": old, "ref_log_prob": reference}
        result, named = self.trainer_advantage(ready, lazy, data.task_ids)
        data.fields["advantages"] = data.unpadded(result["advantages"])
        valid = result["advantages"][mask]
        rewards = result["token_level_rewards"].sum(-1)
        return {
            **named,
            "critic/advantages/mean": valid.mean().item(),
            "critic/advantages/max": valid.max().item(),
            "critic/advantages/min": valid.min().item(),
            "critic/rewards/mean": rewards.mean().item(),
            "critic/rewards/max": rewards.max().item(),
            "critic/rewards/min": rewards.min().item(),
        }

    def _reference_logprobs(self, data: StepData, metrics: Dict[str, float]) -> List:
        if self.adapter is not None:
            with _timed(metrics, "time/ref"), self.adapter.off():
                return self._score_all(self.scorer, data, range(len(data.samples)))
        if self._reference is None:
            self._reference = Scorer(
                self._load_reference(), self.scorer.temperature, self.scorer.abilities
            )
        with _timed(metrics, "time/ref"):
            return self._score_all(self._reference, data, range(len(data.samples)))

    def _check_fields(self, data: StepData) -> None:
        known = {"action_mask", "old_logprob", *data.fields}
        missing = [name for name in self.objective.needs if name not in known]
        for name in missing:
            remedy = "Trinity's pipeline sets it from algorithm.advantage_fn"
            data.fields[name] = data.require(name, remedy)

    def _plan(self, data: StepData, indices: Sequence[int]) -> List[List[MicroBatch]]:
        """Micro-batches for some samples, one list per lane."""
        shares = self.scorer.abilities.shares_prefix
        rows = merge_rows(data.samples, indices, share=True)
        batches = plan_micro_batches(rows, self.token_budget, share_prefix=shares)
        if self.lanes > 1 and len(batches) < 3 * self.lanes:
            # A few large ones would leave lanes idle at the end.
            tokens = sum(batch.computed_tokens for batch in batches)
            budget = min(self.token_budget, max(256, tokens // (3 * self.lanes)))
            batches = plan_micro_batches(rows, budget, share_prefix=shares)
        return share_out(batches, self.lanes)

    def _side_by_side(
        self, lanes: List[List[MicroBatch]], work: Callable[[List[MicroBatch]], T]
    ) -> List[T]:
        """Run `work` on each lane's micro-batches; results in the order of the lanes."""
        return list(self._pool.map(work, lanes))

    def _score_all(
        self, scorer: Scorer, data: StepData, indices: Sequence[int]
    ) -> List[Optional[torch.Tensor]]:
        """Log-probabilities per sample, None for samples that are not in `indices`."""
        result: List[Optional[torch.Tensor]] = [None] * len(data.samples)

        @torch.no_grad()
        def score(batches: List[MicroBatch]) -> None:
            for batch in batches:
                flat = scorer(batch, data.samples, allowed=data.allowed).logprobs
                sizes = [len(data.samples[m].actions) for m in batch.members]
                for member, values in zip(batch.members, flat.split(sizes), strict=True):
                    sample = data.samples[member]
                    padded = torch.zeros(sample.response_length)
                    padded[torch.from_numpy(sample.actions)] = values
                    result[member] = padded

        self._side_by_side(self._plan(data, list(indices)), score)
        return result

    def _update(
        self, data: StepData, indices: List[int], rate: float, step: int
    ) -> Dict[str, float]:
        """One optimizer update on some samples; returns its metrics."""
        whole = data.extent(indices)
        lanes = self._plan(data, indices)
        metrics: Dict[str, float] = {}
        gaps: List[torch.Tensor] = []
        for gradients, summands, lane_gaps in self._side_by_side(
            lanes, lambda batches: self._accumulate(data, batches, whole)
        ):
            for parameter, gradient in zip(self._parameters, gradients, strict=True):
                if parameter.grad is None:
                    parameter.grad = gradient
                elif gradient is not None:
                    parameter.grad = parameter.grad + gradient
            _add_up(metrics, summands)
            gaps += lane_gaps
        metrics["actor/grad_norm"] = apply_update(self.optimizer, rate, self.grad_clip)
        computed = [batch.computed_tokens for batches in lanes for batch in batches]
        metrics["tokens/computed"] = float(sum(computed))
        metrics.update(agreement_metrics(gaps))
        return settled(metrics)

    def _accumulate(
        self, data: StepData, batches: List[MicroBatch], whole: Extent
    ) -> Tuple[List[Optional[torch.Tensor]], Dict[str, float], List[torch.Tensor]]:
        """One lane's part of an update: gradients, summands of the metrics, and how far the
        probabilities are from the rollout's."""
        gradients: List[Optional[torch.Tensor]] = [None] * len(self._parameters)
        metrics: Dict[str, float] = {}
        gaps: List[torch.Tensor] = []
        for batch in batches:
            members = batch.members
            scores = self.scorer(batch, data.samples, self.objective.entropy_gradient, data.allowed)
            mask = data.action_mask(members)
            fields = {"action_mask": mask}
            logprob = scores.logprobs.new_zeros(mask.shape).masked_scatter(mask, scores.logprobs)
            entropy = scores.entropy.new_zeros(mask.shape).masked_scatter(mask, scores.entropy)
            for name, values in data.fields.items():
                if any(values[m] is None for m in members):
                    continue
                fields[name] = data.padded(values, members)
            if data.rollout_logprobs is not None:
                fields["rollout_logprob"] = data.padded(data.rollout_logprobs, members)
            # Without old log-probabilities these weights are still those before the step.
            fields.setdefault("old_logprob", logprob.detach())
            loss, parts = self.objective(logprob, entropy, fields, data.extent(members), whole)
            for place, gradient in enumerate(
                torch.autograd.grad(loss, self._parameters, allow_unused=True)
            ):
                kept = gradients[place]
                # Not in place: autograd may return one tensor for two parameters.
                if kept is None:
                    gradients[place] = gradient
                elif gradient is not None:
                    gradients[place] = kept + gradient
            _add_up(metrics, parts)
            if data.rollout_logprobs is not None:
                rollout = fields["rollout_logprob"]
                gaps.append((logprob.detach().exp() - rollout.exp())[mask].abs())
        return gradients, metrics, gaps


def _add_up(total: Dict[str, float], summands: Dict[str, float]) -> None:
    for name, value in summands.items():
        before = total.get(name, 0.0)
        total[name] = max(before, value) if is_largest(name) else before + value


@contextmanager
def _timed(metrics: Dict[str, float], name: str) -> Iterator[None]:
    started = time.perf_counter()
    try:
        yield
    finally:
        metrics[name] = metrics.get(name, 0.0) + time.perf_counter() - started
