"""What a continued search takes from Optuna beside its interface."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rlagent.upstream.patch import Relies, patch

if TYPE_CHECKING:
    import optuna

LIBRARY = "optuna"
VERSIONS = ">=4.5,<5"
SOURCE = "https://github.com/optuna/optuna/blob/v4.9.0/optuna"


@patch(
    LIBRARY,
    VERSIONS,
    f"{SOURCE}/trial/_frozen.py#L177",
    "Optuna hands out a trial that is under way in its storage",
    [
        Relies("optuna.trial._frozen:FrozenTrial._trial_id"),
        Relies("optuna.trial._trial:Trial", "self, study, trial_id"),
    ],
)
def taken_up(study: "optuna.Study", trial: "optuna.trial.FrozenTrial") -> "optuna.Trial":
    """A trial that a launcher has left running, to report values and the end to."""
    import optuna

    return optuna.Trial(study, trial._trial_id)


@patch(
    LIBRARY,
    VERSIONS,
    f"{SOURCE}/study/study.py#L931",
    "Optuna offers the values of a waiting trial",
    [
        Relies("optuna.study.study:Study.enqueue_trial", None, '"fixed_params"'),
        Relies("optuna.trial._frozen:FrozenTrial.system_attrs", "self"),
    ],
)
def waiting_values(trial: "optuna.trial.FrozenTrial") -> Mapping[str, Any]:
    """The values that an enqueued trial will get; empty: none were chosen."""
    return trial.system_attrs.get("fixed_params", {})
