"""What every OpenAI-compatible server of ours says when it refuses, and whom it answers at all."""

from typing import Any, Dict, Optional

from aiohttp import web
from aiohttp.typedefs import Handler

from rlagent.base.loopback import is_key, is_loopback


def error_of(status: int, message: str, kind: str, param: Optional[str] = None) -> Dict[str, Any]:
    """An error in the shape that OpenAI clients read."""
    return {"message": message, "type": kind, "param": param, "code": status}


def error_response(
    status: int, message: str, kind: str, param: Optional[str] = None
) -> web.Response:
    """A response that carries an error."""
    return web.json_response({"error": error_of(status, message, kind, param)}, status=status)


def guarding(api_key: str, loopback: bool = True) -> Any:
    """A middleware that answers only who knows the key, and no page of a browser.

    What a browser says is explained in rlagent.base.loopback.
    """

    @web.middleware
    async def guard(http: web.Request, handler: Handler) -> web.StreamResponse:
        host = http.headers.get("Host", "")
        if loopback and not is_loopback(host):
            return error_response(403, f"the host {host!r} is not loopback", "permission_error")
        if "Origin" in http.headers:
            return error_response(403, "browsers are not answered", "permission_error")
        # Not what says that it lives, and how busy it is: Trinity asks without the key.
        if api_key and http.path.startswith("/v1/"):
            given = http.headers.get("Authorization", "").removeprefix("Bearer ")
            if not is_key(given, api_key):
                text = "the key is missing or wrong"
                return error_response(401, text, "authentication_error")
        return await handler(http)

    return guard
