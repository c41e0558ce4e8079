"""Agents of other libraries, and a program, on the tiny model: what the examples show."""

import json
from pathlib import Path

import pytest
from rolled import roll_out, workflow_of

from rlagent.backends.embedded.engine.service import Service, ServiceOptions
from rlagent.base.paths import asset_dir, resolve_path
from rlagent.trinity.endpoint import close_endpoint

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "experiments" / "endpoint_agents"
OPENAI = "rlagent.workflows.endpoint_agent:solve"
LANGGRAPH = f"{EXAMPLES}/langgraph_agent.py:solve"
PROGRAM = f"{EXAMPLES}/program_agent.py:solve"


@pytest.fixture(scope="module")
def tiny():
    service = Service(
        ServiceOptions(str(resolve_path("builtin:tiny")), "tiny", 1024, max_response_tokens=160)
    )
    service.start()
    yield service
    service.stop()
    close_endpoint()


def rolled_out(tiny, function: str):
    lines = (asset_dir("gsm8k_tiny") / "train.jsonl").read_text().splitlines()
    return roll_out(
        *(
            workflow_of(tiny, function, i, model="tiny", task=json.loads(line), longest=160)
            for i, line in enumerate(lines[:12])
        )
    )


@pytest.mark.parametrize("function", [OPENAI, LANGGRAPH, PROGRAM])
def test_each_of_the_examples_calls_its_tools_over_several_turns(tiny, function):
    rollouts = rolled_out(tiny, function)
    assert None not in rollouts
    assert max(len(experiences) for experiences in rollouts) > 1


def test_the_tiny_model_has_something_to_learn_from_them(tiny):
    rewards = [experiences[0].reward for experiences in rolled_out(tiny, OPENAI)]
    assert 0 < sum(rewards) < len(rewards)


def test_a_program_leaves_the_experiences_of_the_same_agent_in_the_process(tiny):
    by_client, by_program = (
        [[e.tokens.tolist() for e in experiences] for experiences in rolled_out(tiny, function)]
        for function in (OPENAI, PROGRAM)
    )
    assert by_client == by_program
