"""Names that runs measure under, and whether `sweep.metric` can be one of them.

What an evaluation measures is known whole, but for what the workflow reports, which must stand in
its file. Elsewhere algorithms and Trinity add names of their own too, so that only a slip in a name
that is known is refused.
"""

from rlagent.base.errors import Problem
from rlagent.base.measures import ASKED, COUNTED, OURS, SPREAD, WORKFLOW
from rlagent.base.names import is_one_slip, nearest
from rlagent.config.functions import NotFoundError, locate
from rlagent.config.mix import parts_of
from rlagent.config.schema import LearnConfig
from rlagent.config.supervised import is_supervised

KEY = "sweep.metric"
EVALUATED = "eval/"
"""What metrics measured on held-out tasks begin with."""

LOSS = "eval/loss"
"""Of held-out conversations, where those are learnt from."""

_SPREAD = tuple(SPREAD)
_USUAL = ("valid", "accuracy")
"""Of workflows: what the shipped one reports."""
_HELD_OUT = (*OURS, *COUNTED, *_USUAL)
_ROLLOUT = (*OURS, *_USUAL)
_TIMES = (
    *("step", "rollout", "agent", "generation", "explore_step", "explorer_sync", "eval"),
    *("train_step", "trainer_step", "read_experience", "old_log_prob", "ref", "adv"),
    *("update_actor", "sync_weight", "save_checkpoint", "startup", "start_to_first_step"),
)
_ACTOR = (
    *("entropy", "entropy_loss", "final_loss", "grad_norm", "lr", "pg_clipfrac", "pg_loss"),
    *("ppo_kl", "skipped_updates", "updates", "sft_loss"),
)
_OFF_POLICY = (
    *("weight/mean", "weight/max", "ess", "truncated", "masked"),
    *("kl/behaviour_proximal", "kl/proximal_current", "lag/mean", "lag/max"),
)

KNOWN = (
    LOSS,
    *(f"{EVALUATED}{name}" for name in _HELD_OUT),
    *(f"rollout/{name}/{part}" for name in _ROLLOUT for part in _SPREAD),
    *("rollout/rollouts", "rollout/failed_share", "rollout/experiences", "rollout/model_version"),
    *("rollout/groups", "rollout/dead_share", "rollout/group_std", "rollout/refilled_groups"),
    *(f"time/{name}" for name in _TIMES),
    *(
        "tokens/per_second",
        "tokens/generated",
        "tokens/trained",
        "tokens/computed",
        "tokens/merged",
    ),
    *("idle/rollout", "idle/trainer", "perf/time_per_step", "perf/total_num_tokens"),
    *("perf/mfu/actor", "perf/mfu/rollout", "perf/mfu/trainer"),
    *(f"actor/{name}" for name in _ACTOR),
    *(f"critic/{name}/{part}" for name in ("score", "rewards", "advantages") for part in _SPREAD),
    *(f"{name}/{part}" for name in ("prompt_length", "response_length") for part in _SPREAD),
    *(f"off_policy/{name}" for name in _OFF_POLICY),
    *("sample/experiences", "sample/lag", "sample/lag/max", "sample/turns_apart"),
    *("training/rollout_probs_diff_mean", "training/rollout_probs_diff_max"),
)
"""Every name of an evaluation, and of the others those that the run itself writes."""


def metric_problems(config: LearnConfig, workflow_given: bool = False) -> list[Problem]:
    """Return why no run can measure what trials are to be compared by.

    Args:
        config: The composed configuration.
        workflow_given: Whether the workflow is passed as a function, so that its source is not
            known here.
    """
    name = config.sweep.metric
    if name in KNOWN and (name != LOSS or is_supervised(config)):
        return []
    if name.startswith(EVALUATED):
        return _evaluated_problems(config, name, workflow_given)
    # Without its group, or without saying which of a step's values is meant.
    meant = [item for item in (f"{EVALUATED}{name}", f"{name}/mean") if item in KNOWN]
    meant += [item for item in KNOWN if is_one_slip(name, item)]
    own = _own(name)
    if not meant or (own and _may_return(own, config, workflow_given)):
        return []
    remedy = f"did you mean {meant[0]}?"
    if own:
        remedy += f" {_in_its_file(own)}"
    return [Problem(KEY, name, "no run measures it", remedy)]


def _evaluated_problems(config: LearnConfig, name: str, workflow_given: bool) -> list[Problem]:
    rest = name.removeprefix(EVALUATED)
    if config.dataset.mix:
        # Of each taskset too.
        names = {part.dataset.name for part in parts_of(config.dataset)}
        of, _, within = rest.partition("/")
        rest = within if of in names else rest
    own = _without_spread(rest)
    if rest in _HELD_OUT or _may_return(own, config, workflow_given):
        return []
    near = nearest(rest, _HELD_OUT)
    remedy = f"did you mean {EVALUATED}{near}?" if near else ""
    message = f"no evaluation measures it; of eval/ there are {', '.join(_HELD_OUT)}"
    return [Problem(KEY, name, message, f"{remedy} {_in_its_file(own)}".strip())]


def _in_its_file(own: str) -> str:
    return f"If the workflow returns it, write '{own}' in its file"


def _without_spread(name: str) -> str:
    own, _, part = name.rpartition("/")
    return own if own and part in (*SPREAD, *ASKED) else name


def _own(name: str) -> str:
    """Return NAME of rollout/NAME/mean where only a workflow may measure it, else nothing."""
    family, _, rest = name.partition("/")
    own, _, part = rest.rpartition("/")
    return own if family == "rollout" and part in _SPREAD and own not in _ROLLOUT else ""


def _may_return(own: str, config: LearnConfig, workflow_given: bool) -> bool:
    """Whether the name stands in the file of the workflow or of its judge, or none is found."""
    if workflow_given:
        return True
    # Kept so where the name is one of ours, or the workflow's too.
    own = own.removeprefix(WORKFLOW).removeprefix("judge/")
    for reference in filter(None, (config.workflow.function, config.workflow.judge)):
        try:
            source = locate(reference).file.read_text(encoding="utf-8")
        except NotFoundError:
            # Reported as a mistake of the workflow.
            return True
        if f'"{own}"' in source or f"'{own}'" in source:
            return True
    return False
