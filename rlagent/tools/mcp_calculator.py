"""A server of the Model Context Protocol that has one tool, the calculator.

Run as a script, it speaks over its standard streams; with `--http` at an address on loopback, which
its first line of output says, and which asks for the bearer token in MCP_TOKEN. It is started for
every rollout, hence needs the standard library alone and a few hundredths of a second; a server
with more to offer is written with the package mcp.
"""

import hmac
import json
import os
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

TOOL = {
    "name": "calculator",
    "description": "Compute the value of an arithmetic expression.",
    # In the order in which AgentScope describes the function: a small model knows no other.
    "inputSchema": {
        "properties": {
            "expression": {"description": "Numbers, + - * / and parentheses.", "type": "string"}
        },
        "required": ["expression"],
        "type": "object",
    },
}
_NO_METHOD = -32601


def answer(message: dict[str, Any]) -> dict[str, Any] | None:
    """The answer to a message of JSON-RPC; None to one that asks for none."""
    if "id" not in message:
        return None
    method, given = message.get("method"), message.get("params") or {}
    reply: dict[str, Any] = {"jsonrpc": "2.0", "id": message["id"]}
    if method == "initialize":
        reply["result"] = {
            "protocolVersion": given.get("protocolVersion"),
            "capabilities": {"tools": {}},
            "serverInfo": {"name": "calculator", "version": "1"},
        }
    elif method == "tools/list":
        reply["result"] = {"tools": [TOOL]}
    elif method == "tools/call" and given.get("name") == TOOL["name"]:
        reply["result"] = _called(given.get("arguments") or {})
    elif method == "ping":
        reply["result"] = {}
    else:
        reply["error"] = {"code": _NO_METHOD, "message": f"there is no {method}"}
    return reply


def _called(arguments: dict[str, Any]) -> dict[str, Any]:
    # Beside this file: importing all of rlagent would take ten times as long as the rest.
    from calculator import evaluate  # type: ignore[import-not-found]

    try:
        text, wrong = evaluate(str(arguments.get("expression", ""))), False
    except ValueError as error:
        text, wrong = f"Error: {error}", True
    return {"content": [{"type": "text", "text": text}], "isError": wrong}


def over_streams() -> None:
    """Answer each line of the input with one of the output, until the input ends."""
    for line in sys.stdin:
        reply = answer(json.loads(line))
        if reply is not None:
            print(json.dumps(reply), flush=True)


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        token = f"Bearer {os.environ.get('MCP_TOKEN', '')}"
        if not hmac.compare_digest(self.headers.get("Authorization", ""), token):
            self._send(401, b"")
            return
        size = int(self.headers.get("Content-Length", 0))
        reply = answer(json.loads(self.rfile.read(size)))
        self._send(
            202 if reply is None else 200, b"" if reply is None else json.dumps(reply).encode()
        )

    def do_GET(self) -> None:
        # No messages that nobody has asked for.
        self._send(405, b"")

    def _send(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Keep the output for what was asked."""


def over_http() -> None:
    """Answer at a free port of loopback."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as server:
        print(f"http://127.0.0.1:{server.server_port}/mcp", flush=True)
        server.serve_forever()


if __name__ == "__main__":
    over_http() if "--http" in sys.argv else over_streams()
