"""The experiences of one training step as samples and per-token tensors, padded when asked for.

It reads Trinity's Experience objects; what the numbers mean is the learner's business.
"""

from typing import Any, Dict, List, Optional, Sequence

import numpy as np
import torch

from rlagent.backends.embedded.allowed import decode
from rlagent.backends.embedded.micro_batches import Sample, make_sample
from rlagent.backends.loss import Extent


class StepData:
    """The experiences of a step that hold actions, as samples and per-sample tensors.

    Attributes:
        samples: One per experience with at least one action.
        fields: Per name a list with one tensor of the response's length per sample, or None.
        task_ids: Task of each sample.
        allowed: Per sample what a grammar allowed at each token of the response (allowed.py),
            None where the response was free.
        rollout_logprobs: As the rollout engine recorded them; None if one sample lacks them.
    """

    def __init__(self, experiences: Sequence[Any]):
        made = []
        for experience in experiences:
            # A truncated prompt leaves tokens and mask of unrelated lengths, and no action.
            if experience.action_mask is None or not bool(experience.action_mask.any()):
                continue
            sample = make_sample(
                experience.tokens.numpy(), experience.prompt_length, experience.action_mask.numpy()
            )
            made.append((experience, sample))
        self._experiences = [experience for experience, _ in made]
        self.samples: List[Sample] = [sample for _, sample in made]
        self.fields: Dict[str, Sequence[Optional[torch.Tensor]]] = {}
        self.task_ids = np.array([experience.eid.tid for experience in self._experiences])
        self.rollout_logprobs = self.optional("logprobs")
        self.allowed = [
            _allowed(experience, sample)
            for experience, sample in zip(self._experiences, self.samples, strict=True)
        ]
        advantages = self.optional("advantages")
        if advantages is not None:
            self.fields["advantages"] = advantages

    def optional(self, name: str) -> Optional[List[torch.Tensor]]:
        """A per-token attribute of every experience, or None if one lacks it."""
        values: List[Any] = [getattr(item, name, None) for item in self._experiences]
        if any(value is None for value in values):
            return None
        for value, sample in zip(values, self.samples, strict=True):
            if len(value) != sample.response_length:
                raise ValueError(
                    f"{name} of {len(value)} values for a response of "
                    f"{sample.response_length} tokens"
                )
        return [value.float() for value in values]

    def require(self, name: str, remedy: str) -> List[torch.Tensor]:
        """As `optional`, but a ValueError with the remedy if one lacks it."""
        values = self.optional(name)
        if values is None:
            raise ValueError(f"experiences without `{name}`, which the loss reads; {remedy}")
        return values

    def token_rewards(self) -> List[torch.Tensor]:
        """Reward per token: as given, or the experience's reward on its last token."""
        given = self.optional("token_level_reward")
        if given is not None:
            return given
        rewards = []
        for experience, sample in zip(self._experiences, self.samples, strict=True):
            if experience.reward is None:
                raise ValueError(f"experience {experience.eid.uid} has no reward")
            values = torch.zeros(sample.response_length)
            values[-1] = float(experience.reward)
            rewards.append(values)
        return rewards

    def extent(self, indices: Sequence[int]) -> Extent:
        """How much a loss over these samples averages over."""
        chosen = [self.samples[i] for i in indices]
        return Extent(
            tokens=sum(len(sample.actions) for sample in chosen),
            sequences=len(chosen),
            width=max(sample.response_length for sample in chosen),
        )

    def padded(
        self, values: Sequence[Optional[torch.Tensor]], indices: Sequence[int]
    ) -> torch.Tensor:
        """Per-sample values side by side, zero-padded, shape (samples, longest response)."""
        width = max(self.samples[i].response_length for i in indices)
        result = torch.zeros(len(indices), width)
        for place, index in enumerate(indices):
            value = values[index]
            assert value is not None
            result[place, : len(value)] = value
        return result

    def unpadded(self, values: torch.Tensor) -> List[Optional[torch.Tensor]]:
        """The inverse of `padded` over all samples."""
        return [row[: s.response_length] for row, s in zip(values, self.samples, strict=True)]

    def action_mask(self, indices: Sequence[int]) -> torch.Tensor:
        """True at actions, shape (samples, longest response)."""
        width = max(self.samples[i].response_length for i in indices)
        mask = np.zeros((len(indices), width), dtype=bool)
        for place, index in enumerate(indices):
            mask[place, self.samples[index].actions] = True
        return torch.from_numpy(mask)

    def response_mask(self, indices: Sequence[int]) -> torch.Tensor:
        """True at tokens of the response, shape (samples, longest response)."""
        lengths = torch.tensor([self.samples[i].response_length for i in indices])
        return torch.arange(int(lengths.max()))[None, :] < lengths[:, None]


def _allowed(experience: Any, sample: Sample) -> Optional[np.ndarray]:
    text = (experience.info or {}).get("allowed_tokens")
    return None if text is None else decode(text, sample.response_length)
