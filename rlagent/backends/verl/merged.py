"""Turns of one rollout as one sequence, where each turn's prompt goes on from the turn before.

The conversation so far is then computed once instead of once a turn; in a causal model the outputs
at a token depend on nothing behind it, so that no number changes. Whether a loss allows it is said
here too: one that averages over sequences, or takes a ratio of a whole sequence, would count other
sequences.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from trinity.common.experience import Experience

from rlagent.backends.loss import policy_aggregation
from rlagent.backends.off_policy import Correction
from rlagent.base.rollout_of import rollout_of

BY_TOKEN = ("ppo", "cispo")
"""Policy losses of Trinity whose terms are those of single tokens, with averages over tokens."""

PER_TOKEN = ("logprobs", "advantages", "returns")
"""What an experience holds for each token of its response."""


@dataclass(frozen=True)
class Merged:
    """The sequences of a step.

    Args:
        sequences: In the order of their first turns.
        saved: Tokens that are computed less often than without merging.
        apart: Turns that could not go on from an earlier one of their rollout: the agent, or a chat
            template, has rewritten what was said before, or several agents took turns.
    """

    sequences: list[Experience]
    saved: int
    apart: int


def allows_merging(algorithm: Any, policy_loss: Any) -> bool:
    """Whether the loss of a step stays what it is.

    Args:
        algorithm: Trinity's, after its validators.
        policy_loss: Its policy loss.
    """
    return (
        algorithm.policy_loss_fn in BY_TOKEN
        and policy_aggregation(policy_loss) == "token-mean"
        and (algorithm.loss_agg_mode or "token-mean") == "token-mean"
        and not Correction.of(algorithm).of_sequences
    )


def merge_turns(experiences: Sequence[Experience]) -> Merged:
    """Merge the turns of each rollout; the experiences are not changed."""
    chains: list[list[Experience]] = []
    rollouts: dict[tuple[Any, ...], list[list[Experience]]] = {}
    apart = 0
    for turn in sorted(experiences, key=lambda each: each.eid.step):
        of_rollout = rollouts.setdefault((turn.eid.batch, *rollout_of(turn)), [])
        before = [chain for chain in of_rollout if _goes_on(chain[-1], turn)]
        if before:
            max(before, key=lambda chain: len(chain[-1].tokens)).append(turn)
            continue
        apart += bool(of_rollout)
        of_rollout.append([turn])
        chains.append(of_rollout[-1])
    merged = [chain[0] if len(chain) == 1 else _joined(chain) for chain in chains]
    whole = sum(len(each.tokens) for each in experiences)
    return Merged(merged, whole - sum(len(each.tokens) for each in merged), apart)


def _goes_on(before: Experience, turn: Experience) -> bool:
    """Whether a turn's prompt begins with all of an earlier turn."""
    if not (_is_whole(before) and _is_whole(turn)):
        return False
    size = len(before.tokens)
    return turn.prompt_length >= size and bool(torch.equal(turn.tokens[:size], before.tokens))


def _is_whole(turn: Experience) -> bool:
    """Whether it holds a number for each token of its response, and nothing that belongs to the
    sequence as a whole."""
    size = len(turn.tokens) - turn.prompt_length
    given = [getattr(turn, name) for name in PER_TOKEN]
    return (
        turn.advantages is not None
        and turn.logprobs is not None
        and turn.action_mask is not None
        and len(turn.action_mask) == size
        and all(value is None or len(value) == size for value in given)
        and turn.multi_modal_inputs is None
        and turn.routed_experts is None
        and turn.teacher_logprobs is None
        and turn.token_level_reward is None
        and not turn.custom_fields
    )


def _joined(chain: Sequence[Experience]) -> Experience:
    """One experience of turns that go on from each other; its tokens are those of the last one."""
    first, last = chain[0], chain[-1]
    size = len(last.tokens) - first.prompt_length
    filled: dict[str, torch.Tensor | None] = {}
    for name in ("action_mask", *PER_TOKEN):
        given = [getattr(turn, name) for turn in chain]
        if any(value is None for value in given):
            filled[name] = None
            continue
        whole = torch.zeros(size, dtype=given[0].dtype)
        for turn, value in zip(chain, given, strict=True):
            begin = turn.prompt_length - first.prompt_length
            whole[begin : begin + len(value)] = value
        filled[name] = whole
    return Experience(
        eid=first.eid,
        tokens=last.tokens,
        prompt_length=first.prompt_length,
        reward=last.reward,
        truncate_status=last.truncate_status,
        info=last.info,
        metrics=last.metrics,
        **filled,
    )
