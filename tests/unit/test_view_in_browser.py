"""The view works in a real browser: its policy lets its own script run, curves move while a run
trains, and nothing that a model says runs."""

import asyncio
import contextlib
import html
import os
import shutil
import subprocess
import threading

import pytest
from aiohttp import web

from rlagent.report.view import server
from tests.fabricated import HOSTILE, fabricate
from tests.fabricated_sweep import fabricate_sweep
from tests.viewing import TOKEN

CHROMIUM = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if
     (path := shutil.which(name))), None,
)  # fmt: skip
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium or google-chrome on this machine"),
]
RUN = "gsm8k_react-1a2b3c4d"


@contextlib.contextmanager
def served(root):
    """The address of a folder's pages, which a thread of its own serves."""
    loop = asyncio.new_event_loop()
    runner = web.AppRunner(server.application(root, TOKEN))

    async def start():
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        return f"http://127.0.0.1:{runner.addresses[0][1]}"

    address = loop.run_until_complete(start())
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    yield address
    asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result()
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


def browse(url, profile, *more):
    done = subprocess.run(
        [CHROMIUM, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
         f"--user-data-dir={profile}", "--enable-logging=stderr", *more, "--dump-dom", url],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout, [line for line in done.stderr.splitlines() if ":CONSOLE" in line]


def test_every_page_of_a_hostile_folder_keeps_the_console_empty_and_its_own_title(tmp_path):
    root = tmp_path / "outputs"
    fabricate(root, steps=6, asked=6, hostile=True, state="failed", cause=HOSTILE)
    fabricate_sweep(root, trials=6, hostile=True, steps=6)
    paths = ["/", f"/run/{RUN}", "/sweep/sweep-gsm8k_react-0a1b2c3d", f"/run/{RUN}/configuration",
             f"/run/{RUN}/rollouts", f"/run/{RUN}/rollout?phase=eval&step=0&group=1&run=0",
             f"/sides?pick={RUN}||eval|0||1|0&pick={RUN}||eval|5||1|0",
             f"/compare?run={RUN}&run=gsm8k_react-00000000"]  # fmt: skip
    with served(root) as address:
        for path in paths:
            sign = "&" if "?" in path else "?"
            page, console = browse(f"{address}{path}{sign}token={TOKEN}", tmp_path / "profile")
            assert console == []
            assert "<h1>" in page
            assert "<title>owned" not in page
            assert 'class="card none" role="status" hidden' in page


def test_curves_move_while_a_run_trains_and_stop_when_it_has_ended(tmp_path, monkeypatch):
    root = tmp_path / "outputs"
    folder = fabricate(root, steps=4, asked=9, state="running")
    folder.write_status(pid=os.getpid())
    show, looks = server.PAGES["/run/{name}"], []

    # The run goes on between two looks of the browser.
    def run(site, asked):
        looks.append(asked)
        if len(looks) == 2:
            folder.append_metrics("explorer", 9, {"rollout/reward/mean": 0.75})
            folder.write_status(state="finished", steps_trained=9, pid=None)
        return show(site, asked)

    monkeypatch.setattr(server, "PAGES", {"/run/{name}": run})
    monkeypatch.setattr("rlagent.report.view.run.LIVE", 1)
    with served(root) as address:
        url = f"{address}/run/{RUN}?token={TOKEN}"
        page, console = browse(url, tmp_path / "profile", "--virtual-time-budget=6000")
    assert console == []
    assert 'data-live="0"' in page
    assert "9 of 9" in page
    # The curve of the training reward has the new point, as pointing at it says.
    assert "mean per step: 0.75" in html.unescape(page)
    assert len(looks) == 2


# Part of the page's own script, which is all that its policy lets run.
PROBE = """
const before = document.getElementById('live');
before.querySelectorAll('input[name=run]')[1].click();
before.querySelector('th button').click();
setTimeout(() => {
  const now = document.getElementById('live'), out = document.createElement('pre');
  out.id = 'seen';
  out.textContent = [now !== before, [...now.querySelectorAll('input:checked')].map(e => e.value),
    now.querySelector('th[aria-sort]')?.getAttribute('aria-sort')].join(' ');
  document.body.append(out);
}, 3500);
"""


def test_a_list_that_is_replaced_keeps_its_order_and_what_is_ticked(tmp_path, monkeypatch):
    root = tmp_path / "outputs"
    for name in ("a-1", "b-2", "c-3"):
        fabricate(root, name=name, steps=1, asked=1)
    source = server.source
    monkeypatch.setattr(
        server, "source", lambda name: source(name) + (PROBE if name == "view.js" else "")
    )
    monkeypatch.setattr("rlagent.report.view.home.IDLE", 1)
    with served(root) as address:
        url = f"{address}/?token={TOKEN}"
        page, console = browse(url, tmp_path / "profile", "--virtual-time-budget=6000")
    assert console == []
    # The second of the list, the last written first.
    assert '<pre id="seen">true b-2 ascending</pre>' in page
