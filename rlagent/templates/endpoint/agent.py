"""An agent of the openai SDK answers one task; the reward says whether it was right.

Nothing here is rlagent's: `client` asks the model in training, and every call of it is
recorded. A function that takes `base_url` and `api_key` instead suits other libraries
and programs.
"""

import json
import re

from openai import AsyncOpenAI

SYSTEM_PROMPT = (
    "You solve math word problems. Compute with the calculator, "
    "then call generate_response with the final number."
)


def tool(name: str, description: str, argument: str, meaning: str) -> dict:
    """A tool with one text as its argument, as the model sees it."""
    value = {"description": meaning, "type": "string"}
    schema = {"properties": {argument: value}, "type": "object", "required": [argument]}
    function = {"name": name, "parameters": schema, "description": description}
    return {"type": "function", "function": function}


TOOLS = [
    tool("calculator", "Compute a value.", "expression", "Numbers and + - *."),
    tool("generate_response", "Hand in the answer.", "result", "Your final answer."),
]


def calculate(expression: str) -> str:
    """The value of a sum, difference or product of two whole numbers."""
    found = re.fullmatch(r"\s*(\d{1,9})\s*([-+*])\s*(\d{1,9})\s*", expression)
    if found is None:
        return "Error: write two whole numbers with +, - or * between"
    left, right = int(found[1]), int(found[3])
    return str({"+": left + right, "-": left - right, "*": left * right}[found[2]])


async def solve(task: dict, client: AsyncOpenAI, max_turns: int = 6) -> float:
    """Answer `task["question"]`: 1.0 where that is `task["answer"]`, else 0.0."""
    messages: list = [
        {"role": "system", "content": SYSTEM_PROMPT},
        {"role": "user", "content": task["question"]},
    ]
    for _ in range(max_turns):
        answer = await client.chat.completions.create(
            model="policy", messages=messages, tools=TOOLS, tool_choice="required"
        )
        message = answer.choices[0].message
        messages.append(message.model_dump(exclude_none=True))
        for call in message.tool_calls or []:
            try:
                given = json.loads(call.function.arguments)
            except ValueError:
                # A call that was cut off.
                given = {}
            if call.function.name == "generate_response":
                return float(str(given.get("result", "")).strip() == task["answer"])
            value = calculate(str(given.get("expression", "")))
            messages.append({"role": "tool", "tool_call_id": call.id, "content": value})
    return 0.0
