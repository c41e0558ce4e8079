"""Notes with the recorded rollouts what their group came to: the advantages trained on.

Of algorithms whose advantages are those of a group, which Trinity works out beside the explorer;
a trainer that works them out itself leaves none.
"""

from typing import Any

from trinity.buffer.operators.experience_operator import ExperienceOperatorV1
from trinity.common.experience import Experience

from rlagent.base.rollout_of import rollout_of
from rlagent.records.rollouts import Batch, RolloutStore


class NoteAdvantages(ExperienceOperatorV1):
    """The last operator of a step's experiences, which leaves them as they are.

    Args:
        store: The rollouts of the run.
    """

    def __init__(self, store: RolloutStore) -> None:
        self._store = store

    async def process(self, exps: list[Experience]) -> tuple[list[Experience], dict]:
        """Add `advantages` to the rollouts that the experiences are of."""
        found: dict[Batch, dict[tuple[Any, int], dict[int, Any]]] = {}
        for exp in exps:
            if exp.advantages is None:
                continue
            batch = found.setdefault(Batch(int(exp.eid.batch), "train"), {})
            batch.setdefault(rollout_of(exp), {})[exp.eid.step] = _of_call(exp)
        for of_step, rollouts in found.items():
            self._store.join(
                of_step,
                [
                    {"group": group, "run": run, "advantages": _in_order(calls)}
                    for (group, run), calls in rollouts.items()
                ],
            )
        return exps, {}


def _of_call(exp: Experience) -> float | list[float] | None:
    """One number, or one for each token of the answer where they differ; None: all are masked."""
    # One algorithm of Trinity's gives a single number where there is no mask.
    values = [round(value, 4) for value in exp.advantages.reshape(-1).tolist()]
    mask = exp.action_mask.tolist() if exp.action_mask is not None else []
    mask = mask if len(mask) == len(values) else [1] * len(values)
    trained = {value for value, counts in zip(values, mask, strict=True) if counts}
    if not trained:
        return None
    return trained.pop() if len(trained) == 1 else values


def _in_order(calls: dict[int, Any]) -> list[Any]:
    """By call of the model; None of one that is not trained on."""
    return [calls.get(number) for number in range(max(calls) + 1)]
