"""Trials whose process another launcher left, or a person started: what they hold until they end.

Such a process is waited for, never ended; what may start beside it is the ledger's to say. One that
has written its final status still locks its run folder for a while: only that lock shows it.
"""

import os
import selectors
from collections.abc import Callable, Iterator

from rlagent.base.lock import is_locked
from rlagent.base.process import open_recorded
from rlagent.base.words import short_path
from rlagent.records.folder import RunFolder, is_driven
from rlagent.records.sweep_store import SweepFolder, TrialRow
from rlagent.sweep.shares import Ledger
from rlagent.sweep.source import Need

NOTHING = Need(0, 0, 0.0)


class Orphans:
    """Trials driven by others, each by the descriptor that signals its end, or by its run folder.

    Args:
        ledger: Where what they have counts as taken.
        selector: Where their ends are waited for.
        ended: Called with the descriptor of one that has ended; it calls `end`.
    """

    def __init__(
        self, ledger: Ledger, selector: selectors.BaseSelector, ended: Callable[[int], None]
    ) -> None:
        self._ledger, self._selector, self._ended = ledger, selector, ended
        self._rows: dict[int, TrialRow] = {}
        # By trial, in words; also of those whose process is not known.
        self._drivers: dict[str, str] = {}
        # Those whose process is not known: until their run folder is unlocked.
        self._locked: dict[str, tuple[TrialRow, RunFolder]] = {}

    def __len__(self) -> int:
        return len(self._drivers)

    def take_over(self, folder: SweepFolder, rows: list[TrialRow]) -> Iterator[str]:
        """Hold what processes of earlier launchers still have; yields a line about each.

        Also of trials that nobody asks for this time. What a row says that it has counts only
        while its process lives: a killed launcher released nothing.
        """
        for row in rows:
            need = Need(len(row.gpu_ids), row.cores, row.memory_gib)
            if need == NOTHING:
                continue
            driver = self._hold(row, folder.run_folder(row), need)
            if not driver:
                row.let_go()
                continue
            gpus = f", on GPU{'' if len(row.gpus) == 1 else 's'} {_listed(row)}" if row.gpus else ""
            yield f"{driver}, left from before, still runs trial {row.number + 1}{gpus}"

    def waits_for(self, row: TrialRow, run: RunFolder, need: Need) -> str:
        """What a trial that another process runs has to wait for, in words; empty when none does.

        Args:
            row: The trial's.
            run: Its run folder.
            need: What it takes. Which GPUs a process has that no launcher of this sweep started
                is not known, so only its cores and memory count.
        """
        driver = self._drivers.get(row.trial_id)
        driver = driver or self._hold(row, run, Need(0, need.cores, need.memory_gib))
        return f"{driver}, which runs it already, to end" if driver else ""

    def look(self) -> bool:
        """Release what trials with an unlocked run folder held; return whether there was one."""
        free = [row for row, run in self._locked.values() if not is_locked(run.path)]
        for row in free:
            del self._locked[row.trial_id]
            self._let_go(row)
        return bool(free)

    def end(self, descriptor: int) -> TrialRow:
        """Release what one held that has ended; returns its row."""
        self._selector.unregister(descriptor)
        os.close(descriptor)
        row = self._rows.pop(descriptor)
        self._let_go(row)
        return row

    def close(self) -> None:
        """Wait for none of them any more."""
        for descriptor in self._rows:
            os.close(descriptor)
        self._rows, self._drivers, self._locked = {}, {}, {}

    def _hold(self, row: TrialRow, run: RunFolder, need: Need) -> str:
        """Count a trial as taken if a process drives it; returns that process in words."""
        found = _driver(run)
        if found is not None:
            pid, descriptor = found
            self._rows[descriptor], driver = row, f"process {pid}"
            self._selector.register(descriptor, selectors.EVENT_READ, self._ended)
        elif is_locked(run.path):
            self._locked[row.trial_id] = row, run
            driver = f"a process that holds {short_path(run.path)}"
        else:
            return ""
        self._drivers[row.trial_id] = driver
        self._ledger.take_these(row.trial_id, row.gpu_ids, need)
        return driver

    def _let_go(self, row: TrialRow) -> None:
        del self._drivers[row.trial_id]
        self._ledger.give_back(row.trial_id)
        row.waits_for = ""
        row.let_go()


def _driver(run: RunFolder) -> tuple[int, int] | None:
    """The process that drives a run here, and a descriptor of it; None when none does."""
    status = run.read_status()
    pid: int | None = status.get("pid")
    descriptor = open_recorded(pid, lambda: is_driven(status))
    return None if pid is None or descriptor is None else (pid, descriptor)


def _listed(row: TrialRow) -> str:
    return ", ".join(map(str, row.gpus))
