"""Packs the rollouts of steps that ended and keeps all of them within their bound on disk.

It works beside the driver, which hears what is worth saying.
"""

import math
from concurrent.futures import Future, ThreadPoolExecutor

from rlagent.base.cause import cause_of
from rlagent.records.rollouts.row import Batch
from rlagent.records.rollouts.store import RolloutStore
from rlagent.records.rollouts.thin import next_step


class Keeper:
    """The one packer of a run's rollouts; a thread of its own does the work.

    Args:
        store: The rollouts.
        gib: Room that they may take, packed, in GiB.
    """

    def __init__(self, store: RolloutStore, gib: float = math.inf) -> None:
        self._store = store
        self._gib = gib
        # Batches that cannot be made smaller, once they had to be looked at.
        self._thinned: set[Batch] | None = None
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
            lines = self._thin()
        except OSError as error:
            # They can be read as they are, and the next step tries again.
            return [f"rollouts are kept uncompressed for now: {cause_of(error)}"]
        damaged, self._store.damaged = self._store.damaged, {}
        return lines + [f"rollouts: {path.name} is damaged: {why}" for path, why in damaged.items()]

    def _thin(self) -> list[str]:
        lines = []
        while sum((sizes := self._store.sealed()).values()) > self._gib * 2**30:
            if self._thinned is None:
                # Some were thinned by earlier attempts.
                for _ in self._store.heads():
                    pass
                self._thinned = set(self._store.thinned)
            step = next_step(sizes, self._thinned)
            if step is None:
                break
            self._store.thin(step.batch, step.keep)
            self._thinned.add(step.batch)
            lines.append(f"rollouts fill run.rollouts_gib={self._gib:g}: {step.words}")
        return lines
