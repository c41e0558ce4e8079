"""Hands metric rows to one W&B run, which every attempt of a trial continues.

Runs in the mirror's process, where it may fail or hang without harm. W&B keeps history by
appending, so what was sent stays: an attempt that repeats steps does not send them again.
"""

import json
import shlex
import shutil
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import wandb

from rlagent.base.cause import text_of
from rlagent.base.texts import encodable_tree
from rlagent.base.words import python_command, short_path
from rlagent.config.wandb_names import fitting
from rlagent.records.failures import KILLED, classify
from rlagent.records.files import write_atomically
from rlagent.records.folder import DIED, RunFolder
from rlagent.records.objective import objective, state_when_pruned
from rlagent.records.sweep_store import FAILED, PRUNED, STOPPED
from rlagent.records.wandb_access import key_source
from rlagent.upstream import wandb as wandb_patches

SUMMARY = (
    "state",
    "cause",
    "exit_code",
    "steps_asked",
    "steps_trained",
    "success_before",
    "success_after",
    "valid_before",
    "valid_after",
    "attempt",
)
"""Fields of status.json that the W&B summary shows."""


def open_wandb(
    spec: dict[str, Any], folder: RunFolder, problem: Callable[[str], None]
) -> tuple["WandbSink", int]:
    """Open or continue the W&B run; offline where W&B refuses anything, with a line about it.

    Returns:
        The sink, and how many bytes of metrics.jsonl W&B holds already.
    """
    sent = settle_offline(folder)
    mode = spec["mode"]
    if mode == "online" and key_source() is None:
        # wandb would stop to ask for a key.
        problem("no key was found, so this run is kept offline; set WANDB_API_KEY")
        mode = "offline"
    fits, lines = fitting(spec)
    for line in lines:
        problem(line)
    run, mode = _open_run(fits, folder, mode, problem)
    return WandbSink(run, folder, mode, sent, spec.get("metric") or ""), sent


def reopen_offline(
    spec: dict[str, Any], folder: RunFolder, problem: Callable[[str], None]
) -> tuple["WandbSink", int]:
    """Open the run again after W&B has failed in its midst; returns as `open_wandb`.

    What was sent online stays there: `rlagent sync` adds the rest under the same id.
    """
    _tear_down()
    return open_wandb({**spec, "mode": "offline"}, folder, problem)


def _open_run(
    spec: dict[str, Any], folder: RunFolder, mode: str, problem: Callable[[str], None]
) -> tuple[Any, str]:
    """Open the run as asked, else offline, else with nothing that W&B could refuse.

    Returns:
        The run, and online or offline.

    Raises:
        Exception: The first reason, when not even that can be opened.
    """
    bare = {**spec, "project": "rlagent", "name": spec["id"], "group": None, "tags": []}
    ways = [(spec, mode), (spec, "offline"), (bare, "offline")]
    first: Exception | None = None
    for options, how in ways if mode == "online" else ways[1:]:
        if first is not None:
            _tear_down()
        try:
            run = _init(options, folder, how)
        # wandb raises its own errors, pydantic's, the network's, the operating system's.
        except Exception as error:
            first = first or error
            continue
        if first is not None:
            name = f" as {spec['id']} in the project rlagent" if options is bare else ""
            problem(f"this run could not be opened ({text_of(first)}); it is kept offline{name}")
        return run, how
    assert first is not None
    raise first


def _tear_down() -> None:
    """End wandb's service, which still holds the id of the run that failed."""
    try:
        wandb.teardown()
    # Of a service that died it raises whatever the broken connection does, or exits.
    except (Exception, SystemExit):
        traceback.print_exc()


def _init(spec: dict[str, Any], folder: RunFolder, mode: str) -> Any:
    settings = wandb.Settings(
        init_timeout=spec["init_timeout"],
        console="off",
        silent=True,
        disable_git=True,
        disable_code=True,
        disable_job_creation=True,
        **wandb_patches.unasked_for.apply(spec["system_stats"]),
    )
    options: dict[str, Any] = {
        "project": spec["project"],
        "entity": spec["entity"],
        "id": spec["id"],
        "name": spec["name"],
        "group": spec["group"],
        "tags": list(spec["tags"]) or None,
        "config": {**spec["config"], "derived": spec["derived"]},
        "dir": str(folder.path),
        "mode": mode,
        # Offline there is nothing to resume from, and wandb warns.
        "resume": "allow" if mode == "online" else None,
    }
    return wandb.init(**options, settings=settings)


class WandbSink:
    """One open W&B run. Each role's metrics are drawn over that role's own steps."""

    def __init__(self, run: Any, folder: RunFolder, mode: str, sent: int, metric: str = "") -> None:
        self.run = run
        self.folder = folder
        self.mode = mode
        self.sent = sent
        self.metric = metric
        self.place = run.url if mode == "online" else sync_command(folder)
        self._defined: set[str] = set()

    def log(self, role: str, step: int, time: float, values: dict[str, float]) -> None:
        """Send one row as one history row, over its role's step."""
        axis = f"{role}/step"
        values = encodable_tree(values)
        for name in values.keys() - self._defined:
            # wandb takes a name with a star for a pattern, which may only end in it.
            if name and "*" not in name:
                self.run.define_metric(name, step_metric=axis)
            self._defined.add(name)
        self.run.log({axis: step, **values})

    def taken(self, offset: int) -> None:
        """Record how far W&B has come, for the next attempt."""
        state: dict[str, Any] = {"sent": offset if self.mode == "online" else self.sent}
        if self.mode == "offline":
            state["offline_dir"] = Path(self.run.dir).parent.name
            state["offline_bytes"] = offset
        write_atomically(_state_path(self.folder), json.dumps(state))

    def finish(self, status: dict[str, Any]) -> None:
        """Write the summary and close the run."""
        summary = {k: status[k] for k in SUMMARY if status.get(k) is not None}
        summary |= trial_summary(self.folder, self.metric, status)
        if self.run.summary.get("failure_class"):
            # A resumed run still has what the attempt before left.
            summary.setdefault("failure_class", None)
        self.run.summary.update(encodable_tree(summary))
        self.run.finish(exit_code=int(status.get("exit_code") or 0))


def trial_summary(folder: RunFolder, metric: str, status: dict[str, Any]) -> dict[str, Any]:
    """What trials of a sweep are compared by in W&B's table: objective, status, failure class."""
    state = status.get("state")
    pruned = state == STOPPED and folder.stop_reason() == PRUNED
    found: dict[str, Any] = {"status": state_when_pruned(folder, metric) if pruned else state}
    value = objective(folder, metric) if metric else None
    if value is not None:
        found["objective"] = value
    if state == DIED:
        found["failure_class"] = KILLED
    if state == FAILED:
        cause = str(status.get("cause") or "")
        said = status.get("failure_class")
        found["failure_class"] = said or classify(cause, int(status.get("exit_code") or 1))
    return found


def sync_command(folder: RunFolder) -> str:
    """What to type to send an offline run to W&B.

    Not `wandb sync` with W&B's own folder: a resume removes that one, and writes another.
    """
    return f"{python_command()} -m rlagent.sync {shlex.quote(short_path(folder.path))}"


def settle_offline(folder: RunFolder) -> int:
    """How many bytes of metrics.jsonl W&B holds online, after an earlier offline attempt is
    accounted for: one that was synced counts as sent; one that was not is written again, whole,
    and its files are removed."""
    path = _state_path(folder)
    if not path.is_file():
        return 0
    state = json.loads(path.read_text())
    sent = int(state["sent"])
    name = state.get("offline_dir")
    if not name:
        return sent
    offline = folder.wandb_dir / Path(name).name
    if any(offline.glob("*.synced")):
        return max(sent, int(state["offline_bytes"]))
    if offline.is_dir():
        shutil.rmtree(offline)
    return sent


def _state_path(folder: RunFolder) -> Path:
    return folder.path / "wandb_sent"
