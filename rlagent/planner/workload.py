"""What a step asks of a layout: lengths, numbers of rollouts, passes of the trainer.

Numbers only; rlagent.config.step_workload reads them from a configuration.
"""

from dataclasses import dataclass
from typing import Any

TYPICAL_SHARE = 0.3
"""Tokens of a usual response, as a share of the longest one allowed ..."""
TYPICAL_TOKENS = 1000
"""... and at most this many: few answers use a long allowance up."""
CALLS = 2.5
"""Model calls of one agent rollout."""
INSTRUCTIONS = 400
"""Tokens of the system prompt, the tools and the task."""
LOGITS_BYTES = 4 << 30
MOST_TOKENS = 1 << 16
MOST_VOCABULARY = 1 << 18
"""Entries of a vocabulary that is not known."""


def micro_batch_tokens(max_model_len: int, vocab: int) -> int:
    """Return the tokens of one micro-batch of the trainer on one GPU.

    verl packs sequences until it is reached: as many as make LOGITS_BYTES of bf16 logits, since
    those of a large vocabulary outweigh everything else, but at least one whole sequence.

    Args:
        max_model_len: Longest sequence, tokens.
        vocab: Entries of the vocabulary; 0: not known.
    """
    fitting = LOGITS_BYTES // (2 * (vocab or MOST_VOCABULARY))
    return max(max_model_len, min(MOST_TOKENS, fitting))


@dataclass(frozen=True)
class Workload:
    """One step of a run.

    Args:
        max_model_len: Longest sequence, tokens.
        max_response_tokens: Longest response, tokens.
        tasks: Tasks per step.
        rollouts: Rollouts per step.
        explored: Rollouts explored for one that is trained on; above 1 where steps are refilled.
        calls: Model calls of one rollout; each becomes one experience.
        prompt_tokens: Tokens of a usual prompt, the conversation so far included.
        response_tokens: Tokens of a usual response.
        tokens_per_gpu: Tokens of one micro-batch on one trainer GPU; None: micro_batch_tokens.
        reference: Whether a reference model is kept for the KL loss.
        entropy: Whether the loss has an entropy term with a gradient.
        old_logprobs: Whether the old log-probabilities need a pass of their own.
        max_lag: Steps that exploring may run ahead of training.
        sync_interval: Steps between weight syncs.
        utilization: Share of a GPU that vLLM takes; None: memory.share.
        graphs: Whether vLLM captures CUDA graphs.
        prefix_caching: Whether equal beginnings of prompts are computed once.
        adapter: Parameters of the LoRA adapter that is trained; 0: the whole model is.
    """

    max_model_len: int
    max_response_tokens: int = 1024
    tasks: int = 32
    rollouts: int = 256
    explored: float = 1.0
    calls: float = 2.5
    prompt_tokens: float = 600.0
    response_tokens: float = 300.0
    tokens_per_gpu: int | None = None
    reference: bool = True
    entropy: bool = False
    old_logprobs: bool = False
    max_lag: int = 0
    sync_interval: int = 1
    utilization: float | None = None
    graphs: bool = True
    prefix_caching: bool = True
    adapter: int = 0

    @classmethod
    def usual(cls, max_model_len: int, max_response_tokens: int, **others: Any) -> "Workload":
        """Return a workload whose usual prompts and responses follow from the longest ones.

        >>> Workload.usual(24576, 16384).response_tokens
        1000
        """
        response = max(1.0, min(TYPICAL_SHARE * max_response_tokens, TYPICAL_TOKENS))
        # A prompt holds what was said before: half of the rollout's responses on average.
        prompt = INSTRUCTIONS + response * (CALLS - 1) / 2
        return cls(
            max_model_len,
            max_response_tokens,
            calls=CALLS,
            prompt_tokens=min(prompt, max(1.0, max_model_len - response)),
            response_tokens=response,
            **others,
        )

    def micro_batch(self, vocab: int) -> int:
        """Return the tokens of one micro-batch on one trainer GPU."""
        return self.tokens_per_gpu or micro_batch_tokens(self.max_model_len, vocab)

    @property
    def usual_tokens(self) -> float:
        """Tokens of a usual experience: prompt and response, at most max_model_len."""
        return min(self.max_model_len, self.prompt_tokens + self.response_tokens)

    @property
    def experiences(self) -> float:
        """Experiences per step, one per model call."""
        return self.rollouts * self.calls
