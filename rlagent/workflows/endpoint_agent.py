"""An agent of the openai SDK: nothing here is AgentScope's or rlagent's."""

import json
import re

from openai import AsyncOpenAI

CALCULATOR = {
    "name": "calculator",
    "parameters": {
        "properties": {
            "expression": {"description": "Numbers, + - * / and parentheses.", "type": "string"}
        },
        "required": ["expression"],
        "type": "object",
    },
    "description": "Compute the value of an arithmetic expression.",
}
ANSWER = {
    "name": "generate_response",
    "parameters": {
        "properties": {
            "result": {
                "description": "Your final answer to the given math problem.",
                "type": "string",
            }
        },
        "type": "object",
        "required": ["result"],
    },
    "description": "Generate required structured output by this function and return it",
}
TOOLS = [{"type": "function", "function": function} for function in (CALCULATOR, ANSWER)]
SYSTEM = (
    "You solve math word problems. Compute with the calculator, "
    "then call generate_response with the final number."
)


def calculate(expression: str) -> str:
    """The value of an arithmetic expression, or what is wrong with it."""
    if not re.fullmatch(r"[\d+\-*/(). ]{1,80}", expression) or "**" in expression:
        return "Error: only numbers, + - * / and parentheses are allowed"
    try:
        return f"{eval(expression):.10g}"
    except (SyntaxError, TypeError, ZeroDivisionError, OverflowError) as error:
        return f"Error: {error}"


async def solve(task: dict, client: AsyncOpenAI, max_turns: int = 6) -> float:
    """Answer `task["question"]`; 1.0 for the number behind `####` in `task["answer"]`."""
    truth = task["answer"].split("####")[-1].replace(",", "").strip()
    messages: list = [
        {"role": "system", "content": SYSTEM},
        {"role": "user", "content": task["question"]},
    ]
    for _ in range(max_turns):
        answer = await client.chat.completions.create(
            model="policy", messages=messages, tools=TOOLS, tool_choice="required"
        )
        message = answer.choices[0].message
        messages.append(message.model_dump(exclude_none=True))
        for call in message.tool_calls or []:
            # What the model writes may be cut off, and is then no JSON.
            try:
                given = json.loads(call.function.arguments)
            except ValueError:
                given = {}
            if call.function.name == "generate_response":
                return float(str(given.get("result", "")).strip() == truth)
            value = calculate(str(given.get("expression", "")))
            messages.append({"role": "tool", "tool_call_id": call.id, "content": value})
    return 0.0
