"""The rows of a sweep while a launcher runs it: found by trial, and written to sweep.json.

What happens to trials, and so what their rows say, is pool.py's.
"""

import os
import socket
import time

from rlagent.base.process import start_ticks
from rlagent.records.sweep_store import RUNNING, Sweep, SweepFolder, TrialRow
from rlagent.sweep.live_table import SweepDisplay
from rlagent.sweep.source import Trial, row_of


class Rows:
    """The rows of one sweep.

    Args:
        folder: Where sweep.json is.
        sweep: The sweep; changed in place.
        display: Shows when sweep.json cannot be written.
    """

    def __init__(self, folder: SweepFolder, sweep: Sweep, display: SweepDisplay) -> None:
        self.folder, self.sweep, self.display = folder, sweep, display
        # Whether sweep.json says less than the rows.
        self.changed = True
        self._said = False
        self._rows = {row.trial_id: row for row in sweep.trials}

    def begin(self) -> None:
        """This process is the launcher now."""
        self.sweep.state, self.sweep.pid = RUNNING, os.getpid()
        self.sweep.pid_ticks, self.sweep.host = start_ticks(os.getpid()), socket.gethostname()
        self.sweep.started = self.sweep.started or time.time()

    def of(self, trial: Trial) -> TrialRow:
        """The row of a trial; a new one when it has none."""
        row = self._rows.get(trial.trial_id)
        if row is None:
            row = row_of(trial, self.folder)
            self._rows[trial.trial_id] = row
            self.sweep.trials.append(row)
        return row

    def write(self) -> bool:
        """Write sweep.json if anything changed; False when that fails, which is said once.

        Trials do not end for it: they may well fit where a full disk has room again, and the next
        call tries it again.
        """
        if not self.changed:
            return True
        try:
            self.folder.write(self.sweep)
        except OSError as error:
            if not self._said:
                path = self.folder.sweep_json
                self.display.message(f"{path} cannot be written: {error}; it is tried again")
            self._said = True
            return False
        self.changed = self._said = False
        return True

    def conclude(self, state: str) -> bool:
        """The launcher ends: write how the sweep stands; False when that fails."""
        self.sweep.state, self.sweep.pid, self.sweep.pid_ticks = state, None, None
        self.changed = True
        return self.write()
