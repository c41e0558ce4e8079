"""What each call earned and what it is compared with, as Trinity's algorithms read them.

A workflow's rewards by agent or call arrive as the return of each call, with its agent's name.
Trinity compares what has the same task; here a call's task becomes that of its group: task, agent
and turn (algorithm.group_by). The advantages themselves are Trinity's, in explorer or trainer.
"""

import hashlib
from collections import defaultdict
from typing import Any

from trinity.buffer.operators.experience_operator import ExperienceOperatorV1
from trinity.common.config import Config
from trinity.common.experience import Experience, group_by

from rlagent.base.rewards import BY_CALL, NUMBER, SHAPES
from rlagent.base.rollout_of import OF
from rlagent.config.algorithms import BY_STATE, PER_ROLLOUT, ROLE, TASK, TURN, takes
from rlagent.trinity.translate import GROUP_FILTERS

SHAPE, AGENT = "reward_shape", "agent"
"""Of an experience's info: which of `SHAPES` its rollout's reward had, and whose call it is."""

AUTO = "auto"
FILTERS = (*GROUP_FILTERS, "reward_filter")
"""Operators that leave out by rewards and groups."""


class GroupCalls(ExperienceOperatorV1):
    """Gives each call its group and the reward that its algorithm compares.

    Args:
        algorithm: Trinity's name of it.
        by: algorithm.group_by.
        discount: algorithm.discount.
    """

    def __init__(self, algorithm: str, by: str = AUTO, discount: float = 1.0) -> None:
        self._algorithm = algorithm
        self._by = by
        self._discount = discount

    async def process(self, exps: list[Experience]) -> tuple[list[Experience], dict]:
        """Set task, reward and, for GiGPO, state and step reward of each.

        A call that no other rollout of its task has the like of is left out, since there is nothing
        to compare it with, where calls are compared by agent or turn.

        Returns:
            The experiences, and `lone_calls` left out.
        """
        lone: set[int] = set()
        for of_task in group_by(exps, "task").values():
            lone |= self._group(of_task)
        kept = [exp for exp in exps if id(exp) not in lone]
        return kept, {"lone_calls": float(len(lone))} if lone else {}

    def _group(self, exps: list[Experience]) -> set[int]:
        """Of one task; returns which are alone in their group."""
        # A rollout that earned one number, such as an overlong one, stands beside the others.
        shape = max(((exp.info or {}).get(SHAPE, NUMBER) for exp in exps), key=SHAPES.index)
        by = self._by if self._by != AUTO else default_groups(self._algorithm, shape)
        runs: dict[str, set[int]] = defaultdict(set)
        for of_run in group_by(exps, "run").values():
            units = defaultdict(list)
            for exp in sorted(of_run, key=lambda each: each.eid.step):
                units[agent_of(exp) if shape != NUMBER else ""].append(exp)
            for agent, calls in units.items():
                returns = [float(exp.reward or 0.0) for exp in calls]
                for turn, exp in enumerate(calls):
                    self._credit(exp, returns, turn, by)
                    self._place(exp, by, agent, turn)
                    runs[exp.eid.tid].add(exp.info[OF][1])
        if by == TASK or len({run for of_group in runs.values() for run in of_group}) < 2:
            return set()
        return {id(exp) for exp in exps if len(runs[exp.eid.tid]) < 2}

    def _credit(self, exp: Experience, returns: list[float], turn: int, by: str) -> None:
        info = exp.info = {**(exp.info or {}), OF: (exp.eid.task, exp.eid.run)}
        if self._algorithm in PER_ROLLOUT and by != TURN:
            exp.reward = returns[0]
        if self._algorithm in BY_STATE:
            ahead = returns[turn + 1] if turn + 1 < len(returns) else 0.0
            info["step_reward"] = returns[turn] - self._discount * ahead
            info["env_state_hash"] = f"{exp.eid.tid}/{state_of(exp)}"

    def _place(self, exp: Experience, by: str, agent: str, turn: int) -> None:
        if by == TURN:
            exp.eid.task = f"{exp.eid.task}#{agent}#{turn}"
        elif agent and by == ROLE:
            exp.eid.task = f"{exp.eid.task}#{agent}"
        elif agent:
            # Each agent of a rollout is compared with all of its task.
            exp.eid.run = f"{exp.eid.run}#{agent}"  # type: ignore[assignment]


def default_groups(algorithm: str, shape: str) -> str:
    """What algorithm.group_by=auto is for rewards of this shape.

    >>> default_groups("multi_step_grpo", "call"), default_groups("gigpo", "call")
    ('turn', 'role')
    """
    groups = takes(algorithm).groups
    if shape == BY_CALL and TURN in groups:
        return TURN
    return ROLE if shape != NUMBER and ROLE in groups else TASK


def agent_of(exp: Experience) -> str:
    """The agent that made the call; "" where it has no name."""
    return str((exp.info or {}).get(AGENT) or "")


def earns_alone(exp: Experience) -> bool:
    """Whether the call's agent has a reward of its own, apart from its rollout's."""
    return (exp.info or {}).get(SHAPE, NUMBER) != NUMBER


def state_of(exp: Experience) -> str:
    """The state that a call was made in: its whole prompt.

    A workflow whose prompts hold what the agent sees now, and not how it came there, comes back to
    states.
    """
    prompt: Any = exp.tokens[: exp.prompt_length].numpy()
    return hashlib.sha256(prompt.tobytes()).hexdigest()[:16]


def add_grouping(operators: list[Any], config: Config, options: dict[str, Any]) -> None:
    """Put it before what leaves out or compares groups.

    Args:
        operators: Of the pipeline, the algorithm's included.
        config: Whose own operators are the first of them.
        options: Of the workflow, see `translate.workflow_args`.
    """
    algorithm = config.algorithm.algorithm_type
    if takes(algorithm).shapes == (NUMBER,):
        return
    named = [each.name for each in config.data_processor.experience_pipeline.operators]
    place = next((at for at, name in enumerate(named) if name in FILTERS), len(named))
    grouping = GroupCalls(
        algorithm, options.get("group_by", AUTO), float(options.get("discount", 1.0))
    )
    operators.insert(place, grouping)
