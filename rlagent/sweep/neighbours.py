"""What trials of other sweeps on this machine have: two launchers must not give it out twice.

Read from the sweep folders beside this one, where each launcher notes what its trials have. What
follows from it is the ledger's to say.
"""

import contextlib
import socket
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from rlagent.base import process
from rlagent.base.lock import is_locked, locked
from rlagent.records.find import sweep_folders
from rlagent.records.folder import is_driven
from rlagent.records.sweep_store import SWEEP_JSON, Sweep, SweepFolder, TrialRow
from rlagent.sweep.source import Need

Held = tuple[str, Sequence[str] | None, Need]
"""Of one trial: the name of its sweep, the ids of its GPUs (None: they are not known, and may be
any), and what it takes."""


class Neighbours:
    """The other sweeps of a run.dir.

    Args:
        folder: Of this sweep.
    """

    def __init__(self, folder: SweepFolder) -> None:
        self._folder = folder
        # By path: which file that was, and the sweep with the rows that have something.
        self._known: dict[Path, tuple[tuple[int, int], Sweep]] = {}

    @contextlib.contextmanager
    def kept_out(self) -> Iterator[bool]:
        """Keep the other launchers from giving out anything, to look and to note in one go.

        False when one of them does so now: its note is not there yet, so what is free is not known.
        """
        root = self._folder.path.parent
        root.mkdir(parents=True, exist_ok=True)
        with locked(root) as lock:
            yield lock is not None

    def held(self, ours: Collection[str]) -> list[Held]:
        """Return what each trial of theirs has now.

        Args:
            ours: Ids of trials that this launcher runs: what a killed one noted of them is past.
        """
        found: list[Held] = []
        # Whichever was written last: what a trial waits for is said in the same order every time.
        for folder in sorted(sweep_folders(self._folder.path.parent), key=lambda each: each.path):
            if folder.path == self._folder.path:
                continue
            try:
                found += self._held_in(folder, ours)
            except FileNotFoundError:
                # Removed meanwhile.
                self._known.pop(folder.path, None)
            except (OSError, ValueError, TypeError, KeyError):
                # Damaged, forbidden, or written by another version. Trials end with their
                # launcher, and that one holds its folder as long as it lives.
                self._known.pop(folder.path, None)
                if is_locked(folder.path):
                    name = f"{folder.name} (its {SWEEP_JSON} cannot be read)"
                    found.append((name, None, Need(0, 0, 0.0)))
        return found

    def _held_in(self, folder: SweepFolder, ours: Collection[str]) -> list[Held]:
        stat = folder.sweep_json.stat()
        # Each write makes a file of its own; two may fall within one tick of the clock.
        written = stat.st_ino, stat.st_mtime_ns
        if folder.path not in self._known or self._known[folder.path][0] != written:
            sweep = folder.read()
            sweep.trials = [row for row in sweep.trials if row.gpu_ids or row.cores]
            self._known[folder.path] = written, sweep
        sweep = self._known[folder.path][1]
        if not sweep.trials or sweep.host != socket.gethostname():
            return []
        # A trial that was just started has no status yet, but its launcher lives.
        launched = bool(sweep.pid) and process.is_same(sweep.pid or 0, sweep.pid_ticks)
        return [
            (folder.name, row.gpu_ids, Need(len(row.gpu_ids), row.cores, row.memory_gib))
            for row in sweep.trials
            if row.trial_id not in ours and (launched or _is_driven(folder, row))
        ]


def _is_driven(folder: SweepFolder, row: TrialRow) -> bool:
    return is_driven(folder.run_folder(row).read_status())
