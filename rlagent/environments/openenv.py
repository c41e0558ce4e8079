"""Any environment of OpenEnv by its URL, as an environment of this package.

The protocol is spoken by openenv-core's own client. What a server must not do is named here.
"""

import asyncio
import json
from typing import Any
from urllib.parse import urlsplit

import aiohttp

from rlagent.environments.protocol import (
    MOST_CHARACTERS,
    EnvironmentDiedError,
    EnvironmentGarbageError,
    Step,
)

INSTALL = "pip install 'rlagent[experiments]' && pip install --no-deps openenv-core==0.3.0"
"""openenv-core asks for gradio, which it needs for its own pages alone, and which contradicts what
is installed here."""

_REFUSED = "(code: VALIDATION_ERROR)"
"""In what the client raises where a server takes no such action."""

_GOODBYE = 0.3
"""Seconds in which a server may agree to the end of a session; a rollout waits no longer."""

_schemas: dict[str, dict[str, Any]] = {}


def place_of(url: str) -> str:
    """A server as messages name it, without what may be a secret in its address.

    >>> place_of("http://me:key@127.0.0.1:80/secret?token=1")
    'http://127.0.0.1:80'

    Raises:
        ValueError: It is no address of a server.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https", "ws", "wss") or not parts.hostname:
        raise ValueError("url: write http://HOST:PORT, or https://, ws://, wss://")
    port = f":{parts.port}" if parts.port else ""
    return f"{parts.scheme}://{parts.hostname}{port}"


class OpenEnv:
    """One session with a server of OpenEnv; to be opened with `where="loop"`.

    Args:
        url: Of the server: http://HOST:PORT.
        connect_timeout: Seconds to reach it.
    """

    def __init__(self, url: str, connect_timeout: float = 10.0) -> None:
        try:
            from openenv.core import GenericEnvClient
        except ImportError as error:
            raise ImportError(f"openenv-core is not installed ({error}): {INSTALL}") from None
        self._place = place_of(url)
        # Its own limit of a message is that of `opened`.
        self._client = GenericEnvClient(
            base_url=url, connect_timeout_s=connect_timeout, message_timeout_s=86400.0
        )

    async def reset(self, **options: Any) -> Step:
        """Begin an episode; the server takes the options that it knows, such as `seed`."""
        return await self._asked(self._client.reset, **options)

    async def step(self, action: dict[str, Any]) -> Step:
        """Act once, by the fields of the server's action."""
        return await self._asked(self._client.step, action)

    async def close(self) -> None:
        """End the session, and with it the server's environment."""
        connection = self._client._ws
        try:
            async with asyncio.timeout(_GOODBYE):
                await self._client.close()
        except TimeoutError:
            connection.transport.abort()

    async def _asked(self, ask: Any, *args: Any, **options: Any) -> Step:
        from websockets.exceptions import ConnectionClosed

        try:
            found = await ask(*args, **options)
        except RuntimeError as error:
            if _REFUSED not in str(error):
                raise
            # The model asked for it, and nothing has happened.
            return Step({"error": "that is no action of this environment"}, info={"refused": True})
        except (ConnectionError, ConnectionClosed) as error:
            why = "is not there" if isinstance(error, ConnectionError) else "ended the session"
            cause = error.__cause__ or error
            raise EnvironmentDiedError(
                f"the environment server {self._place} {why}: {type(cause).__name__}"
            ) from None
        except (json.JSONDecodeError, UnicodeDecodeError, AttributeError, TypeError) as error:
            # The client reads an answer as if it were one.
            raise EnvironmentGarbageError(
                f"the environment server {self._place} answered what is none of OpenEnv's: {error}"
            ) from None
        if not isinstance(found.observation, dict) or not isinstance(found.done, bool):
            raise EnvironmentGarbageError(
                f"the environment server {self._place} answered without an observation, or with "
                f"done={found.done!r}"
            )
        return Step(found.observation, found.reward or 0.0, found.done)


def shown_to_model(observation: Any) -> str:
    """An observation as a model reads it: the text itself where it is nothing else.

    >>> shown_to_model({"hint": "higher"}), shown_to_model({"row": 1, "seen": ["ice"]})
    ('higher', '{"row": 1, "seen": ["ice"]}')
    """
    if isinstance(observation, dict) and len(observation) == 1:
        (observation,) = observation.values()
    if isinstance(observation, str):
        return observation
    return json.dumps(observation, ensure_ascii=False)


async def action_schema(url: str, seconds: float = 10.0) -> dict[str, Any]:
    """The JSON schema of a server's actions, for a tool; asked for once per process.

    Raises:
        EnvironmentDiedError: It does not answer.
        EnvironmentGarbageError: It answers no schema.
    """
    if url not in _schemas:
        place, base = place_of(url), url.rstrip("/")
        base = base.replace("ws://", "http://", 1).replace("wss://", "https://", 1)
        try:
            async with (
                aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=seconds)) as session,
                session.get(f"{base}/schema") as answer,
            ):
                said = b""
                async for part in answer.content.iter_chunked(MOST_CHARACTERS):
                    said += part
                    if len(said) > MOST_CHARACTERS:
                        raise EnvironmentGarbageError(
                            f"the environment server {place} answered /schema with more than "
                            f"{MOST_CHARACTERS:,} bytes"
                        )
                found = json.loads(said)
        except (aiohttp.ClientError, TimeoutError) as error:
            raise EnvironmentDiedError(
                f"the environment server {place} is not there: {type(error).__name__}"
            ) from None
        except (ValueError, RecursionError):
            found = None
        action = found.get("action") if isinstance(found, dict) else None
        if not isinstance(action, dict) or not isinstance(action.get("properties"), dict):
            raise EnvironmentGarbageError(
                f"the environment server {place} answered /schema without the schema of an action"
            )
        _schemas[url] = _for_a_tool(action)
    return _schemas[url]


def _for_a_tool(schema: dict[str, Any]) -> dict[str, Any]:
    """Without what says nothing to a model: titles, and the metadata of every OpenEnv action."""
    properties = {
        name: {key: value for key, value in one.items() if key != "title"}
        for name, one in schema["properties"].items()
        if name != "metadata"
    }
    kept = {"type": "object", "properties": properties}
    if required := [name for name in schema.get("required", []) if name in properties]:
        kept["required"] = required
    if "$defs" in schema:
        kept["$defs"] = schema["$defs"]
    return kept
