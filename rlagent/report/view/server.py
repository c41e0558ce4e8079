"""The HTTP face of the view: GET only, on loopback, for who has the address that was printed.

What a page shows is left to the modules beside this one; they run in threads, since they read.
"""

import asyncio
import hashlib
import secrets
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from aiohttp import web
from aiohttp.typedefs import Handler

from rlagent.base.cause import cause_of
from rlagent.base.loopback import ADDRESS, is_key, is_loopback
from rlagent.base.process import stop_signals
from rlagent.base.texts import shown
from rlagent.records.files import DamagedError
from rlagent.report.render import source
from rlagent.report.view.comparison import comparison
from rlagent.report.view.evaluations import evaluation, evaluations
from rlagent.report.view.home import home
from rlagent.report.view.rollouts import rollout, rollouts, sides
from rlagent.report.view.run import configuration, run
from rlagent.report.view.site import Asked, BadRequestError, NotFoundError, Site
from rlagent.report.view.sweep import sweep

Page = Callable[[Site, Asked], str]

PAGES: dict[str, Page] = {
    "/": home,
    "/run/{name}": run,
    "/run/{name}/configuration": configuration,
    "/run/{name}/evaluations": evaluations,
    "/run/{name}/evaluation": evaluation,
    "/run/{name}/rollouts": rollouts,
    "/run/{name}/rollout": rollout,
    "/sides": sides,
    "/compare": comparison,
    "/sweep/{name}": sweep,
}

POLICY = (
    "default-src 'none'; script-src 'self'; connect-src 'self'; style-src 'self'; "
    # Bars of a table are as wide as their value.
    "style-src-attr 'unsafe-inline'; img-src data:; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
"""Of every answer."""


def serve(root: Path, port: int, say: Callable[[str], None], start: str = "/") -> int:
    """Serve until a signal asks for the end.

    Args:
        root: The folder to show.
        port: Where to listen on loopback; 0: a free one.
        say: Told the address, token included.
        start: Path of the page to begin with.

    Returns:
        0 when a signal ended it.

    Raises:
        OSError: The port cannot be listened on.
    """
    return asyncio.run(_serve(root, port, say, start))


async def _serve(root: Path, port: int, say: Callable[[str], None], start: str) -> int:
    asked_to_end = asyncio.Event()
    for signal in stop_signals():
        asyncio.get_running_loop().add_signal_handler(signal, asked_to_end.set)
    token = secrets.token_urlsafe(24)
    runner = web.AppRunner(application(root, token), access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        await web.TCPSite(runner, ADDRESS, port).start()
        say(f"http://{ADDRESS}:{runner.addresses[0][1]}{start}?token={token}")
        await asked_to_end.wait()
    finally:
        await runner.cleanup()
    return 0


def application(root: Path, token: str) -> web.Application:
    """The pages of a folder, for who brings the token.

    Args:
        root: The folder to show.
        token: Asked for in the first address, then in a cookie.
    """
    guard: Any = guarding(token)
    errors: Any = _errors_as_pages
    site = Site(root)
    app = web.Application(middlewares=[_headers, errors, guard])  # type: ignore[list-item]
    for path, page in PAGES.items():
        app.router.add_get(path, _answering(site, page), allow_head=False)
    for name, files, kind in (
        ("/style.css", ("style.css", "view.css"), "text/css"),
        ("/script.js", ("script.js", "view.js"), "text/javascript"),
    ):
        text = "\n".join(map(source, files))
        app.router.add_get(name, _file(text, kind), allow_head=False)
    return app


def _answering(site: Site, page: Page) -> Handler:
    async def answer(http: web.Request) -> web.StreamResponse:
        asked = Asked(
            http.match_info.get("name", ""),
            dict(http.query),
            {name: http.query.getall(name) for name in http.query},
        )
        text = await asyncio.to_thread(page, site, asked)
        tag = f'"{hashlib.sha256(text.encode()).hexdigest()[:32]}"'
        if http.headers.get("If-None-Match") == tag:
            return web.Response(status=304, headers={"ETag": tag})
        return web.Response(text=text, content_type="text/html", headers={"ETag": tag})

    return answer


def _file(text: str, kind: str) -> Handler:
    async def answer(http: web.Request) -> web.StreamResponse:
        return web.Response(text=text, content_type=kind)

    return answer


def guarding(token: str) -> Any:
    """A middleware that answers only who has the token, and no page of another site."""

    @web.middleware
    async def guard(http: web.Request, handler: Handler) -> web.StreamResponse:
        host = http.headers.get("Host", "")
        if not is_loopback(host):
            raise web.HTTPForbidden(reason=f"The host {shown(host, 80)!r} is not loopback.")
        if http.headers.get("Origin", f"http://{host}") != f"http://{host}":
            raise web.HTTPForbidden(reason="Pages of other sites are not answered.")
        if http.method != "GET":
            raise web.HTTPMethodNotAllowed(http.method, ["GET"])
        # By port, since cookies are not: another view would take its place.
        cookie = f"rlagent_view_{http.url.port}"
        if "token" in http.query and is_key(http.query["token"], token):
            # Away from the address, which histories keep.
            rest = [(name, value) for name, value in http.query.items() if name != "token"]
            answer = web.HTTPSeeOther(http.rel_url.with_query(rest))
            answer.set_cookie(cookie, token, httponly=True, samesite="Strict", path="/")
            raise answer
        if not is_key(http.cookies.get(cookie, ""), token):
            raise web.HTTPUnauthorized(
                reason="Open the address that rlagent view printed: it holds a token, another one "
                "at each start."
            )
        return await handler(http)

    return guard


@web.middleware
async def _headers(http: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        answer = await handler(http)
    except web.HTTPException as redirect:
        redirect.headers.update(HEADERS)
        raise
    answer.headers.update(HEADERS)
    return answer


@web.middleware
async def _errors_as_pages(http: web.Request, handler: Handler) -> web.StreamResponse:
    """A sentence instead of a traceback, whatever a file holds."""
    try:
        return await handler(http)
    except web.HTTPRedirection:
        raise
    except web.HTTPException as error:
        return _sentence(error.status, error.reason or "")
    except BadRequestError as error:
        return _sentence(400, str(error))
    except NotFoundError as error:
        return _sentence(404, str(error))
    except DamagedError as error:
        return _sentence(500, str(error))
    except Exception as error:
        # A file may hold anything; the page of one must not end the others.
        said = cause_of(error)
        print(f"rlagent view: {shown(http.path, 200)}: {said}", file=sys.stderr)
        return _sentence(500, f"This cannot be shown, since a file of it is damaged: {said}")


def _sentence(status: int, text: str) -> web.Response:
    from rlagent.report.render import render

    page = render("view_sentence.html.j2", layout="view.html.j2", title=f"{status}", said=text,
                  crumbs=[("all runs", "/")], root="")  # fmt: skip
    return web.Response(status=status, text=page, content_type="text/html")
