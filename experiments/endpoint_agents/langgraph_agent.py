"""An agent of LangGraph over ChatOpenAI; needs `pip install 'rlagent[experiments]'`."""

from typing import Annotated

from langchain_core.messages import HumanMessage, SystemMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode, tools_condition

SYSTEM = (
    "You solve math word problems. Compute with the calculator, "
    "then call generate_response with the final number."
)


@tool(description="Compute the value of an arithmetic expression.")
def calculator(expression: Annotated[str, "Numbers, + - * / and parentheses."]) -> str:
    if not set(expression) <= set("0123456789+-*/(). ") or "**" in expression:
        return "Error: only numbers, + - * / and parentheses are allowed"
    return f"{eval(expression[:80]):.10g}"


@tool(
    description="Generate required structured output by this function and return it",
    return_direct=True,
)
def generate_response(
    result: Annotated[str, "Your final answer to the given math problem."],
) -> str:
    return result


TOOLS = [calculator, generate_response]


async def solve(task: dict, base_url: str, api_key: str) -> float:
    """Answer `task["question"]`; 1.0 for the number behind `####` in `task["answer"]`."""
    chat = ChatOpenAI(model="policy", base_url=base_url, api_key=api_key)
    model = chat.bind_tools(TOOLS, tool_choice="required")

    async def ask(state: MessagesState) -> dict:
        return {"messages": [await model.ainvoke(state["messages"])]}

    def after_tools(state: MessagesState) -> str:
        return "__end__" if state["messages"][-1].name == "generate_response" else "ask"

    graph = StateGraph(MessagesState)
    graph.add_node("ask", ask)
    graph.add_node("tools", ToolNode(TOOLS, handle_tool_errors=True))
    graph.add_edge(START, "ask")
    graph.add_conditional_edges("ask", tools_condition)
    graph.add_conditional_edges("tools", after_tools, ["ask", "__end__"])
    asked = [SystemMessage(SYSTEM), HumanMessage(task["question"])]
    ended = await graph.compile().ainvoke({"messages": asked}, {"recursion_limit": 13})
    last = ended["messages"][-1]
    truth = task["answer"].split("####")[-1].replace(",", "").strip()
    return float(last.type == "tool" and str(last.content).strip() == truth)
