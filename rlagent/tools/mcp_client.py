"""Tools of an MCP server for one rollout, which starts the server and ends it.

Over standard streams, or HTTP on loopback. A server that is not there, dies, or answers what is no
MCP fails the rollout that asked, in its time and by name; so does one whose tool does not answer.
What a tool finds wrong with its arguments is for the model to read.
"""

import asyncio
import contextlib
import os
import re
import secrets
import shlex
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, TextIO

from agentscope.mcp import MCPToolFunction
from agentscope.message import TextBlock
from agentscope.tool import Toolkit, ToolResponse
from mcp import ClientSession, StdioServerParameters, stdio_client
from mcp.client.stdio import get_default_environment
from mcp.client.streamable_http import streamablehttp_client
from mcp.shared.exceptions import McpError

from rlagent.base.redact import redact_command, redact_said

TOKEN = "MCP_TOKEN"
"""In the environment of a server over HTTP: what its callers have to know."""

# Ends a server with the process that has started it, however that ends, and also where it has
# ended before the kernel could be asked.
_LEASH = (
    "import ctypes, os, signal, sys; ctypes.CDLL(None).prctl(1, signal.SIGKILL); "
    "os.getppid() == int(sys.argv[1]) or sys.exit(); os.execvp(sys.argv[2], sys.argv[2:])"
)


class ToolServerError(RuntimeError):
    """A server cannot be used, or not any more; the message says which and why."""


@dataclass(frozen=True)
class Server:
    """A server to be started.

    Args:
        command: Program and arguments.
        http: Whether it serves HTTP, at an address that its first line of output says; else it
            speaks over its standard streams.
        start_seconds: In which it must be ready, tools listed.
        call_seconds: In which a tool must answer.
        characters: Of an answer that are passed on; the rest is cut.
    """

    command: Sequence[str]
    http: bool = False
    start_seconds: float = 30.0
    call_seconds: float = 30.0
    characters: int = 4000


@dataclass
class Tools:
    """The tools of a server under way."""

    toolkit: Toolkit
    # Why the server could not be used in the end; empty: it could.
    lost: list[str] = field(default_factory=list)

    def require(self) -> None:
        """Make sure that no call was lost.

        Raises:
            ToolServerError: A call was not answered, since the server has died or hangs.
        """
        if self.lost:
            raise ToolServerError(self.lost[0])


@contextlib.asynccontextmanager
async def tools_of(server: Server) -> AsyncIterator[Tools]:
    """Start a server and offer its tools; it is ended at the end.

    Raises:
        ToolServerError: It cannot be started, or is not ready in its time.
    """
    try:
        with tempfile.TemporaryFile("w+", errors="replace") as said:
            async with _streams(server, said) as (reading, writing):
                wait = timedelta(seconds=server.call_seconds)
                async with ClientSession(reading, writing, read_timeout_seconds=wait) as session:
                    tools = Tools(Toolkit())
                    for tool in await _listed(session, server, said):
                        function = _Function(server, tools, tool, session)
                        tools.toolkit.register_tool_function(function)
                    yield tools
    except BaseExceptionGroup as group:
        # What is raised inside of the streams' task groups comes out wrapped.
        raise _first(group) from group


@contextlib.asynccontextmanager
async def _streams(server: Server, said: TextIO) -> AsyncIterator[tuple[Any, Any]]:
    command = [sys.executable, "-S", "-P", "-c", _LEASH, str(os.getpid()), *server.command]
    if not server.http:
        program = StdioServerParameters(
            command=command[0], args=command[1:], encoding_error_handler="replace"
        )
        async with stdio_client(program, errlog=said) as streams:
            yield streams
        return
    token = secrets.token_urlsafe(32)
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=said,
        env={**get_default_environment(), TOKEN: token},
        start_new_session=True,
    )
    try:
        url = await _address(process, server, said)
        headers = {"Authorization": f"Bearer {token}"}
        async with streamablehttp_client(url, headers, timeout=server.call_seconds) as (
            reading,
            writing,
            _,
        ):
            yield reading, writing
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()


async def _address(process: asyncio.subprocess.Process, server: Server, said: TextIO) -> str:
    assert process.stdout is not None
    try:
        async with asyncio.timeout(server.start_seconds):
            line = (await process.stdout.readline()).decode(errors="replace").strip()
    except (TimeoutError, ValueError):
        raise _unusable(server, said, "does not say its address") from None
    # The whole of host and port: what stands before an @ in an address is a user's name.
    if not re.match(r"http://127\.0\.0\.1:\d+(/|\Z)", line):
        raise _unusable(server, said, f"is not on loopback: {line[:80]!r}" if line else "has ended")
    return line


async def _listed(session: ClientSession, server: Server, said: TextIO) -> list[Any]:
    try:
        async with asyncio.timeout(server.start_seconds):
            await session.initialize()
            return (await session.list_tools()).tools
    except TimeoutError:
        words = f"is not ready after {server.start_seconds:g} s"
    # Whatever the session makes of an answer that is none.
    except Exception as error:
        words = f"cannot be used: {error or type(error).__name__}"
    raise _unusable(server, said, words)


def _unusable(server: Server, said: TextIO, words: str) -> ToolServerError:
    said.seek(0)
    last = redact_said(said.read(), server.command).strip().rpartition("\n")[2][-200:]
    name = redact_command(shlex.join(server.command))[-120:]
    words = redact_said(words, server.command)
    return ToolServerError(f"the MCP server {name} {words}" + (f" ({last})" if last else ""))


def _first(group: BaseException) -> BaseException:
    """The first of a group that is not a group itself."""
    while isinstance(group, BaseExceptionGroup):
        group = group.exceptions[0]
    return group


class _Function(MCPToolFunction):
    """A tool of the server, of whose answer the model gets text of limited length."""

    def __init__(self, server: Server, tools: Tools, tool: Any, session: ClientSession) -> None:
        super().__init__(
            mcp_name=redact_command(shlex.join(server.command)),
            tool=tool,
            wrap_tool_result=True,
            session=session,
            timeout=server.call_seconds,
        )
        self._server, self._tools = server, tools

    async def __call__(self, **arguments: Any) -> ToolResponse:
        self._tools.require()
        try:
            async with asyncio.timeout(self._server.call_seconds):
                answered = await super().__call__(**arguments)
        # The toolkit would hand any of it to the model as a tool's answer, and go on.
        except Exception as error:
            words = "does not answer" if isinstance(error, TimeoutError) else _words(error)
            words = redact_said(words, self._server.command)
            self._tools.lost.append(f"the MCP server's tool {self.name} failed: {words}")
            raise
        text = "".join(block["text"] for block in answered.content if block["type"] == "text")
        if not text and answered.content:
            kinds = ", ".join(sorted({block["type"] for block in answered.content}))
            text = f"({kinds}, which cannot be shown)"
        if len(text) > self._server.characters:
            text = f"{text[: self._server.characters]}... (cut, {len(text)} characters)"
        return ToolResponse(content=[TextBlock(type="text", text=text)])


def _words(error: Exception) -> str:
    return error.error.message if isinstance(error, McpError) else str(error) or repr(error)
