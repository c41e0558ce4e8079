"""Rollouts as a runner runs them, without Ray: the engine's service and the workflow alone."""

import asyncio
from types import SimpleNamespace

from trinity.common.config import GenerationConfig, InferenceModelConfig
from trinity.common.workflows.workflow import Task

from rlagent.trinity import recording
from rlagent.trinity.recording import close_clients
from rlagent.trinity.workflow import AgentWorkflow, RolloutError


class Rolled(AgentWorkflow):
    """A rollout whose record is looked at instead of written down."""

    def keep(self, found):
        self.found = found


def workflow_of(
    service, function, number=0, model="random", task=None, longest=12, **options
) -> Rolled:
    """A rollout of a function.

    Args:
        service: The embedded engine's.
        number: Of its task, which also says from what it samples.
        model: The name that the engine is asked by.
        task: The row; None: a short one.
        longest: Tokens of a response.
        options: More of what a workflow gets.
    """
    from trinity.common.models.model import ModelWrapper

    described = InferenceModelConfig(model_path=model, engine_type="external", api_key="none")
    wrapper = ModelWrapper(config=described, api_address=service.url)
    described.engine_type = "embedded"
    row = Task(
        workflow=AgentWorkflow,
        workflow_args={"function": function, "success_reward": 1.0, "seed": 7, **options},
        rollout_args=GenerationConfig(temperature=1.0, top_p=1.0, max_tokens=longest),
        raw_task=task or {"question": "What is 2 + 3?", "answer": "5"},
        batch_id="0",
        task_id=str(number),
    )
    workflow = Rolled(task=row, model=wrapper)
    workflow.number, workflow.key = 0, f"0/{number}/0"
    workflow.logger.disabled = True
    return workflow


def kept_rollout(service, folder, function, is_eval=True, **options) -> list:
    """Run one rollout as a runner does, with its record in a run folder; returns its experiences.

    Args:
        service: The embedded engine's.
        folder: The run folder.
        function: The workflow.
        is_eval: Whether it belongs to an evaluation.
        options: More of what a workflow gets.
    """
    config = SimpleNamespace(
        model_path="random", engine_type="embedded", enable_thinking=None, top_k=-1, seed=1
    )
    wrapper = SimpleNamespace(api_address=service.url, api_key="none", config=config)
    task = Task(
        workflow=AgentWorkflow,
        raw_task={"question": "2 + 3?"},
        workflow_args={
            "function": function,
            "run_folder": str(folder),
            "timeout": 60.0,
            **options,
        },
        batch_id="0/heldout",
        is_eval=is_eval,
    )

    async def once():
        # Clients belong to an event loop, and here each rollout has its own.
        recording._clients.clear()
        try:
            return await AgentWorkflow(task=task, model=wrapper).run_async()
        finally:
            await close_clients()

    return asyncio.run(once())


def roll_out(*workflows):
    """Run rollouts side by side; returns their experiences, None of those that failed."""

    async def one(workflow):
        try:
            return await workflow.run_async()
        except RolloutError as error:
            print(error)
            return None

    async def every():
        try:
            return await asyncio.gather(*map(one, workflows))
        finally:
            await close_clients()

    return asyncio.run(every())
