"""The adapter between Trinity's workflow interface and the user's agent function.

It runs one rollout: calls the function (and the judge), turns what it returns into a reward, and
the recorded model calls into experiences. What fails here fails this rollout only.

AgentScope is imported by the rollouts themselves: explorer and coordinator also load this module,
to know the class, and would pay its seconds for nothing.
"""

import functools
import hashlib
import inspect
import json
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NoReturn

from rlagent.upstream import trinity_imports

trinity_imports.without_vllm.apply()

from trinity.common.experience import Experience  # noqa: E402
from trinity.common.models.model import ModelWrapper  # noqa: E402
from trinity.common.workflows.workflow import Task, Workflow  # noqa: E402

from rlagent.base import in_rollout  # noqa: E402
from rlagent.base.cause import cause_of, whole  # noqa: E402
from rlagent.base.measures import OF_AGENT, own_name  # noqa: E402
from rlagent.base.rewards import (  # noqa: E402
    NAMED,
    NUMBER,
    Rewards,
    WorkflowResultError,
    rewards_of_calls,
)
from rlagent.base.secrets import referenced, resolve_references, without  # noqa: E402
from rlagent.base.texts import encodable, shown  # noqa: E402
from rlagent.base.treatment import treatment  # noqa: E402
from rlagent.config.algorithms import takes  # noqa: E402
from rlagent.config.functions import import_function, taken_ways  # noqa: E402
from rlagent.records.calls import compact, tools_offered  # noqa: E402
from rlagent.records.files import plain  # noqa: E402
from rlagent.records.folder import RunFolder  # noqa: E402
from rlagent.trinity import changes  # noqa: E402
from rlagent.trinity.grouping import AGENT, SHAPE  # noqa: E402
from rlagent.trinity.guard import Rollout, within  # noqa: E402
from rlagent.trinity.task_row import TaskRow, task_row  # noqa: E402
from rlagent.trinity.threads import in_thread  # noqa: E402
from rlagent.trinity.translate import CUT_RESPONSE  # noqa: E402

if TYPE_CHECKING:
    from rlagent.trinity.model_access import ModelAccess
    from rlagent.trinity.recording import Recorder


def sampling_seed(seed: int | None, row: str, number: int) -> int | None:
    """From which a rollout samples: 62 bits of a hash; None where nothing is to be repeated.

    Args:
        seed: Of the evaluation, or of the run.
        row: The hash of the task's row, or the name of the rollout within the run.
        number: Of the rollout among those of its task.

    >>> sampling_seed(None, "97a3", 0), sampling_seed(1, "97a3", 0) == sampling_seed(1, "97a3", 1)
    (None, False)
    """
    if seed is None:
        return None
    digest = hashlib.sha256(f"{seed} {row} {number}".encode()).digest()
    return int.from_bytes(digest[:8]) >> 2


class RolloutError(RuntimeError):
    """A rollout failed; the message is the cause in one line, whose whole text is in the log.

    Trinity prints what a workflow raises three times, and Ray ends a process whose message holds
    what UTF-8 cannot.
    """

    says_all = True


class AgentWorkflow(Workflow):
    """One rollout of the user's function.

    `workflow_args` holds: `function` (spec or callable), `judge` (likewise or None), `args`,
    `success_reward`, `timeout` in s, `truncated`, `run_folder`, `attempt`, `free_tool_choice`,
    `overlong_reward`, `rows` (see `task_row`), `algorithm` (its name), `discount`.
    """

    is_async: bool = True

    def __init__(
        self,
        *,
        task: Task,
        model: ModelWrapper,
        auxiliary_models: list[ModelWrapper] | None = None,
    ) -> None:
        # Trinity's constructor would make OpenAI clients that are not needed here.
        super().__init__(task=task, model=model, auxiliary_models=None)
        self._auxiliary = auxiliary_models or []
        self.options = task.workflow_args
        # Set by the runner: the rollout among those of its run, and among those of its task; the
        # step whose weights it samples from.
        self.key = f"{task.batch_id}/{task.task_id}"
        self.number = 0
        self.model_version: int | None = None
        self.rollout: Rollout | None = None
        self.row = _row_of(task)
        self.recorder: Recorder | None = None
        # What it hands over for people and majorities, see `answer_of`.
        self.answer: str | None = None
        self.held = in_rollout.Held()

    def _seed(self) -> int | None:
        """From which it samples: in an evaluation that of its task, the same whenever it is asked;
        else of its step too, so that a run, also a resumed one, draws as another of its seed."""
        if (asked := self.options.get("seed")) is not None:
            return sampling_seed(asked, self.row.hash, self.number)
        return sampling_seed(self.model.config.seed, self.key, self.number)

    async def run_async(self) -> list[Experience]:
        """Run the function once.

        Returns:
            One experience per recorded model call, each with its return; the last one carries the
            metrics.

        Raises:
            RolloutError: Function or judge raised, returned no reward, or took too long.
        """
        from rlagent.trinity.model_access import ModelAccess
        from rlagent.trinity.recording import recorded_model

        # Before the rollout begins: what is imported is there for all.
        function, judge = _resolve(self.options["function"]), _resolve(self.options.get("judge"))
        assert function is not None
        threaded = not inspect.iscoroutinefunction(function)
        ways = _ways(function, self.options.get("args", {}))
        arguments = self.task.rollout_args
        generate = {"temperature": arguments.temperature, "top_p": arguments.top_p}
        if arguments.max_tokens is not None:
            generate["max_tokens"] = arguments.max_tokens
        if arguments.top_k is not None and arguments.top_k > 0:
            generate["extra_body"] = {"top_k": arguments.top_k}
        chat_model, recorder = recorded_model(
            self.model,
            generate,
            shared=not threaded or "model" not in ways,
            free_tool_choice=self.options.get("free_tool_choice", False),
            seed=self._seed(),
        )
        self.recorder = recorder
        rollout = self.rollout = Rollout(self.key, self.options.get("timeout"))
        access = ModelAccess(rollout, self.model, chat_model, recorder, generate)
        began = rollout.began
        outcome: float | Exception
        rewards: Rewards | None = None
        metrics: dict[str, float] = {}
        outgrown = False
        self.held = in_rollout.Held(lambda: len(recorder.said))
        try:
            with self.held:
                given, metrics, source = await within(
                    rollout,
                    self._reward(rollout, function, judge, access.by(ways), threaded, access),
                )
            rewards = self._check(given, source, recorder)
            outcome = rewards.total
        except Exception as error:
            outcome, metrics = error, {}
            outgrown = bool(recorder.experiences) and recorder.is_overlong(error)
        finally:
            access.close()
        cut = [exp for exp in recorder.experiences if exp.truncate_status == CUT_RESPONSE]
        treated = treatment(self.options, outcome, outgrown, bool(cut), self.task.is_eval)
        if treated.cause is not None:
            self._fail(recorder, treated.cause)
        reward = treated.reward
        assert reward is not None
        if rewards is None:
            rewards = rewards_of_calls(reward, recorder.agents, "workflow.overlong_reward")
        if not treated.masked:
            # Trinity's operator masks those that say they were cut.
            for experience in cut:
                experience.truncate_status = None
        success = float(reward >= self.options.get("success_reward", 1.0))
        metrics = {own_name(name): value for name, value in metrics.items()}
        metrics |= {"overlong": float(treated.overlong), "truncated": float(bool(cut))}
        metrics |= {"reward": reward, "success": success}
        metrics |= {f"{OF_AGENT}{name}": value for name, value in rewards.by_agent.items()}
        if (name := self.options.get("taskset")) and not self.task.is_eval:
            # An evaluation has the numbers of each set.
            metrics |= {f"{name}/reward": reward, f"{name}/success": success}
        metrics["model_calls"] = float(recorder.calls)
        metrics["model_seconds"] = recorder.model_seconds
        # Tools, agent and judge; with calls side by side there may be no rest.
        rest = time.monotonic() - began - recorder.model_seconds
        metrics["agent_seconds"] = max(0.0, rest)
        metrics["response_tokens"] = float(
            sum(len(exp.tokens) - exp.prompt_length for exp in recorder.experiences)
        )
        self._keep(recorder, reward, metrics, None, rewards)
        return _experiences(recorder, rewards, self.options.get("discount", 1.0), metrics)

    async def _reward(
        self,
        rollout: Rollout,
        function: Callable[..., Any],
        judge: Callable[..., Any] | None,
        model: dict[str, Any],
        threaded: bool,
        access: "ModelAccess",
    ) -> tuple[Any, dict[str, float], str]:
        """What workflow or judge gives as reward, with metrics, and who gives it."""
        from agentscope.tuner import JudgeOutput, WorkflowOutput

        from rlagent.trinity.recording import auxiliary_model

        task = self.row.fresh()
        if written := self.options.get("workflow_args"):
            # As AgentScope's examples read those of their taskset; each rollout has its own.
            task.setdefault("workflow_args", resolve_references(written))
        extra = {"logger": self.logger}
        if self._auxiliary:
            extra["auxiliary_models"] = {m.config.name: auxiliary_model(m) for m in self._auxiliary}
        else:
            extra["auxiliary_models"] = {}
        output = await _call(
            function,
            threaded,
            {"task": task, **model, **resolve_references(self.options.get("args", {}))},
            extra,
        )
        access.close()
        # The agent got over it: what a judge raises from here on is another matter.
        access.recorder.refused = False
        source = f"workflow {getattr(function, '__name__', str(function))}"
        if not isinstance(output, WorkflowOutput):
            reward, metrics = _parted(output)
            return reward, _metrics(metrics, source), source
        self.answer = answer_of(output.response)
        metrics = _metrics(output.metrics, source)
        if judge is None:
            if output.reward is None:
                raise WorkflowResultError(
                    f"{source} returned a WorkflowOutput without a reward; "
                    "give it one, or name a judge (workflow.judge)"
                )
            return output.reward, metrics, source
        changes.reset(rollout)
        verdict = await _call(
            judge,
            not inspect.iscoroutinefunction(judge),
            {"task": task, "response": output.response},
            extra,
        )
        source = f"judge {getattr(judge, '__name__', str(judge))}"
        reward, own = (
            (verdict.reward, verdict.metrics)
            if isinstance(verdict, JudgeOutput)
            else _parted(verdict)
        )
        for metric, value in _metrics(own, source).items():
            metrics[f"judge/{metric}" if metric in metrics else metric] = value
        return reward, metrics, source

    def _fail(self, recorder: "Recorder", error: Exception) -> NoReturn:
        self.logger.error(encodable(whole(error)))
        failed = cause_of(error)
        self._keep(recorder, None, {}, failed)
        raise RolloutError(failed) from None

    def lost(self, cause: str) -> None:
        """Keep what there is of a rollout that ends with its process."""
        if self.recorder is not None:
            self._keep(self.recorder, None, {}, cause)

    def _check(self, given: Any, source: str, recorder: "Recorder") -> Rewards:
        rewards = rewards_of_calls(given, recorder.agents, source)
        if not recorder.experiences:
            raise WorkflowResultError(
                "the workflow made no model call that can be trained on: it must call the model "
                "it is given (calls with structured_model= are not recorded)"
            )
        name = self.options.get("algorithm")
        if name and not self.task.is_eval and rewards.shape not in takes(name).shapes:
            allowed = " or ".join(NAMED[shape] for shape in takes(name).shapes)
            raise WorkflowResultError(
                f"{source} returned {NAMED[rewards.shape]}; algorithm.name={name} takes {allowed}: "
                "return that, or take multi_step_grpo, which takes all"
            )
        return rewards

    def _keep(
        self,
        recorder: "Recorder",
        reward: float | None,
        metrics: dict[str, float],
        error: str | None,
        rewards: Rewards | None = None,
    ) -> None:
        calls = compact(recorder.said)
        if rewards is not None and rewards.shape != NUMBER:
            for call, fell in zip(calls, rewards.fell, strict=True):
                call |= {} if fell is None else {"reward": fell}
        found = {
            "model_version": self.model_version,
            "reward": reward,
            "success": bool(metrics.get("success")),
            "metrics": metrics,
            "error": error,
            **({} if self.answer is None else {"answer": self.answer}),
            "calls": calls,
            TOOLS: tools_offered(recorder.said),
            **({"environment": self.held.events} if self.held.events else {}),
        }
        self.keep(found)

    def keep(self, found: dict[str, Any]) -> None:
        """Write what became of the rollout to the run folder."""
        _append(self.task, self.row, self.number, found)


TOOLS = "tools_offered"
"""In what is found of a rollout: the lists of tools that its calls were offered."""

LONGEST_ANSWER = 200
"""Characters; what is longer is a text, of which no two are equal."""


def answer_of(response: Any) -> str | None:
    """The answer that a workflow hands over as its response, to be compared with others; None
    where it hands over none.

    It is a text or number, or what stands in a message's structured output.

    >>> answer_of(25), answer_of("Paris"), answer_of(None)
    ('25', 'Paris', None)
    """
    found = getattr(response, "metadata", None) or response
    if isinstance(found, dict) and len(found) == 1:
        found = next(iter(found.values()))
    if isinstance(found, dict):
        found = json.dumps(found, sort_keys=True, default=str)
    if not isinstance(found, (str, int, float)):
        return None
    answer = encodable(str(found)).strip()
    return answer if 0 < len(answer) <= LONGEST_ANSWER else None


def record_lost(task: Task, number: int, cause: str) -> None:
    """Write a lost rollout to the run folder; only the cause of its loss is known.

    Args:
        number: Of the rollout among those of its task.
        cause: In one line.
    """
    found: dict[str, Any] = {
        "model_version": None,
        "reward": None,
        "success": False,
        "metrics": {},
        "error": cause,
        "calls": [],
    }
    _append(task, _row_of(task), number, found)


def _row_of(task: Task) -> TaskRow:
    return task_row(task.raw_task or {}, task.index.get("index"), task.workflow_args.get("rows"))


def _append(task: Task, row: TaskRow, number: int, found: dict[str, Any]) -> None:
    """Write a rollout; `row` is its task's, `found` what became of it."""
    step, _, set_name = str(task.batch_id).partition("/")
    options = task.workflow_args
    kept: dict[str, Any] = {
        "phase": "eval" if task.is_eval else "train",
        "step": int(step),
        "attempt": options.get("attempt"),
        **({"set": set_name} if set_name else {}),
        "row": {"index": row.index, "hash": row.hash},
        # Of held-out tasks the same in every evaluation, also where some are asked alone.
        "group": row.index if task.is_eval and row.index is not None else task.task_id,
        "run": number,
        "task": row.fresh(),
        **found,
    }
    if secrets := referenced(options.get("args")):
        # A tool may have been called with one, and an error may quote it.
        kept = without(plain(kept), secrets)
    store = RunFolder(options["run_folder"]).rollouts
    for name, tools in kept.pop(TOOLS, {}).items():
        store.keep_tools(name, tools)
    store.append(kept)


def _resolve(function: Any) -> Callable[..., Any] | None:
    return _imported(function) if isinstance(function, str) else function


# Importing a file runs it, and there is one call per rollout.
_imported = functools.cache(import_function)


def _ways(function: Callable[..., Any], written: dict[str, Any]) -> set[str]:
    """By which arguments a workflow reaches the model; one that takes any gets AgentScope's."""
    ways = taken_ways(inspect.signature(function).parameters, written)
    return {name for way in ways for name in way} or {"model"}


async def _call(
    function: Callable[..., Any],
    threaded: bool,
    arguments: dict[str, Any],
    optional: dict[str, Any],
) -> Any:
    """Call with what it must get and, of the optional arguments, those that it names."""
    names = inspect.signature(function).parameters
    arguments = {**arguments, **{k: v for k, v in optional.items() if k in names}}
    if threaded:
        result = await in_thread(function, **arguments)
    else:
        result = function(**arguments)
    return await result if inspect.isawaitable(result) else result


def _parted(output: Any) -> tuple[Any, Any]:
    """The reward and the metrics of what a function returned: a reward, or a tuple of the two."""
    if isinstance(output, tuple) and len(output) == 2 and isinstance(output[1], dict):
        return output
    return output, None


def _metrics(metrics: dict[str, Any] | None, source: str) -> dict[str, float]:
    """Metrics by name, as numbers; a name is written into records."""
    named = {}
    for name, value in (metrics or {}).items():
        try:
            named[encodable(str(name))] = float(value)
        except (TypeError, ValueError):
            raise WorkflowResultError(
                f"{source} returned the metric {name}={shown(repr(value), 80)}; it must be a number"
            ) from None
    return named


def _experiences(
    recorder: "Recorder", rewards: Rewards, discount: float, metrics: dict[str, float]
) -> list[Experience]:
    returns, agents = rewards.returns(discount), recorder.agents
    for number, experience in enumerate(recorder.experiences):
        experience.reward = returns[number]
        experience.eid.step = number
        known = {SHAPE: rewards.shape, AGENT: agents[number]}
        experience.info = {**(experience.info or {}), **known}
    recorder.experiences[-1].metrics = metrics
    return recorder.experiences
