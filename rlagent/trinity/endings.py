"""How a run ends other than well, and how an exception reads in one line. Imports nothing heavy."""

EXIT_OK, EXIT_FAILED, EXIT_CONFIG, EXIT_INTERRUPTED = 0, 1, 2, 130
"""Exit status of a run: what was asked is trained and saved; failed or stopped; wrong
configuration; Ctrl+C."""


class RunError(RuntimeError):
    """The run failed; the message is the cause in one line, the traceback is chained."""


class StallError(RunError):
    """Nothing has happened for `run.stall_timeout` seconds."""


class OutOfStepError(RunError):
    """Trainer and explorer would continue from different steps; `trainer_step` is the former's."""

    def __init__(self, trainer_step: int, explorer_step: int) -> None:
        super().__init__(
            f"the trainer continues from step {trainer_step} but the explorer from "
            f"{explorer_step}; start anew with run.fresh=true"
        )
        self.trainer_step = trainer_step


class Stopped(Exception):  # noqa: N818 - not an error: someone asked for it
    """The run was asked to stop; the message says what could not be saved, if anything."""


def one_line(error: BaseException) -> str:
    """An exception as one line: its own words, with its type where they say little.

    >>> one_line(ValueError("bad"))
    'ValueError: bad'
    """
    cause = getattr(error, "cause", None)
    if isinstance(cause, BaseException):
        error = cause
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = lines[0] if lines else ""
    name = type(error).__name__
    if name.startswith("RayTaskError("):
        name = name[len("RayTaskError(") : -1]
        # Ray puts the remote traceback into the message; its last line is the exception.
        return lines[-1] if lines else name
    if name == "RolloutFailedError":
        return text
    return f"{name}: {text}" if text else name
