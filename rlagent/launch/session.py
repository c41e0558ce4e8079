"""One attempt at a run on Ray: explorer and trainer actors from the first to the last step, or the
explorer alone, which measures.

It drives the actors and raises as soon as one of them fails; what the run folder and the screen
get is left to phases.py. Trinity's launcher is not used: it takes a failed actor for a finished
one.
"""

import contextlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayActorError, RayError, RayTaskError

from rlagent.base.cause import cause_in, cause_of
from rlagent.base.endings import OutOfStepError, RunError, StallError, Stopped
from rlagent.base.startup import Marks
from rlagent.launch import standstill
from rlagent.trinity.actors import create_explorer, create_trainer
from rlagent.trinity.translate import WHOLE_STEPS
from rlagent.upstream.ray_groups import remove_groups_of

TICK = 0.25
"""Seconds between two looks at the run folder while the actors work."""

GRACE = 45.0
"""Least seconds that a stop waits for the step under way and its checkpoint."""

SAVING_SPEED = 100e6
"""Bytes per second at which a checkpoint is written at least, as on a shared network disk."""

CHECKPOINT_BYTES = 12
"""Per parameter: float32 weights and Adam's two moments."""


def stop_grace(longest_step: float, parameters: int) -> float:
    """Seconds that a stop waits: twice the longest step so far, and what saving takes.

    >>> stop_grace(3.0, 1_000_000), stop_grace(100.0, 8_000_000_000)
    (45.0, 1160.0)
    """
    return max(GRACE, 2 * longest_step + parameters * CHECKPOINT_BYTES / SAVING_SPEED)


class Session:
    """The actors of one attempt.

    Args:
        config: Trinity's, checked.
        runner_processes: Processes for agent code.
        on_tick: Called every `TICK` s while waiting; returns whether anything has happened since
            its last call. May raise Stopped.
        on_phase: Called with a few words when a phase begins.
        grace: Says how many seconds a stop waits for the step under way and its checkpoint.
        stall_timeout: run.stall_timeout as set, for the cause.
        patience: Says how many seconds nothing may happen, see `standstill.patience`.
        logs: Folder of the attempt's logs.
        trains: Whether there is a trainer; without one the engines keep the weights that they
            load.
        explores: Whether there are engines and an explorer; without them the trainer learns from
            what is given.
    """

    def __init__(
        self,
        config: Any,
        runner_processes: int,
        on_tick: Callable[[], bool],
        on_phase: Callable[[str], None],
        grace: Callable[[], float],
        stall_timeout: float | str,
        patience: Callable[[], tuple[float, float]],
        logs: Path,
        trains: bool = True,
        explores: bool = True,
    ) -> None:
        self.config = config
        self.runner_processes = runner_processes
        self.on_tick = on_tick
        self.on_phase = on_phase
        self.grace = grace
        self.stall_timeout = stall_timeout
        self.patience = patience
        self.logs = logs
        self.trains = trains
        self.explores = explores
        self.explorer: Any = None
        self.trainer: Any = None
        self._queue: Any = None
        # When each part was ready, see startup.py.
        self.startup: dict[str, float] = {}

    def start(self) -> int:
        """Create the actors, load the models, and agree on the weights.

        Returns:
            The step that training continues from; 0 without a trainer.

        Raises:
            OutOfStepError: The trainer could not use its newest checkpoint.
        """
        self.on_phase("loading the model")
        marks = Marks()
        marks.mark("driver_ready")
        if self.trains:
            from rlagent.trinity.buffer import create_queue

            self._queue = create_queue(self.config)
            self.trainer = create_trainer(self.config)
        roles = {"trainer": self.trainer} if self.trains else {}
        if self.explores:
            self.explorer = create_explorer(self.config, self.runner_processes)
            roles["explorer"] = self.explorer
        steps = self._wait({name: role.prepare.remote() for name, role in roles.items()})
        if len(set(steps)) > 1:
            raise OutOfStepError(*steps)
        if self.trains and self.explores:
            self._sync_weights(marks)
            marks.mark("weights_synced")
        theirs = self._wait({name: role.startup_marks.remote() for name, role in roles.items()})
        self.startup = marks.times()
        for times in theirs:
            self.startup |= times
        return int(steps[0])

    def evaluate(self, step: int) -> dict[str, float]:
        """Measure held-out success with the newest weights, under `step`."""
        self.on_phase("measuring held-out success")
        if self.trains:
            self._wait({"explorer": self.explorer.sync_from_trainer.remote()})
        return self._wait({"explorer": self.explorer.evaluate.remote(step)})[0]

    def sample(self, groups: int) -> dict[str, Any]:
        """Roll out so many groups of training tasks, see `AgentExplorer.sample`."""
        self.on_phase("sampling training tasks")
        return self._wait({"explorer": self.explorer.sample.remote(groups)})[0]

    def train(self, asked: int) -> None:
        """Explore and train until the asked step, or until stopped.

        Raises:
            Stopped: When asked to; says what could not be saved, if anything.
            RunError: A role failed, the explorer also after the last step of the trainer, or fewer
                steps were trained.
        """
        self.on_phase("training")
        refs = {"explorer": self.explorer.explore.remote()} if self.explores else {}
        refs["trainer"] = self.trainer.train.remote()
        try:
            trained = self._wait(refs, until="trainer")[-1]
        except Stopped:
            raise Stopped(self._stop_training(refs["trainer"])) from None
        if trained < asked:
            raise RunError(
                f"{trained} of the {asked} asked steps were trained; the tasks ended before"
            )
        if self.config.algorithm.sample_strategy == WHOLE_STEPS:
            # It explored the same steps, and can still fail at what it has left to do. With batches
            # of a fixed number some steps may be left over, not trained on.
            self._wait({"explorer": refs["explorer"]})

    def close(self) -> None:
        """End the actors, and with them those that they made; their GPUs are free for others."""
        actors = [each for each in (self.explorer, self.trainer, self._queue) if each is not None]
        for actor in actors:
            with contextlib.suppress(RayError):
                ray.kill(actor)
        # A lost Ray cannot remove them; the run's cause stays what ended it.
        with contextlib.suppress(RayError):
            remove_groups_of.apply(actors)
        # It outlives its creators for a while, under a name that the next attempt needs.
        with contextlib.suppress(ValueError, RayError):
            ray.kill(ray.get_actor("synchronizer", namespace=self.config.ray_namespace))

    def _sync_weights(self, marks: Marks) -> None:
        if self.config.synchronizer.sync_method.value == "nccl":
            from trinity.manager.synchronizer import Synchronizer

            synchronizer = Synchronizer.get_actor(namespace=self.config.ray_namespace)
            self._wait({"synchronizer": synchronizer.coordinate_weight_sync_setup.remote()})
            marks.mark("sync_group")
            self._wait(
                {
                    "explorer": self.explorer.sync_weight.remote(),
                    "trainer": self.trainer.sync_weight.remote(),
                }
            )
            return
        # One after the other: side by side, a resumed explorer takes the base weights.
        self._wait({"trainer": self.trainer.sync_weight.remote()})
        self._wait({"explorer": self.explorer.sync_weight.remote()})

    def _stop_training(self, training: Any) -> str:
        """Let the step under way end with a checkpoint; returns why there is none, or ''."""
        seconds = self.grace()
        self.on_phase(
            "stopping: the step under way ends, then its checkpoint is written "
            f"({seconds:.0f} s at most)"
        )
        self.trainer.request_stop.remote()
        until = time.monotonic() + seconds
        done: list[Any] = []
        while not done and time.monotonic() < until:
            done, _ = ray.wait([training], timeout=TICK)
            # Rows of the step under way are shown, and a lost Ray is noticed.
            self.on_tick()
        if not done:
            return f"the step under way took longer than {seconds:.0f} s and was not saved"
        try:
            _result("trainer", training)
        except RunError as error:
            return f"the step under way was not saved: {error}"
        return ""

    def _wait(self, refs: dict[str, Any], until: str | None = None) -> list[Any]:
        """Wait for results while ticking.

        Args:
            refs: Results to wait for, by the role that makes them.
            until: The role whose result ends the wait; None: all.

        Returns:
            The results, in order; None for those not waited for.

        Raises:
            RunError: The first failure, whichever role it comes from.
        """
        results: dict[str, Any] = {}
        pending = dict(refs)
        quiet_since = time.monotonic()
        while pending:
            done, _ = ray.wait(list(pending.values()), timeout=TICK)
            if self.on_tick() or done:
                quiet_since = time.monotonic()
            for role, ref in list(pending.items()):
                if ref in done:
                    results[role] = _result(role, ref)
                    del pending[role]
            if until in results:
                break
            self._fail_if_stalled(list(pending), time.monotonic() - quiet_since)
        self.on_tick()
        return [results.get(role) for role in refs]

    def _fail_if_stalled(self, waiting: list[str], quiet: float) -> None:
        of_one, of_all = self.patience()
        if quiet <= of_one:
            return
        # Starting writes no rows, but a role that goes on to the next thing does not stand still.
        quiet = min(quiet, standstill.seconds_since_change(self.logs, time.time()))
        if quiet <= of_one:
            return
        if quiet > of_all or standstill.is_stuck(self.logs, time.time()):
            key = f"run.stall_timeout={self.stall_timeout}"
            cause = standstill.words(waiting, quiet, self.logs, key)
            standstill.log_stacks(self.logs)
            raise StallError(cause)


def _result(role: str, ref: Any) -> Any:
    try:
        return ray.get(ref)
    except RayTaskError as error:
        raise RunError(f"{role}: {cause_of(error)}") from error
    except RayActorError as error:
        if "error raised in its creation task" in str(error):
            # The constructor raised; the message ends with its traceback.
            raise RunError(f"{role}: {cause_in(str(error))}") from error
        raise RunError(
            f"{role}: its process died (killed, crashed or out of memory): {cause_of(error)}"
        ) from error
    except RayError as error:
        raise RunError(f"{role}: {cause_of(error)}") from error
