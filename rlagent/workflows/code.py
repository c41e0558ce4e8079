"""The agent writes a Python function, which has to pass tests that it does not see.

What it writes is run confined (rlagent.tools.confined), or not at all; what passes is
rlagent.rewards.code's to say.
"""

from agentscope.model import ChatModelBase
from agentscope.tuner import WorkflowOutput

from rlagent.rewards.code import Verdict, code_of, trial, verdict
from rlagent.tools.confined import Limits, run

SYSTEM_PROMPT = "Write the Python function. Answer with its code only."


async def write_function(
    task: dict,
    model: ChatModelBase,
    attempts: int = 1,
    seconds: float = 5.0,
    memory_mib: int = 256,
) -> WorkflowOutput:
    """Write the function that `task["question"]` describes.

    `task["name"]` is its name, `task["tests"]` a list of `[arguments, result]`. After a wrong one
    the agent sees the first test that fails, and tries again, `attempts` times in all.

    The reward is the share of tests that the last function passes. Metrics: `tests_passed` (the
    same), `code_runs` (1.0 when it could be run to its end) and `attempts`.
    """
    messages = prompt(task["question"])
    limits = Limits(seconds=seconds, memory_mib=memory_mib)
    attempt = 0
    while True:
        attempt += 1
        response = await model(messages)
        reply = "".join(block["text"] for block in response.content if block["type"] == "text")
        found, ran = await tried(reply, task, limits)
        if not found.fault or attempt >= attempts:
            break
        messages = [
            *messages,
            {"role": "assistant", "content": reply},
            {"role": "user", "content": f"{found.fault}. Write it again."},
        ]
    return WorkflowOutput(
        reward=found.share,
        metrics={"tests_passed": found.share, "code_runs": float(ran), "attempts": float(attempt)},
    )


def prompt(question: str) -> list[dict[str, str]]:
    """The conversation's beginning."""
    return [
        {"role": "system", "content": SYSTEM_PROMPT},
        {"role": "user", "content": question},
    ]


async def tried(reply: str, task: dict, limits: Limits) -> tuple[Verdict, bool]:
    """What became of the function in a reply, and whether its program ran to its end."""
    name, tests = task["name"], task["tests"]
    program = trial(code_of(reply), name, tests)
    outcome = await run(program.source, limits)
    found = verdict(program, outcome.stdout, outcome.failure, name, tests)
    return found, not outcome.failure
