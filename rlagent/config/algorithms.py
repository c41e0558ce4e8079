"""What is known of Trinity's algorithms without importing it: kinds, and which do not run here."""

from rlagent.base.errors import Problem

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


def lone_rollout(name: str) -> Problem:
    """Return why one of `GROUPED` cannot run with a single rollout per task."""
    return Problem(
        "algorithm.repeat_times",
        1,
        f"{name} compares the rollouts of a task, one alone has nothing to learn from",
        "take at least 2",
    )
