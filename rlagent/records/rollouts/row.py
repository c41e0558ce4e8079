"""One rollout as it is on disk, and its head: the few numbers and names that filters look at.

Pure. How rows are packed into files is left to segment.py, where they are to store.py.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple, TypedDict

from rlagent.base.texts import shown

TITLE = 100
"""Characters of a task that its head has room for."""


class Batch(NamedTuple):
    """The rollouts of one step and phase: what one file holds."""

    step: int
    # `train` for a step's rollouts, `eval` for those of the held-out tasks.
    phase: str

    @property
    def stem(self) -> str:
        """The name of its file, without an ending."""
        return f"{self.phase}-{self.step:06d}"

    @classmethod
    def of_stem(cls, stem: str) -> "Batch | None":
        """The batch whose file is called like this; None for another name."""
        phase, _, step = stem.rpartition("-")
        return cls(int(step), phase) if phase and step.isdecimal() else None


class Rollout(TypedDict, total=False):
    """One rollout. What is not known is absent or None."""

    # `train` or `eval`.
    phase: str
    # The step that it belongs to; an evaluation's rollouts: the last step before it.
    step: int
    # Name of the set of held-out tasks, where there are several.
    set: str
    # The task, among those of the step or set.
    group: int
    # The rollout, among those of its task.
    run: int
    # The attempt at the run that it belongs to.
    attempt: int | None
    # When it ended, Unix time in s.
    time: float
    # `index`: position among the rows of the split that the user named, from 0; `hash`: 16
    # hexadecimal digits of the SHA-256 of `json.dumps(task, sort_keys=True)`.
    row: dict[str, Any]
    # As the workflow got it.
    task: dict[str, Any]
    # Step whose weights sampled it.
    model_version: int | None
    # None of one that failed.
    reward: float | None
    success: bool
    # What rlagent measures and the workflow reports, by name.
    metrics: dict[str, float]
    # What the workflow handed over, where that can be compared with other answers.
    answer: str
    # Why it failed, in one line; None of one that ended with a reward.
    error: str | None
    # Every call of the model; records/calls.py puts the conversations together. Where the engine
    # said so, each with its answer token by token: `tokens`, their texts, and `logprobs`, the
    # logarithms of the probabilities with which they were drawn. `offered` names the list of tools
    # that it was offered, which the store keeps once (`RolloutStore.tools`). `reward` is what fell
    # on it, where a workflow returns rewards by agent or by call.
    calls: list[dict[str, Any]]
    # What happened in environments: `after`, the calls of the model made before; `environment`, its
    # name; `action` (absent of a reset), `observation`, `reward`, `done`.
    environment: list[dict[str, Any]]
    # What was trained on of each call of the model: its advantage, or one for each of its tokens
    # where they differ; None of a call that was left out. Absent where the trainer works them
    # out, and in evaluations.
    advantages: list[float | list[float] | None]


class Head(NamedTuple):
    """What identifies a rollout, and what filters compare."""

    phase: str
    step: int
    set: str
    group: int
    run: int
    # Position and hash of the task, see `Rollout.row`.
    position: int | None
    hash: str
    # The task, as one short line.
    title: str
    reward: float | None
    success: bool
    error: str | None
    # Step whose weights sampled it, and weight versions between that and training on it; None
    # where nothing is trained.
    model_version: int | None
    lag: int | None
    # Calls of the model, tokens of its answers, names of the tools that were called.
    turns: int
    tokens: int
    tools: tuple[str, ...]
    attempt: int | None
    time: float | None


def head_of(row: Mapping[str, Any]) -> Head:
    """The head of a row, also of one of an earlier version, which lacks some of it."""
    calls, where = row.get("calls"), row.get("row") or {}
    listed = calls if isinstance(calls, list) else []
    version, step, phase = row.get("model_version"), int(row["step"]), str(row["phase"])
    # Step 0 is before training.
    trained = phase == "train" and step > 0 and version is not None
    tokens = (row.get("metrics") or {}).get("response_tokens")
    if tokens is None:
        tokens = sum(call.get("response_tokens") or 0 for call in listed)
    return Head(
        phase=phase,
        step=step,
        set=str(row.get("set") or ""),
        group=row.get("group") or 0,
        run=row.get("run") or 0,
        position=where.get("index"),
        hash=str(where.get("hash") or ""),
        title=title_of(row),
        reward=row.get("reward"),
        success=bool(row.get("success")),
        error=row.get("error"),
        model_version=version,
        lag=step - 1 - version if trained and version is not None else None,
        turns=len(listed) if isinstance(calls, list) else int(calls or 0),
        tokens=int(tokens),
        tools=tuple(dict.fromkeys(_tools(listed))),
        attempt=row.get("attempt"),
        time=row.get("time"),
    )


def title_of(row: Mapping[str, Any]) -> str:
    """What to call a rollout's task: its question, else the first text in it, as one line."""
    task = row.get("task")
    if not isinstance(task, Mapping):
        return ""
    named = (task.get(name) for name in ("question", "problem", "prompt", "instruction"))
    texts = [*(found for found in named if found), *task.values()]
    text = next((found for found in texts if isinstance(found, str) and found), "")
    return shown(text, TITLE)


def _tools(calls: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """Names of the tools that the model called, and of those whose results it was sent."""
    for call in calls:
        for asked in (call.get("response") or {}).get("tool_calls") or ():
            if isinstance(asked, Mapping):
                yield str((asked.get("function") or asked).get("name") or "?")
        for message in call.get("messages") or ():
            if message.get("role") == "tool" and message.get("name"):
                yield str(message["name"])


def place_of(row: Mapping[str, Any]) -> tuple[Any, ...]:
    """What a rollout is called within its batch: set, task and number, which sort."""
    group = row.get("group") or 0
    # A number, except where another framework's rows name their tasks.
    return (str(row.get("set") or ""), isinstance(group, str), group, row.get("run") or 0)
