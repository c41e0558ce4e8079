"""What is known of Trinity's algorithms without importing it: kinds, and which do not run here."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rlagent.base.errors import Problem
from rlagent.base.rewards import BY_AGENT, NUMBER, SHAPES

GROUPED = ("grpo", "multi_step_grpo", "dapo", "rloo", "cispo", "gspo", "sapo", "rec", "gigpo")
"""Algorithms that compare the rollouts of one task with each other."""

WITHOUT_REFERENCE = ("dapo", "asymre", "raft", "sppo", "sft")
"""Algorithms whose own default is to keep no reference model (`use_reference` in Trinity)."""

WITHOUT_ADVANTAGE = {"raft": "reinforce"}
"""Algorithms whose loss reads no advantage, with the one that is computed all the same. Trinity
takes PPO's where an algorithm names none, and then refuses it, since only its trainer could
compute that (`ExperiencePipeline` of 0.6.0)."""

OWN_LOSS = {"sapo": "rlagent.backends.sapo.SAPOLoss"}
"""Algorithms whose policy loss is rlagent's, because Trinity's is another one than the paper's."""

OF_SUCCESSES = ("raft",)
"""Algorithms that train on the rollouts that succeeded alone; Trinity's own take all alike, from
which nothing can be learnt."""

ADVANTAGES_IN_TRAINER = ("grpo_verl", "reinforceplusplus", "rloo")
"""Those whose advantages need the trainer's log-probabilities before the update
(`compute_advantage_in_trainer` in Trinity)."""

SUPERVISED = ("sft",)
"""Algorithms that learn from given conversations, without an explorer."""

UNSUPPORTED = {
    "cpt": "learns from given text, not from rollouts",
    "dpo": "learns from pairs of given answers, not from rollouts",
    "mix": "mixes rollouts with given answers",
    "mix_chord": "mixes rollouts with given answers",
    "on_policy_distill": "needs a teacher model inside the workflow",
    "jsd": "needs a teacher model inside the workflow",
    "ppo": "needs a critic model",
}
"""Algorithms of Trinity that learn from something that is not made here, and why."""

AGGREGATIONS = (
    "token-mean",
    "seq-mean-token-sum",
    "seq-mean-token-mean",
    "seq-mean-token-sum-norm",
)
"""How a loss over tokens becomes one number."""


NONE, TRUNCATED, MASKED, OF_SEQUENCES = "none", "tis", "mis", "seq_"
CORRECTIONS = (NONE, TRUNCATED, MASKED, OF_SEQUENCES + TRUNCATED, OF_SEQUENCES + MASKED)
"""What weights the policy loss of samples that another policy drew."""

UNWEIGHTED = {
    "raft": "its loss reads no advantage",
    "rec": "parts of its loss are not proportional to the advantage",
}
"""Algorithms whose policy loss cannot be weighted, and why: elsewhere the loss of a token is
proportional to its advantage, which is what is weighted."""


TASK, ROLE, TURN = GROUPS = "task", "role", "turn"
"""What is compared with each other (algorithm.group_by): the rollouts of a task, those of a task by
agent, or the calls of a task by agent and turn."""


@dataclass(frozen=True)
class Takes:
    """Which rewards an algorithm takes, and what it can compare.

    Args:
        shapes: Of rewards, see `rlagent.base.rewards.SHAPES`.
        discount: Whether algorithm.discount has a meaning for it.
        groups: Of `GROUPS`; none: it compares nothing.
    """

    shapes: tuple[str, ...] = (NUMBER,)
    discount: bool = False
    groups: tuple[str, ...] = (TASK,)


_ALL = Takes(SHAPES, True, GROUPS)

TAKES = {
    **dict.fromkeys(("multi_step_grpo", "grpo", "dapo", "gspo", "cispo", "sapo", "rloo"), _ALL),
    **dict.fromkeys(("opmd", "sppo", "asymre", "rec"), _ALL),
    # It compares states, of which a turn is no part.
    "gigpo": Takes(SHAPES, True, (TASK, ROLE)),
    **dict.fromkeys(("reinforceplusplus", "topr"), Takes(SHAPES, True, ())),
    # A call is taken or left by whether its agent succeeded.
    "raft": Takes((NUMBER, BY_AGENT), False, ()),
    # It has no rollouts.
    "sft": Takes(groups=()),
}
"""Every other algorithm takes one number, of the rollout."""

PER_ROLLOUT = ("multi_step_grpo",)
"""Algorithms that give every call of an agent the advantage of its first one's return; the others
give each call that of its own."""

BY_STATE = ("gigpo",)
"""Algorithms that also compare calls in the same state, by the rewards that fell after each."""


def takes(name: str) -> Takes:
    """What an algorithm takes.

    >>> takes("raft").shapes, takes("grpo_verl").shapes
    (('number', 'agent'), ('number',))
    """
    return TAKES.get(name, Takes())


def reward_problems(
    name: str, group_by: str, discount: float, advantage_args: Mapping[str, Any]
) -> list[Problem]:
    """Return what is asked of an algorithm's rewards that it does not take.

    Args:
        name: Of the algorithm; the rest as in the configuration.
    """
    taken, problems = takes(name), []
    # What is no group at all is refused as such.
    if group_by in GROUPS and group_by not in taken.groups:
        problems.append(
            Problem(
                "algorithm.group_by",
                group_by,
                f"{name} compares no groups"
                if not taken.groups
                else f"{name} compares by {', '.join(taken.groups)}",
                "leave it at auto, or take another algorithm",
            )
        )
    if discount != 1 and not taken.discount:
        message = f"{name} takes each reward as it is"
        remedy = "leave it at 1, or take another algorithm"
        problems.append(Problem("algorithm.discount", discount, message, remedy))
    gamma = advantage_args.get("gamma", discount)
    if name in BY_STATE and discount not in (1, gamma):
        message = f"is another discount than algorithm.discount={discount}"
        key = "algorithm.advantage_args.gamma"
        problems.append(Problem(key, gamma, message, "set one of the two"))
    return problems


def lone_rollout(name: str) -> Problem:
    """Return why one of `GROUPED` cannot run with a single rollout per task."""
    return Problem(
        "algorithm.repeat_times",
        1,
        f"{name} compares the rollouts of a task, one alone has nothing to learn from",
        "take at least 2",
    )
