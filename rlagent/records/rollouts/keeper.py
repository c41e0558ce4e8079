"""Packs the rollouts of steps that ended, beside the driver, which hears what is worth saying."""

from concurrent.futures import Future, ThreadPoolExecutor

from rlagent.base.cause import cause_of
from rlagent.records.rollouts.store import RolloutStore


class Keeper:
    """The one packer of a run's rollouts; a thread of its own does the work.

    Args:
        store: The rollouts.
    """

    def __init__(self, store: RolloutStore) -> None:
        self._store = store
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="rollouts")
        self._works: list[Future[list[str]]] = []
        self._said: set[str] = set()
        self._closed = False

    def step_ended(self, step: int) -> None:
        """Pack the rollouts up to this step; returns at once."""
        self._works.append(self._thread.submit(self._keep, step))

    def news(self) -> list[str]:
        """What happened since the last call, each line once."""
        done = [work for work in self._works if work.done()]
        self._works = [work for work in self._works if work not in done]
        lines = dict.fromkeys(line for work in done for line in work.result())
        new = [line for line in lines if line not in self._said]
        self._said.update(new)
        return new

    def close(self) -> list[str]:
        """Pack all that is left, and wait for it; returns what happened, as `news`."""
        if not self._closed:
            self._closed = True
            self._works.append(self._thread.submit(self._keep, None))
        self._thread.shutdown()
        return self.news()

    def _keep(self, until: int | None) -> list[str]:
        try:
            self._store.seal(until)
        except OSError as error:
            # They can be read as they are, and the next step tries again.
            return [f"rollouts are kept uncompressed for now: {cause_of(error)}"]
        damaged, self._store.damaged = self._store.damaged, {}
        return [f"{path.name} is damaged and was set aside: {why}" for path, why in damaged.items()]
