"""The signal of an experiment without a run: what `rlagent doctor --signal` rolls out.

Takes the phases of a training up to its first step, in a folder that is gone afterwards.
"""

import tempfile

from rlagent.base.endings import EXIT_OK
from rlagent.config.resolve import Resolved
from rlagent.launch import phases
from rlagent.launch.epochs import with_steps
from rlagent.launch.stage import Stage, guarded
from rlagent.records.display import make_display
from rlagent.records.folder import RunFolder


def sample(resolved: Resolved) -> str:
    """Roll out a sample with the base model and say what signal it holds.

    Returns:
        Why it could not, in one line; empty: it could.
    """
    resolved = with_steps(resolved)
    with tempfile.TemporaryDirectory(prefix="signal-", ignore_cleanup_errors=True) as place:
        folder = RunFolder(place)
        folder.make()
        stage = Stage(resolved, folder, make_display("plain"))
        with stage.logged(), stage.signals:
            _, exit_code, cause = guarded(lambda: _phases(stage), stage.signals)
    return cause if exit_code != EXIT_OK else ""


def _phases(stage: Stage) -> None:
    phases.require_surroundings(stage.resolved.config.workflow.requires)
    restored = phases.restore(stage)
    with phases.connect(stage, restored.tree, lambda cause: None):
        config = phases.configure(stage, restored.tree)
        with phases.actors(stage, config) as (session, _):
            phases.preflight(stage, session)
