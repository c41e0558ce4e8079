"""The page of a sweep works in a real browser: clicks sort, and its console stays empty."""

import html
import json
import re
import shutil
import subprocess

import pytest

from rlagent.report import render
from rlagent.report.sweep import write_sweep_report
from tests.fabricated_sweep import fabricate_sweep

CHROMIUM = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if
     (path := shutil.which(name))), None,
)  # fmt: skip
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium or google-chrome on this machine"),
]

# Part of the page's own script, so that the page's policy (scripts by hash only) stays as it is.
PROBE = """
const seen = {title: document.title};
const column = (name) => [...document.querySelectorAll('table.trials th')]
  .findIndex(head => head.textContent === name);
const press = (name) => {
  document.querySelectorAll('table.trials th')[column(name)].querySelector('button').click();
  return [...document.querySelectorAll('table.trials tbody tr')]
    .map(row => row.cells[column(name)].dataset.v);
};
for (const name of ['eval/success', 'trial', 'overrides']) seen[name] = [press(name), press(name)];
const out = document.createElement('pre');
out.id = 'seen';
out.textContent = JSON.stringify(seen);
document.body.append(out);
"""


def browse(path, profile):
    done = subprocess.run(
        [CHROMIUM, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
         f"--user-data-dir={profile}", "--enable-logging=stderr", "--dump-dom", path.as_uri()],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    console = [line for line in done.stderr.splitlines() if ":CONSOLE" in line]
    return done.stdout, console


@pytest.mark.parametrize("trials", [1, 50, 500])
def test_a_click_sorts_both_ways_and_the_console_stays_empty(tmp_path, monkeypatch, trials):
    source = render.source
    monkeypatch.setattr(
        render, "source", lambda name: source(name) + (PROBE if name == "script.js" else "")
    )
    folder = fabricate_sweep(
        tmp_path, trials=trials, failed=min(5, trials - 1), hostile=trials == 50, steps=10
    )
    write_sweep_report(folder, pytest.fail)
    text, console = browse(folder.report_html, tmp_path / "profile")
    assert console == []
    found = re.search(r'<pre id="seen">(.*?)</pre>', text, re.DOTALL)
    assert found, "the page's script did not come to its end"
    seen = json.loads(html.unescape(found[1]))
    assert seen["title"] == folder.name
    falling, rising = ([float(v) for v in values if v] for values in seen["eval/success"])
    assert len(falling) == trials - min(5, trials - 1)
    assert falling == sorted(falling, reverse=True)
    assert rising == sorted(rising)
    # Trials without an objective stay last either way.
    for values in seen["eval/success"]:
        assert all(values[: len(falling)])
    numbers = [[int(v) for v in values] for values in seen["trial"]]
    assert numbers == [list(range(1, trials + 1)), list(range(trials, 0, -1))]


def test_the_console_is_really_heard(tmp_path):
    page = tmp_path / "page.html"
    page.write_text("<!doctype html><script>nothing_of_this_name()</script>")
    _, console = browse(page, tmp_path / "profile")
    assert any("nothing_of_this_name" in line for line in console)
