"""Asks the pages of `rlagent view` as a browser does that opened the printed address."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from aiohttp import ClientSession, CookieJar
from aiohttp.test_utils import TestServer

from rlagent.report.view.server import application

TOKEN = "the-printed-token"


@dataclass
class Answer:
    status: int
    text: str
    headers: Mapping[str, str]


def asked(root: Path, *paths: str, method: str = "GET", token: str | None = TOKEN, **headers: str):
    """The answers to requests, one after the other; the last one's alone when there is one."""

    async def ask() -> list[Answer]:
        found = []
        async with (
            TestServer(application(root, TOKEN)) as server,
            ClientSession(cookie_jar=CookieJar(unsafe=True)) as browser,
        ):
            if token is not None:
                await (await browser.get(server.make_url(f"/?token={token}"))).read()
            for path in paths:
                sent = {name.replace("_", "-"): value for name, value in headers.items()}
                url = f"http://{server.host}:{server.port}{path}"
                async with browser.request(
                    method, url, headers=sent, allow_redirects=False
                ) as answer:
                    text = await answer.text()
                    found.append(Answer(answer.status, text, answer.headers))
        return found

    answers = asyncio.run(ask())
    return answers[0] if len(answers) == 1 else answers
