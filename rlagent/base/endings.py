"""How a run ends without success; cause.py says it in one line. Imports nothing heavy."""

EXIT_OK, EXIT_FAILED, EXIT_CONFIG, EXIT_INTERRUPTED = 0, 1, 2, 130
"""Exit status of a run: what was asked is trained and saved; failed or stopped; wrong
configuration; Ctrl+C."""


class RunError(RuntimeError):
    """The run failed; the message is the cause in one line, the traceback is chained."""


class StallError(RunError):
    """Nothing has happened for `run.stall_timeout` seconds."""


class OutOfStepError(RunError):
    """Trainer and explorer would continue from different steps; `trainer_step` is the trainer's."""

    def __init__(self, trainer_step: int, explorer_step: int) -> None:
        super().__init__(
            f"the trainer continues from step {trainer_step} but the explorer from "
            f"{explorer_step}; start from scratch with run.fresh=true"
        )
        self.trainer_step = trainer_step


class Stopped(Exception):  # noqa: N818 - not an error: someone asked for it
    """The run was asked to stop; the message says what could not be saved, if anything."""
