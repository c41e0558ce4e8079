"""A run's own workflow on one task, with a checkpoint that is served beside: no Ray, no trainer.

Nothing is written to the run folder.
"""

import asyncio
from dataclasses import dataclass, field
from typing import Any

from rlagent.base.cause import cause_of
from rlagent.base.endings import RunError
from rlagent.base.errors import ConfigError, Problem
from rlagent.records.calls import conversations
from rlagent.serving.beside import Beside
from rlagent.serving.trained import Trained
from rlagent.upstream import trinity_imports


@dataclass(frozen=True)
class Sample:
    """What became of one rollout: `reward` None and `error` in a line where it failed."""

    reward: float | None
    success: bool
    metrics: dict[str, float]
    error: str | None
    calls: list[dict[str, Any]] = field(default_factory=list)
    # See records/rollouts/row.py.
    environment: list[dict[str, Any]] = field(default_factory=list)

    @property
    def conversations(self) -> list[Any]:
        """What each agent and the model said, and what happened in environments meanwhile."""
        row = {"calls": self.calls, "environment": self.environment}
        return conversations(row, environment=True)


@dataclass(frozen=True)
class Functions:
    """Workflow and judge, as `module:function`."""

    workflow: str
    judge: str | None


def functions_of(trained: Trained, workflow: str = "", judge: str = "") -> Functions:
    """What a run's rollouts call, unless others are named.

    Raises:
        ConfigError: The run was started with a function of a script, whose name is not known.
    """
    own = trained.config.workflow
    name = workflow or own.function
    if not name:
        what = f"{trained.run.name} was trained from a script with a function of its own"
        remedy = "name it, as --workflow my_agent.py:solve"
        raise ConfigError([Problem("", None, what, remedy)])
    return Functions(name, judge or (None if workflow else own.judge))


def missing_columns(trained: Trained, task: dict[str, Any]) -> list[str]:
    """Columns that the run's tasks have and this one lacks."""
    return [name for name in trained.config.dataset.columns or [] if name not in task]


def prepare(functions: Functions) -> None:
    """Import what a rollout needs, which takes seconds, and the user's functions.

    Raises:
        ConfigError: A function is not there.
    """
    trinity_imports.without_vllm.apply()
    import agentscope.tuner  # noqa: F401

    import rlagent.trinity.recording  # noqa: F401
    from rlagent.config.functions import NotFoundError, import_function

    for key, name in (("--workflow", functions.workflow), ("--judge", functions.judge)):
        try:
            if name:
                import_function(name)
        except NotFoundError as error:
            remedy = "run it where the training was started"
            raise ConfigError([Problem(key, name, str(error), remedy)]) from error
        # Importing a file of the user's runs it.
        except Exception as error:
            raise RunError(f"{name} cannot be imported: {cause_of(error)}") from error


def try_task(
    trained: Trained,
    task: dict[str, Any],
    served: Beside,
    functions: Functions,
    samples: int = 1,
    temperature: float | None = None,
) -> list[Sample]:
    """Run the workflow on a task, `samples` times side by side.

    Args:
        trained: The run and its checkpoint.
        task: The row that the workflow gets.
        served: Where the checkpoint answers.
        functions: As `functions_of` returns them.
        samples: Rollouts.
        temperature: None: the run's.

    Raises:
        RunError: The workflow needs models that are not served here.
    """
    if trained.config.workflow.auxiliary_models:
        raise RunError("the workflow calls auxiliary models, which `try` does not serve")
    prepare(functions)
    from trinity.common.config import GenerationConfig, InferenceModelConfig
    from trinity.common.models.model import ModelWrapper
    from trinity.common.workflows.workflow import Task

    from rlagent.trinity.endpoint import close_endpoint
    from rlagent.trinity.recording import close_clients
    from rlagent.trinity.translate import workflow_args
    from rlagent.trinity.workflow import AgentWorkflow, RolloutError

    config, model = trained.config, trained.config.model

    class Tried(AgentWorkflow):
        """A rollout that is shown instead of written down."""

        def keep(self, found: dict[str, Any]) -> None:
            self.found = found

    # The wrapper asks for actors of Ray unless something else serves the model.
    described = InferenceModelConfig(
        model_path=served.name,
        engine_type="external",
        enable_thinking=model.enable_thinking,
        top_k=model.top_k,
        api_key=served.api_key,
    )
    wrapper = ModelWrapper(config=described, api_address=served.url())
    # As what it is: the engine's own fields are asked for.
    described.engine_type = served.engine.trinity_types[0]
    arguments = {
        **workflow_args(config, trained.run.path, 0),
        "function": functions.workflow,
        "judge": functions.judge,
    }
    sampling = GenerationConfig(
        temperature=model.temperature if temperature is None else temperature,
        top_p=model.top_p,
        top_k=model.top_k,
        max_tokens=int(model.max_response_tokens),
    )

    async def roll_out(number: int) -> Sample:
        row = Task(
            workflow=AgentWorkflow,
            workflow_args=arguments,
            rollout_args=sampling,
            raw_task=task,
            batch_id="0",
            task_id=str(number),
        )
        workflow = Tried(task=row, model=wrapper)
        workflow.logger.disabled = True
        try:
            await workflow.run_async()
        except RolloutError as error:
            # It is in what was kept; what was not even begun is not.
            if not hasattr(workflow, "found"):
                return Sample(None, False, {}, str(error))
        found = workflow.found
        keys = ("reward", "success", "metrics", "error", "calls")
        return Sample(**{key: found[key] for key in keys}, environment=found.get("environment", []))

    async def roll_out_all() -> list[Sample]:
        try:
            return list(await asyncio.gather(*map(roll_out, range(samples))))
        finally:
            close_endpoint()
            await close_clients()

    return asyncio.run(roll_out_all())
