"""Any environment of gymnasium by its id, as an environment of this package."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rlagent.environments.protocol import Step


class Gymnasium:
    """An environment of gymnasium.

    Args:
        id: As `gymnasium.make` takes it, such as `CartPole-v1`.
        actions: Names of a discrete environment's actions, in their order; none: an action is given
            as the environment takes it.
        show: What the model sees instead of an observation: called with the environment
            (`unwrapped`) and the observation.
        options: Further arguments of `gymnasium.make`.
    """

    def __init__(
        self,
        id: str,
        actions: Sequence[str] = (),
        show: Callable[[Any, Any], Any] | None = None,
        **options: Any,
    ) -> None:
        # Imported where it is used: composing a configuration must not need it.
        import gymnasium

        self._environment = gymnasium.make(id, **options)
        self._actions = list(actions)
        self._show = show or (lambda _, observation: observation)

    def reset(self, seed: int | None = None, options: Mapping[str, Any] | None = None) -> Step:
        """Begin an episode; `options` are the environment's own."""
        observation, info = self._environment.reset(
            seed=seed, options=None if options is None else dict(options)
        )
        return Step(self._show(self._environment.unwrapped, observation), info=info)

    def step(self, action: Any) -> Step:
        """Act once; an episode that was cut off is over too, which `info["truncated"]` says.

        Raises:
            ValueError: The action has none of the names.
        """
        if self._actions:
            if action not in self._actions:
                raise ValueError(f"the action {action!r} is none of {', '.join(self._actions)}")
            action = self._actions.index(action)
        observation, reward, terminated, truncated, info = self._environment.step(action)
        return Step(
            self._show(self._environment.unwrapped, observation),
            float(reward),
            bool(terminated or truncated),
            {**info, "truncated": bool(truncated)},
        )

    def close(self) -> None:
        """Close it."""
        self._environment.close()
