"""A ReAct agent answers a question from a local collection of texts, which it searches and reads.

What is found is rlagent.tools.corpus's affair, what is right rlagent.rewards.answers's.
"""

from collections.abc import Mapping
from typing import Any

from agentscope.agent import ReActAgent
from agentscope.formatter import OpenAIChatFormatter
from agentscope.message import Msg, TextBlock
from agentscope.model import ChatModelBase
from agentscope.tool import Toolkit, ToolResponse
from agentscope.tuner import WorkflowOutput
from pydantic import BaseModel, Field

from rlagent.rewards.answers import is_right, judged
from rlagent.tools.corpus import Corpus, corpus

SYSTEM_PROMPT = (
    "You answer questions from a library. Search it, read what you find, "
    "then call generate_response with the short answer."
)
SHIPPED = "builtin:search_qa"
MAX_ITERATIONS = 6


class ShortAnswer(BaseModel):
    """What the agent must hand in."""

    result: str = Field(description="The short answer to the question.")


async def answer_from_library(
    task: dict,
    model: ChatModelBase,
    auxiliary_models: Mapping[str, Any],
    library: str = SHIPPED,
    judge: str | None = None,
    max_iters: int = MAX_ITERATIONS,
) -> WorkflowOutput:
    """Answer `task["question"]` from the library and compare with `task["answer"]`.

    `library` is a .jsonl file of `title` and `text`. `judge` names one of
    `workflow.auxiliary_models`, which says whether the answer is right; null: a rule does, equality
    without regard to case, articles and punctuation.

    The reward is 1.0 for a right answer and 0.0 otherwise. Metrics: `accuracy` (as the reward),
    `valid` (1.0 when the rollout ended in an answer), `searches` and `reads`.

    Raises:
        KeyError: There is no auxiliary model of the judge's name.
        JudgeError: The judge gave no verdict.
    """
    if judge is not None and judge not in auxiliary_models:
        named = ", ".join(auxiliary_models) or "none"
        raise KeyError(f"workflow.args.judge={judge}: workflow.auxiliary_models has {named}")
    used = {"searches": 0.0, "reads": 0.0}
    agent = ReActAgent(
        name="search_agent",
        sys_prompt=SYSTEM_PROMPT,
        model=model,
        formatter=OpenAIChatFormatter(),
        toolkit=library_tools(corpus(library), used),
        max_iters=max_iters,
    )
    agent.set_console_output_enabled(False)
    response = await agent.reply(
        Msg("user", task["question"], role="user"), structured_model=ShortAnswer
    )
    result = str(response.metadata["result"]) if response.metadata else None
    if judge is None:
        right = is_right(result, task["answer"])
    else:
        right = await judged(auxiliary_models[judge], task["question"], result, task["answer"])
    metrics = {"accuracy": float(right), "valid": float(result is not None), **used}
    return WorkflowOutput(reward=float(right), response=response, metrics=metrics)


def library_tools(texts: Corpus, used: dict[str, float]) -> Toolkit:
    """The two tools; `used` counts their calls."""

    def search(query: str) -> ToolResponse:
        """Search the library.

        Args:
            query (str): Words to look for.
        """
        used["searches"] += 1
        return _response(texts.search(query))

    def read(title: str) -> ToolResponse:
        """Read a text of the library.

        Args:
            title (str): Its title.
        """
        used["reads"] += 1
        return _response(texts.read(title))

    toolkit = Toolkit()
    toolkit.register_tool_function(search)
    toolkit.register_tool_function(read)
    return toolkit


def _response(text: str) -> ToolResponse:
    return ToolResponse(content=[TextBlock(type="text", text=text)])
