"""Functions that a model may call in a chat: their descriptions, and calling them."""

import asyncio
import inspect
import json
from collections.abc import Callable, Sequence
from typing import Any

from rlagent.base.cause import cause_of
from rlagent.base.errors import Problem, raise_if_any


class ToolBox:
    """Tools by name.

    Args:
        references: Each `module:function`; described to the model by signature and docstring.

    Raises:
        ConfigError: One is not there, or two have one name.
    """

    def __init__(self, references: Sequence[str]) -> None:
        from rlagent.config.functions import NotFoundError, import_function

        problems = []
        self._functions: dict[str, Callable[..., Any]] = {}
        for reference in references:
            try:
                function = import_function(reference)
            except (NotFoundError, ValueError) as error:
                problems.append(Problem("--tools", reference, str(error), "write module:function"))
                continue
            # Importing a file of the user's runs it.
            except Exception as error:
                said = f"cannot be imported: {cause_of(error)}"
                problems.append(Problem("--tools", reference, said))
                continue
            name = function.__name__
            if name in self._functions:
                problems.append(Problem("--tools", reference, f"there is another {name}"))
            self._functions[name] = function
        raise_if_any(problems)
        self.schemas = _schemas(list(self._functions.values()))

    def call(self, name: str, arguments: str) -> str:
        """What a call returns, as text for the model; an error is returned too.

        Args:
            name: Of the tool.
            arguments: A JSON object.
        """
        function = self._functions.get(name)
        if function is None:
            return f"Error: there is no tool {name}; there are {', '.join(self._functions)}"
        try:
            read = json.loads(arguments or "{}")
            if not isinstance(read, dict):
                return "Error: the arguments are no JSON object"
            return result_text(asyncio.run(_called(function, read)))
        # A tool may raise anything, exits included; the chat goes on, the model reads the error.
        except (Exception, SystemExit) as error:
            return f"Error: {cause_of(error)}"


def result_text(result: Any) -> str:
    """A tool's result as text: AgentScope's ToolResponse by its texts, others as JSON."""
    if isinstance(result, str):
        return result
    content = getattr(result, "content", None)
    if isinstance(content, list):
        return "\n".join(
            str(block.get("text", block)) if isinstance(block, dict) else str(block)
            for block in content
        )
    return json.dumps(result, ensure_ascii=False, default=str)


async def _called(function: Callable[..., Any], arguments: dict[str, Any]) -> Any:
    result = function(**arguments)
    if inspect.isawaitable(result):
        result = await result
    # AgentScope's tools may stream what they return; each piece holds those before it.
    if inspect.isasyncgen(result):
        pieces = [piece async for piece in result]
    elif inspect.isgenerator(result):
        pieces = list(result)
    else:
        return result
    return pieces[-1] if pieces else ""


def _schemas(functions: Sequence[Callable[..., Any]]) -> list[dict[str, Any]]:
    if not functions:
        return []
    from agentscope.tool import Toolkit

    toolkit = Toolkit()
    for function in functions:
        toolkit.register_tool_function(function)
    return list(toolkit.get_json_schemas())
