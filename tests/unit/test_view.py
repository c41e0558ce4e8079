"""`rlagent view` shows what is in outputs/ to its own user, on loopback, and writes nothing."""

import os
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from http.cookiejar import CookieJar

import pytest

from rlagent import view
from rlagent.records.sweep_store import Sweep
from rlagent.report.view.run import run
from rlagent.report.view.site import Asked, Site
from rlagent.report.view.sweep import sweep
from tests.fabricated import HOSTILE, fabricate
from tests.fabricated_sweep import fabricate_sweep
from tests.viewing import TOKEN, asked

RUN = "gsm8k_react-1a2b3c4d"


@pytest.fixture(scope="module")
def outputs(tmp_path_factory):
    root = tmp_path_factory.mktemp("view") / "outputs"
    fabricate(root, steps=8, asked=8, hostile=True, cause=f"no good {HOSTILE}", state="failed")
    fabricate_sweep(root, trials=6, steps=6, failed=2, hostile=True)
    return root


@pytest.fixture(autouse=True)
def unhurried(monkeypatch):
    """No page stops reading because this machine is slow."""
    monkeypatch.setattr("rlagent.report.view.sweep.SECONDS", 1e9)


def contents(root):
    return {
        path: (path.stat().st_mtime_ns, path.read_bytes() if path.is_file() else b"")
        for path in (root, *root.rglob("*"))
    }


def rows(page):
    return re.findall(r'<td data-v="([^"]*)"><a href', page.text)


def test_the_first_page_lists_runs_and_sweeps_and_leaves_the_trials_of_sweeps_out(outputs):
    page = asked(outputs, "/")
    assert page.status == 200
    assert set(rows(page)) == {RUN, "sweep-gsm8k_react-0a1b2c3d"}
    assert "failed" in page.text
    assert "8 of 8 steps" in page.text
    assert "4 of 6 trials" in page.text
    assert len(rows(asked(outputs, "/?trials=1"))) == 7


@pytest.mark.parametrize(
    ("query", "kept"),
    [("q=SWEEP", ["sweep-gsm8k_react-0a1b2c3d"]), ("kind=run", [RUN]), ("state=failed", [RUN]),
     ("state=failed&kind=sweep", []), ("q=nothing", []), ("from=99999999", None)],
)  # fmt: skip
def test_filters_keep_what_they_say(outputs, query, kept):
    found = rows(asked(outputs, f"/?{query}"))
    assert found == kept if kept is not None else found


def test_an_empty_folder_says_so(tmp_path):
    assert "Nothing has run here yet." in asked(tmp_path, "/").text


def test_a_run_has_its_curves_its_cause_and_its_configuration_without_secrets(outputs):
    page, configuration = asked(outputs, f"/run/{RUN}", f"/run/{RUN}/configuration")
    assert page.text.count("<svg") > 5
    assert "no good &lt;/script&gt;" in page.text
    assert f'href="/run/{RUN}/configuration"' in page.text
    assert "multi_step_grpo" in configuration.text
    assert "(hidden)" in configuration.text
    assert "sesame" not in configuration.text


def test_a_page_is_looked_at_again_while_a_run_trains_and_not_afterwards(tmp_path):
    folder = fabricate(tmp_path, steps=3, asked=9, state="running")
    folder.write_status(pid=os.getpid())
    live = asked(tmp_path, f"/run/{RUN}")
    assert 'id="live" data-live="2"' in live.text
    unchanged = asked(tmp_path, f"/run/{RUN}", If_None_Match=live.headers["ETag"])
    assert (unchanged.status, unchanged.text) == (304, "")
    folder.append_metrics("explorer", 4, {"rollout/reward/mean": 0.5})
    assert asked(tmp_path, f"/run/{RUN}", If_None_Match=live.headers["ETag"]).status == 200
    folder.write_status(state="finished")
    assert 'id="live" data-live="0"' in asked(tmp_path, f"/run/{RUN}").text


def test_a_run_whose_driver_was_killed_is_shown_as_died_by_a_server_that_saw_it_run(tmp_path):
    sleeper = subprocess.Popen(["sleep", "60"])
    fabricate(tmp_path, steps=3, asked=9, state="running").write_status(pid=sleeper.pid)
    site = Site(tmp_path)
    assert "running</span>" in run(site, Asked(RUN))
    sleeper.kill()
    sleeper.wait()
    assert "died</span>" in run(site, Asked(RUN))


def test_a_sweep_leads_from_each_trial_to_its_run(outputs):
    page = asked(outputs, "/sweep/sweep-gsm8k_react-0a1b2c3d")
    assert page.text.count("<svg") > 2
    trials = re.findall(r'<a href="../run/([^"]+)"', page.text)
    # The first of the two that failed wrote nothing at all.
    assert sorted(trials) == [f"gsm8k_react-{n:08x}" for n in (0, 1, 2, 3, 5)]
    assert asked(outputs, f"/run/{trials[0]}").status == 200


def test_a_large_sweep_is_read_in_several_looks(outputs, monkeypatch):
    monkeypatch.setattr("rlagent.report.view.sweep.SECONDS", 0.5)
    site, ticks = Site(outputs), iter(range(1000))
    looks = []
    while not looks or 'data-live="1"' in looks[-1]:
        looks.append(sweep(site, Asked("sweep-gsm8k_react-0a1b2c3d"), lambda: 0.4 * next(ticks)))
    # One trial a look, until all six are read; then, in a look of its own, which parameter matters.
    assert "1 of 6 trials read so far" in looks[0]
    later = ["Said when all trials are read." in look for look in looks]
    assert later == [True] * 6 + [False]
    assert looks[-1] == sweep(site, Asked("sweep-gsm8k_react-0a1b2c3d"))
    assert "read so far" not in looks[-1]


def test_what_a_sweep_that_is_read_at_once_says_of_its_parameters_is_said_at_once(outputs):
    page = sweep(Site(outputs), Asked("sweep-gsm8k_react-0a1b2c3d"))
    assert "Said when all trials are read." not in page


def test_the_best_trial_is_looked_for_once_whatever_the_number_of_rows(outputs, monkeypatch):
    asked, best = [], Sweep.best
    monkeypatch.setattr(Sweep, "best", lambda self: asked.append(self) or best(self))
    sweep(Site(outputs), Asked("sweep-gsm8k_react-0a1b2c3d"))
    assert len(asked) <= 2


def test_who_has_no_token_or_another_one_sees_nothing(outputs):
    for token in (None, "", "wrong", "\N{SNOWMAN}"):
        paths = ("/", f"/run/{RUN}", "/style.css", "/script.js", "/nothing")
        for answer in asked(outputs, *paths, token=token):
            assert answer.status == 401
            assert "open the address" in answer.text.lower()
            assert "gsm8k" not in answer.text


def test_the_token_leaves_the_address_and_stays_in_a_cookie_that_scripts_cannot_read(outputs):
    answer = asked(outputs, f"/sides?pick=a&token={TOKEN}&pick=b", token=None)
    assert (answer.status, answer.headers["Location"]) == (303, "/sides?pick=a&pick=b")
    cookie = answer.headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie


@pytest.mark.parametrize(
    ("headers", "says"),
    [({"Host": "evil.example"}, "not loopback"), ({"Host": "[::1"}, "not loopback"),
     ({"Origin": "http://evil.example"}, "other sites"), ({"Origin": "null"}, "other sites")],
)  # fmt: skip
def test_pages_of_other_sites_are_refused_also_with_the_token(outputs, headers, says):
    answer = asked(outputs, f"/?token={TOKEN}", **headers)
    assert answer.status == 403
    assert says in answer.text


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "HEAD", "OPTIONS"])
def test_only_get_is_answered(outputs, method):
    assert asked(outputs, "/", method=method).status == 405


def test_every_answer_forbids_foreign_scripts_frames_and_caches(outputs):
    answers = asked(outputs, "/", f"/run/{RUN}", "/nothing", f"/?token={TOKEN}", "/script.js")
    for answer in answers:
        policy = answer.headers["Content-Security-Policy"]
        assert "default-src 'none'; script-src 'self';" in policy
        assert "frame-ancestors 'none'" in policy
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize(
    "path",
    ["/nothing", "/run/no", "/run/..%2Foutputs", "/run/%2Fetc", "/run/..%2F..", "/run/a%00b"],
)
def test_what_is_not_there_is_named(outputs, path):
    assert asked(outputs, path).status == 404


@pytest.mark.parametrize("text", ["{", "[]", "", '{"state": 3, "steps_trained": "x"}', "\udcff"])
def test_a_damaged_status_costs_a_sentence_and_not_the_list(outputs, tmp_path, text, capsys):
    broken = fabricate(tmp_path, steps=2, asked=2)
    fabricate(tmp_path, name="whole-1", steps=2, asked=2)
    broken.status_json.write_bytes(text.encode(errors="surrogateescape"))
    home, page = asked(tmp_path, "/", f"/run/{RUN}")
    assert set(rows(home)) == {RUN, "whole-1"}
    assert "Traceback" not in page.text + capsys.readouterr().err
    assert "damaged" in page.text


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGINT])
def test_the_command_prints_the_address_writes_nothing_and_ends_cleanly(outputs, ending):
    before = contents(outputs)
    command = [sys.executable, "-m", "rlagent.view", str(outputs)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as running:
        address = running.stdout.readline().split()[-1]
        browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(CookieJar()))
        with browser.open(address) as answer:
            assert RUN in answer.read().decode()
        start = address.partition("?")[0]
        with browser.open(f"{start}run/{RUN}") as answer:
            assert b"<svg" in answer.read()
        with pytest.raises(urllib.error.HTTPError, match="401"):
            urllib.request.urlopen(start)
        running.send_signal(ending)
        _, complained = running.communicate(timeout=60)
    assert (running.returncode, complained) == (0, "")
    assert contents(outputs) == before


def test_a_run_folder_is_opened_at_its_own_page(outputs):
    assert view.where(outputs) == (outputs, "/")
    assert view.where(outputs / RUN) == (outputs, f"/run/{RUN}")


@pytest.mark.parametrize(
    ("words", "says"), [(["no/such"], "no folder no/such"), ([".", "--port", "70000"], "0..65535")]
)
def test_a_wrong_folder_or_port_is_said_with_status_2(words, says, capsys):
    assert view.main(words) == 2
    assert says in capsys.readouterr().err
