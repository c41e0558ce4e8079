"""A command-line agent of the standard library: `program.py QUESTION` prints a number.

It reads OPENAI_BASE_URL and OPENAI_API_KEY, as such programs do, and knows of no training.
"""

import json
import os
import sys
import urllib.request

SYSTEM = (
    "You solve math word problems. Compute with the calculator, "
    "then call generate_response with the final number."
)


TOOLS = [
    {"type": "function", "function": function}
    for function in (
        {
            "name": "calculator",
            "parameters": {
                "properties": {
                    "expression": {
                        "description": "Numbers, + - * / and parentheses.",
                        "type": "string",
                    }
                },
                "required": ["expression"],
                "type": "object",
            },
            "description": "Compute the value of an arithmetic expression.",
        },
        {
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
        },
    )
]


def ask(messages: list[dict]) -> dict:
    """The model's next message."""
    body = {"model": "policy", "messages": messages, "tools": TOOLS, "tool_choice": "required"}
    request = urllib.request.Request(
        os.environ["OPENAI_BASE_URL"] + "/chat/completions",
        json.dumps(body).encode(),
        {
            "Content-Type": "application/json",
            "Authorization": f"Bearer {os.environ['OPENAI_API_KEY']}",
        },
    )
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)["choices"][0]["message"]


def calculate(expression: str) -> str:
    """The value of an arithmetic expression, or what is wrong with it."""
    if not set(expression) <= set("0123456789+-*/(). ") or "**" in expression:
        return "Error: only numbers, + - * / and parentheses are allowed"
    try:
        return f"{eval(expression[:80]):.10g}"
    except (SyntaxError, TypeError, ZeroDivisionError) as error:
        return f"Error: {error}"


def main() -> None:
    """Ask until there is an answer, at most six times."""
    messages = [
        {"role": "system", "content": SYSTEM},
        {"role": "user", "content": sys.argv[1]},
    ]
    for _ in range(6):
        message = ask(messages)
        messages.append(message)
        for call in message.get("tool_calls") or []:
            try:
                given = json.loads(call["function"]["arguments"])
            except ValueError:
                given = {}
            if call["function"]["name"] == "generate_response":
                print(given.get("result", ""))
                return
            value = calculate(str(given.get("expression", "")))
            messages.append({"role": "tool", "tool_call_id": call["id"], "content": value})


if __name__ == "__main__":
    main()
