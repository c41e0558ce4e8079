"""The shipped workflow with a scripted model in place of a trained one."""

import asyncio
from typing import Any

import pytest
from agentscope.model import OpenAIChatModel
from agentscope.tuner import WorkflowOutput

from rlagent.workflows.gsm8k_react import MAX_ITERATIONS, react_agent
from rlagent.workflows.teacher import Call, TeacherClient

TASK = {"question": "What is 3 + 4?", "answer": "3+4=<<3+4=7>>7\n#### 7"}


class Talker(TeacherClient):
    """Never calls a tool."""

    def __init__(self) -> None:
        super().__init__([("generate_response", {"result": "seven"})])
        self.requests = 0

    async def _create(self, messages: list, **arguments: Any) -> Any:
        self.requests += 1
        return await super()._create(messages, tools=[], tool_choice="none")


def play(client: TeacherClient) -> WorkflowOutput:
    model = OpenAIChatModel("scripted", api_key="none", stream=False)
    model.client = client
    return asyncio.run(react_agent(TASK, model))


@pytest.mark.parametrize(("result", "reward"), [("7", 1.0), ("7.0", 1.0), ("8", 0.0)])
def test_the_reward_says_whether_the_result_is_right(result: str, reward: float) -> None:
    calls: list[Call] = [
        ("calculator", {"expression": "3 + 4"}),
        ("generate_response", {"result": result}),
    ]
    output = play(TeacherClient(calls))
    assert output.reward == reward
    assert output.metrics == {"accuracy": reward, "valid": 1.0}


def test_the_calculator_answers_the_agent() -> None:
    client = TeacherClient(
        [("calculator", {"expression": "3 +"}), ("generate_response", {"result": "7"})]
    )
    assert play(client).reward == 1.0
    assert client.transcript is not None
    answers = [m["content"] for m in client.transcript.messages if m["role"] == "tool"]
    assert "Error" in str(answers[0])
    names = [tool["function"]["name"] for tool in client.transcript.tools]
    assert names == ["calculator", "generate_response"]


def test_an_agent_that_never_hands_in_an_answer_earns_nothing_and_is_not_valid(
    capsys: pytest.CaptureFixture[str],
) -> None:
    client = Talker()
    output = play(client)
    assert output.reward == 0.0
    assert output.metrics == {"accuracy": 0.0, "valid": 0.0}
    assert client.requests == MAX_ITERATIONS + 1
    assert capsys.readouterr().out == ""
