"""What the phases of one attempt share: its run folder, its screen, and how it can end.

The phases themselves are in phases.py; which of them an attempt takes is driver.py's, or another
command's.
"""

import contextlib
import logging
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rlagent.base.cause import cause_of
from rlagent.base.endings import (
    EXIT_CONFIG,
    EXIT_FAILED,
    EXIT_INTERRUPTED,
    EXIT_OK,
    RunError,
    Stopped,
)
from rlagent.base.errors import ConfigError, UnreachableError
from rlagent.base.startup import Marks
from rlagent.config.resolve import Resolved
from rlagent.launch.head import Head
from rlagent.launch.signals import Signals
from rlagent.launch.watch import Watch
from rlagent.records.display import Display
from rlagent.records.folder import Attempt, RunFolder


@dataclass(frozen=True)
class Functions:
    """Workflow and judge as objects; None: the configuration names them."""

    workflow: Callable[..., Any] | None = None
    judge: Callable[..., Any] | None = None


@dataclass
class Stage:
    """One attempt in its folder.

    Args:
        resolved: What runs.
        folder: Where everything that the attempt writes goes.
        display: What it says.
        functions: Workflow and judge.
        signals: What asks it to stop.
        attempt: The attempt, whose folder is made.
        watch: Follows what the actors write.
        marks: When each part of the start was there.
        head: Of the Ray in use, once there is one.
    """

    resolved: Resolved
    folder: RunFolder
    display: Display
    functions: Functions = Functions()
    signals: Signals = field(default_factory=Signals)
    attempt: Attempt = field(init=False)
    watch: Watch = field(init=False)
    marks: Marks = field(default_factory=Marks)
    head: Head | None = None

    def __post_init__(self) -> None:
        self.attempt = self.folder.new_attempt()
        self.watch = Watch(self.resolved, self.folder, self.attempt, self.display, self.signals)

    @property
    def is_native(self) -> bool:
        """Whether a native Trinity YAML is run."""
        return bool(getattr(self.resolved.composed, "native", None))

    def tick(self) -> bool:
        """As `Watch.tick`; also raises LostRayError."""
        if self.head is not None:
            self.head.check()
        return self.watch.tick()

    def head_is_lost(self) -> bool:
        """Whether the Ray in use is gone: no call of it returns any more."""
        return self.head is not None and bool(self.head.lost())

    @contextlib.contextmanager
    def logged(self) -> Iterator[None]:
        """Have what this process logs in the attempt's driver.log."""
        log = _log_to(self.attempt.driver_log)
        try:
            yield
        finally:
            logging.getLogger().removeHandler(log)
            log.close()


def guarded(phases: Callable[[], None], signals: Signals) -> tuple[str, int, str]:
    """Run the phases of an attempt.

    Returns:
        State, exit code and cause in one line, whichever way they end.
    """
    from rlagent.launch.ray_cluster import restored_environment

    try:
        with restored_environment():
            phases()
    except Stopped as stopped:
        lost = f"; {stopped}" if str(stopped) else ""
        if signals.interrupted:
            return "interrupted", EXIT_INTERRUPTED, f"interrupted (Ctrl+C){lost}"
        how = " (SIGHUP: its terminal closed)" if signals.hung_up else ""
        return "stopped", EXIT_FAILED, f"stopped on request{how}{lost}"
    except KeyboardInterrupt:
        cause = "interrupted twice; the step under way was not saved"
        return "interrupted", EXIT_INTERRUPTED, cause
    except ConfigError as error:
        logging.getLogger("rlagent").error(traceback.format_exc())
        code = EXIT_FAILED if isinstance(error, UnreachableError) else EXIT_CONFIG
        return "failed", code, "; ".join(str(problem) for problem in error.problems)
    except RunError as error:
        logging.getLogger("rlagent").error(traceback.format_exc())
        return "failed", EXIT_FAILED, str(error)
    # Whatever else goes wrong in the driver ends the run too, with its cause in status.json.
    except Exception as error:
        logging.getLogger("rlagent").error(traceback.format_exc())
        return "failed", EXIT_FAILED, f"driver: {cause_of(error)}"
    return "finished", EXIT_OK, ""


def _log_to(path: Path) -> logging.Handler:
    path.parent.mkdir(parents=True, exist_ok=True)
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(name)s %(levelname)s %(message)s"))
    logging.getLogger().addHandler(handler)
    return handler
