"""How much each parameter of a sweep matters for its objective, by Optuna's PED-ANOVA.

PED-ANOVA (Watanabe et al. 2023, arXiv:2304.10255) asks in which parameters the best trials differ
from all; it says nothing of directions or of parameters acting together. Imported late: Optuna
takes a second.
"""

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rlagent.records.sweep_store import FINISHED, TrialRow

FEWEST = 8
"""With fewer finished trials the shares would be chance, and none are shown."""

BEST_SHARE = 0.25
"""Share of the trials that counts as the best ones: of eight trials, two."""


@dataclass(frozen=True)
class Importance:
    """Shares of the parameters, summing to 1, the largest first; or why there are none."""

    shares: tuple[tuple[str, float], ...] = ()
    note: str = ""


def importance(
    rows: Sequence[TrialRow], parameters: Sequence[str], direction: str = "maximize"
) -> Importance:
    """Return what the finished trials say of each parameter that differs among them.

    Args:
        rows: All trials.
        parameters: Keys in the order typed; those that only trials know follow.
        direction: maximize or minimize: which trials are the best ones.
    """
    finished = [row for row in rows if row.state == FINISHED]
    if not finished:
        return Importance(note="No trial finished.")
    done = [row for row in finished if row.objective is not None]
    done = [row for row in done if math.isfinite(row.objective or 0.0)]
    if not done:
        return Importance(note="No trial that finished has an objective.")
    names = [name for name in all_parameters(rows, parameters) if len(_values(done, name)) > 1]
    if not names:
        return Importance(note="No parameter differs between trials that finished.")
    whole = [row for row in done if all(name in row.params for name in names)]
    if len(whole) < FEWEST:
        return Importance(
            note=f"{len(whole)} finished trials with an objective are too few to tell which "
            f"parameter matters; {FEWEST} are needed."
        )
    if len({row.objective for row in whole}) < 2:
        return Importance(note="All trials have the same objective: no parameter mattered.")
    shares = _ped_anova(whole, names, direction)
    if not any(shares.values()):
        return Importance(note="The best trials do not differ from the others in any parameter.")
    note = (
        f"PED-ANOVA over {len(whole)} finished trials: in which parameters the best "
        f"{BEST_SHARE:.0%} differ from all. With few trials take it as a hint."
    )
    order = sorted(shares.items(), key=lambda item: -item[1])
    return Importance(tuple(order), note)


def all_parameters(rows: Sequence[TrialRow], parameters: Sequence[str]) -> list[str]:
    """Every key that some trial sets, those of the sweep first."""
    known = {name for row in rows for name in row.params}
    first = [name for name in parameters if name in known]
    return [*first, *sorted(known - set(first))]


def is_number(value: Any) -> bool:
    """Whether a value is a finite number; truth values are none."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def wants_log(values: Sequence[float]) -> bool:
    """Whether positive numbers span so much that they are better seen by their logarithm.

    >>> wants_log([1e-5, 1e-4]), wants_log([1, 2]), wants_log([0, 100])
    (True, False, False)
    """
    # A ratio such as 1e-4 / 1e-5 is a little less than 10.
    return min(values) > 0 and max(values) / min(values) >= 10 * (1 - 1e-9)


def _values(rows: Sequence[TrialRow], name: str) -> set[str]:
    return {repr(row.params[name]) for row in rows if name in row.params}


def _ped_anova(rows: Sequence[TrialRow], names: Sequence[str], direction: str) -> dict[str, float]:
    import optuna
    from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances

    spaces: dict[str, Any] = {}
    for name in names:
        values = [row.params[name] for row in rows]
        if name != "seed" and all(is_number(value) for value in values):
            low, high = float(min(values)), float(max(values))
            spaces[name] = optuna.distributions.FloatDistribution(low, high, log=wants_log(values))
        else:
            texts = sorted({repr(value) for value in values})
            spaces[name] = optuna.distributions.CategoricalDistribution(texts)
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        study = optuna.create_study(direction=direction)
        for row in rows:
            params = {
                name: float(row.params[name])
                if isinstance(spaces[name], optuna.distributions.FloatDistribution)
                else repr(row.params[name])
                for name in names
            }
            study.add_trial(
                optuna.create_trial(params=params, distributions=spaces, value=row.objective)
            )
        with warnings.catch_warnings():
            # Its interface may change; the range of Optuna's versions is pinned.
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            evaluator = PedAnovaImportanceEvaluator(target_quantile=BEST_SHARE)
        return dict(get_param_importances(study, evaluator=evaluator))
    finally:
        optuna.logging.set_verbosity(before)
