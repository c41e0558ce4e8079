"""Tools of an MCP server: offered over streams and HTTP, and what a server that fails costs."""

import asyncio
import json
import os
import subprocess
import sys

import psutil
import pytest
from agentscope.message import ToolUseBlock
from agentscope.tool import Toolkit

from rlagent.tools import mcp_client
from rlagent.tools.calculator import calculator
from rlagent.tools.mcp_client import Server, ToolServerError, tools_of
from rlagent.trinity import guard
from rlagent.workflows.mcp_tools import CALCULATOR, use_tools
from rlagent.workflows.teacher import TeacherClient, teacher_model

LEASHED = (sys.executable, "-c", mcp_client._LEASH)
SHIPPED = (sys.executable, str(CALCULATOR))


def below() -> list[psutil.Process]:
    """The processes that this one has started which have not ended."""
    found = psutil.Process(os.getpid()).children(recursive=True)
    return [one for one in found if one.is_running() and one.status() != psutil.STATUS_ZOMBIE]


@pytest.fixture(autouse=True)
def _nothing_is_left():
    yield
    assert below() == []


def python(code: str) -> tuple[str, ...]:
    return sys.executable, "-c", code


def dying(method: str) -> tuple[str, ...]:
    """The shipped server, which ends as soon as it is asked for something."""
    return python(
        f"import sys; sys.path.insert(0, {str(CALCULATOR.parent)!r})\n"
        "import mcp_calculator as server, os\nanswer = server.answer\n"
        f"server.answer = lambda m: os._exit(3) if m['method'] == {method!r} else answer(m)\n"
        "server.over_streams()"
    )


def saying(text: str) -> tuple[str, ...]:
    """The shipped server, whose tool's answer is another text."""
    return python(
        f"import sys; sys.path.insert(0, {str(CALCULATOR.parent)!r})\nimport mcp_calculator as s\n"
        f"s._called = lambda a: {{'content': [{{'type': 'text', 'text': {text}}}]}}\n"
        "s.over_streams()"
    )


async def _called(server: Server, expression: str) -> str:
    async with tools_of(server) as tools:
        call = ToolUseBlock(
            type="tool_use", id="1", name="calculator", input={"expression": expression}
        )
        text = ""
        async for part in await tools.toolkit.call_tool_function(call):
            text = part.content[0]["text"]
        tools.require()
        return text


def called(server: Server, expression: str = "6 * 7") -> str:
    return asyncio.run(_called(server, expression))


@pytest.mark.parametrize("http", [False, True])
def test_a_tool_is_called(http):
    command = (*SHIPPED, "--http") if http else SHIPPED
    assert called(Server(command, http)) == "42"
    assert called(Server(command, http), "6 +") == "Error: '6 +' is not an arithmetic expression"


def test_the_model_sees_the_same_tool_as_if_it_were_a_function():
    own = Toolkit()
    own.register_tool_function(calculator)

    async def offered():
        async with tools_of(Server(SHIPPED)) as tools:
            return tools.toolkit.get_json_schemas()

    # Also in the order of its keys, in which it is written into the prompt.
    (mine,), (its,) = own.get_json_schemas(), asyncio.run(offered())
    assert its == mine
    parameters = [json.dumps(one["function"]["parameters"]) for one in (mine, its)]
    assert parameters[0] == parameters[1]


NOT_THERE = [
    (("no-such-server",), "No such file or directory"),
    (python("raise SystemExit('I have no licence')"), "I have no licence"),
]


@pytest.mark.parametrize("http", [False, True])
@pytest.mark.parametrize(("command", "said"), NOT_THERE)
def test_a_server_that_is_not_there_is_named_with_what_it_said(command, said, http):
    with pytest.raises(ToolServerError, match="the MCP server ") as error:
        called(Server(command, http))
    assert said in str(error.value)


def test_a_secret_among_the_arguments_of_a_server_is_not_said():
    code = "import sys; raise SystemExit(f'unknown keys {sys.argv[2:]}')"
    headers = ("--header", "X-API-Key: simsim", "--header", "Authorization: Basic b3Blbg==")
    command = (*python(code), "--api-key", "sesame", "--token=open", *headers)
    with pytest.raises(ToolServerError, match="the MCP server ") as error:
        called(Server(command))
    said = str(error.value)
    assert "--api-key '(hidden)'" in said
    assert "unknown keys ['(hidden)', '--token=(hidden)', '--header', 'X-API-Key: (hidden)'" in said
    assert not [key for key in ("sesame", "open", "simsim", "b3Blbg") if key in said]


@pytest.mark.parametrize(
    ("command", "http", "said"),
    [
        (dying("tools/list"), False, "cannot be used: Connection closed"),
        (python("while True: input(); print('{]')"), False, "is not ready after 0.7 s"),
        (python("import os; os.write(1, b'\\xff\\n'); input(); input()"), False, "is not ready"),
        (python("import time; time.sleep(99)"), True, "does not say its address"),
        (python("print('http://example.com/mcp')"), True, "is not on loopback"),
        (python("print('http://127.0.0.1:80@example.com/mcp')"), True, "is not on loopback"),
    ],
)
def test_a_server_that_answers_no_mcp_is_named_in_its_time(command, http, said):
    # Seconds enough to begin where nothing is waited for.
    seconds = 0.7 if "ready" in said or "say" in said else 30
    with pytest.raises(ToolServerError, match="the MCP server ") as error:
        called(Server(command, http, start_seconds=seconds))
    assert said in str(error.value)


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (dying("tools/call"), "calculator failed: Connection closed"),
        (saying("__import__('time').sleep(99)"), "calculator failed: does not answer"),
        (saying("b'raw'"), "calculator failed"),
    ],
)
def test_a_server_that_is_lost_on_the_way_fails_the_rollout(command, said):
    with pytest.raises(ToolServerError, match=said):
        called(Server(command, call_seconds=1))


def test_a_megabyte_of_answer_is_cut():
    answered = called(Server(saying("'x' * 1_000_000")))
    assert answered.endswith("... (cut, 1000000 characters)")
    assert len(answered) < 5000


def test_the_agent_solves_a_task_with_the_servers_tool():
    model = teacher_model()
    model.client = TeacherClient(
        [
            ("calculator", {"expression": "6 * 7"}),
            ("generate_response", {"result": "42"}),
        ]
    )
    task = {"question": "What is 6 times 7?", "answer": "6*7\n#### 42"}
    output = asyncio.run(use_tools(task, model))
    assert (output.reward, output.metrics["tools_offered"]) == (1.0, 1.0)
    messages = model.client.transcript.messages
    assert any(m["role"] == "tool" and "42" in str(m["content"]) for m in messages)


def test_a_lost_server_fails_the_rollout_although_the_agent_goes_on():
    model = teacher_model()
    model.client = TeacherClient(
        [("calculator", {"expression": "1"}), ("generate_response", {"result": "1"})]
    )
    with pytest.raises(ToolServerError, match="Connection closed"):
        asyncio.run(use_tools({"question": "?", "answer": "1"}, model, [*dying("tools/call")]))


HANGING = python("import signal, time\nsignal.signal(15, signal.SIG_IGN)\ntime.sleep(99)")


@pytest.mark.parametrize("http", [False, True])
def test_a_server_that_will_not_end_is_ended_when_the_time_of_its_rollout_is_over(http):
    async def rolled_out() -> None:
        work = _called(Server(HANGING, http), "1")
        with pytest.raises(TimeoutError, match=r"workflow\.timeout"):
            await guard.within(guard.Rollout("one", timeout=0.5), work)
        # The runner goes on with others.
        while below():
            await asyncio.sleep(0.05)

    asyncio.run(rolled_out())


def test_a_server_ends_with_the_process_that_started_it():
    script = (
        "import asyncio\nfrom rlagent.tools.mcp_client import Server, tools_of\n"
        "async def wait():\n"
        f"    async with tools_of(Server({HANGING!r}, start_seconds=60)): pass\n"
        "asyncio.run(wait())"
    )
    starter = subprocess.Popen([sys.executable, "-c", script], cwd=CALCULATOR.parents[2])
    started = psutil.Process(starter.pid)
    # The leash has become the server.
    while not (found := [one for one in started.children() if one.cmdline()[2:] == [HANGING[2]]]):
        assert starter.poll() is None
    starter.kill()
    starter.wait()
    assert psutil.wait_procs(found, timeout=60)[1] == []


def test_a_server_that_is_started_too_late_is_not_run(tmp_path):
    # As if its starter had ended by then.
    command = (*LEASHED, "0", sys.executable, "-c", f"open({str(tmp_path / 'ran')!r}, 'w')")
    subprocess.run(command, check=True)
    assert not (tmp_path / "ran").exists()
    subprocess.run((*LEASHED, str(os.getpid()), *command[4:]), check=True)
    assert (tmp_path / "ran").exists()


def test_another_way_of_speaking_is_refused():
    with pytest.raises(ValueError, match="transport"):
        asyncio.run(use_tools({"question": "", "answer": ""}, None, transport="pigeon"))  # type: ignore[arg-type]
