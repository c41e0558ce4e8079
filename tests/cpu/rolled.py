"""Rollouts as a runner runs them, without Ray: the engine's service and the workflow alone."""

import asyncio

from trinity.common.config import GenerationConfig, InferenceModelConfig

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
    from trinity.common.workflows.workflow import Task

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
