"""The view's pages of rollouts: filters, paging, one, side by side; hostile text stays text."""

import random
import re

import pytest

from rlagent.records.folder import RunFolder
from rlagent.records.rollouts import Query
from rlagent.report.view import heads
from rlagent.report.view.site import Site
from tests.fabricated import HOSTILE, rollout
from tests.viewing import asked

RUN = "gsm8k_react-1a2b3c4d"


@pytest.fixture(autouse=True)
def unhurried(monkeypatch):
    """No page stops looking because this machine is slow."""
    monkeypatch.setattr(heads, "SECONDS", 1e9)


def run_with(root, rows, name=RUN, packed=True):
    run = RunFolder(root / name)
    run.write_status(state="finished", steps_trained=3, steps_asked=3)
    for row in rows:
        run.rollouts.append(row)
    if packed:
        run.rollouts.seal()
    return run


def row(step, group=0, run=0, phase="train", reward=1.0, hostile=""):
    chance = random.Random(step + group)
    made = rollout(group, step, chance, reward, hostile)
    made |= {"phase": phase, "run": run, "model_version": max(0, step - 1)}
    return made | {"reward": reward, "success": reward >= 1}


def steps(page):
    cells = r'<td class="n" data-v="(\d+)">\d+</td><td data-v="(?:train|eval)'
    return [int(found) for found in re.findall(cells, page.text)]


def picks(page):
    return re.findall(r'name="pick" value="([^"]+)"', page.text)


@pytest.fixture(scope="module")
def outputs(tmp_path_factory):
    root = tmp_path_factory.mktemp("view") / "outputs"
    rows = [row(step, group, run, reward=float(run)) for step in (1, 2, 3)
            for group in range(3) for run in range(2)]  # fmt: skip
    rows += [row(step, group, phase="eval") for step in (0, 3) for group in range(3)]
    lost = {"reward": None, "success": False, "error": f"ValueError: lost {HOSTILE}"}
    rows += [row(3, 9) | lost]
    rows += [row(2, 8, hostile=HOSTILE)]
    run_with(root, rows)
    return root


@pytest.mark.parametrize(
    ("query", "kept"),
    [("", 26), ("phase=eval", 6), ("first=2&last=2", 7), ("outcome=failed", 1), ("error=LOST", 1),
     ("outcome=success&phase=train", 10), ("outcome=no+success", 9), ("least=0.5", 16),
     ("most=0.5", 9), ("task=14", 8), ("text=onerror", 2), ("tool=calculator", 26), ("tool=x", 0),
     ("longer=0", 0), ("turns=2", 26), ("turns=3", 0), ("lag=1", 0), ("order=oldest+first", 26)],
)  # fmt: skip
def test_filters_keep_what_they_say(outputs, query, kept):
    assert len(steps(asked(outputs, f"/run/{RUN}/rollouts?{query}"))) == kept


def test_the_newest_step_is_first_unless_the_oldest_is_asked_for(outputs):
    newest, oldest = asked(
        outputs, f"/run/{RUN}/rollouts", f"/run/{RUN}/rollouts?order=oldest+first"
    )
    assert steps(newest) == sorted(steps(newest), reverse=True)
    assert steps(oldest) == sorted(steps(oldest))


@pytest.mark.parametrize(
    "query", ["first=x", "least=nan", "lag=1.5", "phase=both", "outcome=good", "at=x.y.z"]
)
def test_a_wrong_filter_is_said(outputs, query):
    answer = asked(outputs, f"/run/{RUN}/rollouts?{query}")
    assert answer.status == 400
    assert query.partition("=")[0] + "=" in answer.text


def test_pages_follow_each_other_without_a_gap_or_a_repeat(outputs, monkeypatch):
    monkeypatch.setattr(heads, "PAGE", 4)
    path, found = f"/run/{RUN}/rollouts?phase=train&order=oldest+first", []
    while path:
        page = asked(outputs, path)
        found += picks(page)
        later = re.search(r'href="(\?[^"]+)">Next page', page.text)
        path = later and f"/run/{RUN}/rollouts{later[1].replace('&amp;', '&')}"
    assert len(found) == len(set(found)) == 20


def test_a_search_stops_when_its_time_is_over_and_goes_on_from_there(outputs, monkeypatch):
    monkeypatch.setattr(heads, "SECONDS", 0.5)
    site = Site(outputs)
    store = heads.place(site, RUN).store
    query, clock = Query(text="bags of 2 apples"), iter(range(1000))
    found = heads.find(site, store, query, clock=lambda: next(clock))
    assert (found.heads, found.until, found.later) == ([], 3, "3.eval.0")
    query = Query(text="onerror", steps=(None, 2))
    found = heads.find(site, store, query, found.later, clock=lambda: 0.0)
    assert [head.step for head in found.heads] == [2]


def test_a_rollout_shows_what_was_said_its_group_and_the_task_elsewhere(outputs):
    page = asked(outputs, f"/run/{RUN}/rollout?phase=train&step=2&group=1&run=1")
    assert "calculator</b>(expression=" in page.text
    assert "Mina buys" in page.text
    assert "+0.71 standard deviations" in page.text
    # The other of its group, and itself.
    assert sorted(picks(page)) == [f"{RUN}||train|2||1|0", f"{RUN}||train|2||1|1"]
    evaluated = asked(outputs, f"/run/{RUN}/rollout?phase=eval&step=3&group=1&run=0")
    assert "The same task in other evaluations" in evaluated.text
    assert f"{RUN}||eval|0||1|0" in picks(evaluated)


@pytest.mark.parametrize(
    "query",
    [
        "",
        "phase=train&step=2&group=77&run=0",
        "phase=x&step=2",
        f"phase=train&step={'9' * 20}&group=0&run=0",
    ],
)
def test_a_rollout_that_is_not_there_is_named(outputs, query):
    answer = asked(outputs, f"/run/{RUN}/rollout?{query}")
    assert answer.status == 404
    assert "There is no rollout" in answer.text


def test_rollouts_of_two_runs_stand_side_by_side_under_what_both_were_told(tmp_path):
    run_with(tmp_path, [row(1)])
    run_with(tmp_path, [row(1, reward=0.0)], name="other-1")
    page = asked(tmp_path, f"/sides?pick={RUN}||train|1||0|0&pick=other-1||train|1||0|0")
    assert page.text.count('<div class="side">') == 2
    assert page.text.count("What all were told") == 1
    assert page.text.count("You solve maths problems") == 1
    assert "other-1, train step 1" in page.text


@pytest.mark.parametrize("query", ["", "pick=a", "pick=a&pick=a", "pick=a|b&pick=c"])
def test_one_rollout_alone_has_no_sides(outputs, query):
    assert asked(outputs, f"/sides?{query}").status == 400


def test_rollouts_of_a_step_under_way_are_shown_and_not_remembered(tmp_path):
    run = run_with(tmp_path, [row(1)], packed=False)
    site = Site(tmp_path)
    store = heads.place(site, RUN).store
    assert len(heads.find(site, store, Query()).heads) == 1
    run.rollouts.append(row(1, group=1))
    assert len(heads.find(site, store, Query()).heads) == 2


def test_sampled_tokens_are_coloured_where_they_were_recorded(tmp_path):
    told = row(1)
    told["calls"][0] |= {"tokens": ["<b>", "no"], "logprobs": [0.0, -5.0]}
    run_with(tmp_path, [told, row(1, run=1, reward=0.0)])
    first, other = asked(tmp_path, *(
        f"/run/{RUN}/rollout?phase=train&step=1&group=0&run={run}" for run in (0, 1)
    ))  # fmt: skip
    assert '<span class="p0" title="probability 1, log 0.000">&lt;b&gt;</span>' in first.text
    assert '<span class="p7" title="probability 0.00674, log -5.000">no</span>' in first.text
    # Of an algorithm that recorded none, from the rewards of the group.
    assert "Call 1, 2 tokens, advantage about +0.71" in first.text
    assert '<div class="tokens above">' in first.text
    assert "Sampled tokens" not in other.text


@pytest.mark.parametrize(
    ("advantages", "says", "shows"),
    [
        ([-1.5], "advantage -1.5", '<div class="tokens below">'),
        ([None], "advantage none, not trained on", '<div class="tokens ">'),
        ([], "advantage none, not trained on", '<div class="tokens ">'),
        ([[0.5, -0.5]], "advantage one for each token", '<span class="p0 above" title='),
    ],
)
def test_advantages_that_were_trained_on_are_shown_as_recorded(tmp_path, advantages, says, shows):
    told = row(1) | {"advantages": advantages}
    told["calls"][0] |= {"tokens": ["a", "b"], "logprobs": [-0.1, -0.1]}
    run_with(tmp_path, [told, row(1, run=1, reward=0.0)])
    page = asked(tmp_path, f"/run/{RUN}/rollout?phase=train&step=1&group=0&run=0")
    assert says in page.text
    assert shows in page.text


def test_text_of_tasks_answers_names_and_errors_never_becomes_markup(outputs):
    pages = asked(
        outputs,
        f"/run/{RUN}/rollouts", f"/run/{RUN}/rollouts?text={HOSTILE.replace('=', '%3D')}",
        f"/run/{RUN}/rollout?phase=train&step=2&group=8&run=0",
        f"/run/{RUN}/rollout?phase=train&step=3&group=9&run=0",
        f"/sides?pick={RUN}||train|2||8|0&pick={RUN}||train|3||9|0",
        "/run/%3Cscript%3Ealert(1)%3C%2Fscript%3E", f"/run/{RUN}/rollouts?phase=<script>",
    )  # fmt: skip
    for page in pages:
        assert "alert(1)" in page.text or "script&gt;" in page.text
        # The page's own, and nothing else.
        assert re.findall(r"<script[^>]*>", page.text) == ['<script src="/script.js" defer>']
        assert "<img" not in page.text


def test_a_damaged_segment_is_named_and_the_others_are_shown(tmp_path):
    run = run_with(tmp_path, [row(1), row(2)])
    (segment,) = run.path.rglob("train-000001*")
    segment.write_bytes(segment.read_bytes()[:40])
    page = asked(tmp_path, f"/run/{RUN}/rollouts")
    assert steps(page) == [2]
    assert "train-000001.jsonl.gz is damaged" in page.text


def test_states_of_an_environment_and_their_rewards_are_shown_where_they_fell(tmp_path):
    shown = row(1)
    event = {"after": 0, "environment": "Lake", "action": "up", "observation": "<b>ice</b>"}
    shown["environment"] = [{**event, "reward": 0.25, "done": True}]
    run_with(tmp_path, [shown])
    page = asked(tmp_path, f"/run/{RUN}/rollout?phase=train&step=1&group=0&run=0")
    assert "Lake.step(&#34;up&#34;): reward 0.25, done" in page.text
    assert "&lt;b&gt;ice" in page.text
