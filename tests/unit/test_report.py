"""The report shows what the run folder holds, and nothing in it can act."""

import base64
import csv
import hashlib
import html.parser
import io
import shutil

import pytest

from rlagent.base.measures import evaluation_metrics, step_metrics
from rlagent.base.stats import Series
from rlagent.records.calls import Call, compact
from rlagent.records.files import append_row
from rlagent.records.folder import RunFolder
from rlagent.report import main, write_report
from rlagent.report.conversation import read_turns, split_opening
from rlagent.report.data import Pair, choose, load
from rlagent.report.page import page
from rlagent.report.svg import MAX_POINTS, nice_ticks, thin
from rlagent.report.text import markdown
from tests.fabricated import HOSTILE, fabricate


class Tags(html.parser.HTMLParser):
    """Every tag with its attributes, as a browser finds them."""

    def __init__(self, text):
        super().__init__()
        self.found = []
        self.open = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """A finished run that no test writes to."""
    return fabricate(tmp_path_factory.mktemp("plain"))


@pytest.fixture(scope="module")
def plain_page(plain):
    return page(load(plain))


def test_the_page_holds_numbers_curves_conversations_and_configuration(plain_page):
    for part in ("Held-out success", "Held-out tasks (256)", "Training rollouts",
                 "Seconds per step", "Effective sample size", "Before, step 0", "After, step 60",
                 "learnt", "config.yaml", "multi_step_grpo",
                 "Finished: 60 of 60 steps"):  # fmt: skip
        assert part in plain_page, part
    assert "agentscope 1.0.21, vllm not installed" in plain_page


def test_the_page_asks_nothing_of_the_network(plain_page):
    tags = Tags(plain_page).found
    assert not [t for t, a in tags if t in ("link", "img", "iframe", "object", "base")]
    assert not [a for t, a in tags if "src" in a or "href" in a]
    assert "url(" not in plain_page
    assert "@import" not in plain_page


def test_markup_from_datasets_and_models_stays_text(tmp_path, plain_page):
    hostile = page(load(fabricate(tmp_path, hostile=True)))
    assert HOSTILE not in hostile
    count = [[tag for tag, _ in Tags(text).found].count("script") for text in (hostile, plain_page)]
    assert count == [1, 1]
    assert not [a for _, a in Tags(hostile).found if any(k.startswith("on") for k in a)]
    assert "Content-Security-Policy" in hostile


def test_the_pages_own_script_is_the_only_one_that_its_policy_allows(plain_page):
    script = plain_page.split("<script>")[1].split("</script>")[0]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    (policy,) = [a["content"] for t, a in Tags(plain_page).found if "http-equiv" in a]
    assert policy.startswith("default-src 'none';")
    assert policy.endswith(f"script-src 'sha256-{digest}'")


def test_secrets_in_the_configuration_are_hidden(plain_page):
    assert "sesame" not in plain_page
    assert "(hidden)" in plain_page


def test_a_failed_run_shows_its_cause(tmp_path):
    folder = fabricate(tmp_path, steps=13, state="failed", cause="the explorer <died>")
    assert "the explorer &lt;died&gt;" in page(load(folder))


def test_a_folder_with_nothing_but_a_status_makes_a_report(tmp_path):
    folder = RunFolder(tmp_path / "run-00000000")
    folder.write_status(state="failed", exit_code=1, cause="the model cannot be reached")
    assert [path.name for path in write_report(folder)] == ["report.html", "reward.png"]
    assert "No metrics were recorded" in folder.report_html.read_text()


def test_numbers_that_are_not_finite_do_not_break_the_page(tmp_path):
    folder = fabricate(tmp_path)
    folder.append_metrics("trainer", 61, {"actor/entropy": float("nan"), "actor/grad_norm": 1e300})
    assert "NaN" not in page(load(folder))


def test_the_picture_has_its_size(tmp_path):
    write_report(folder := fabricate(tmp_path))
    header = folder.reward_png.read_bytes()[:24]
    size = int.from_bytes(header[16:20], "big"), int.from_bytes(header[20:24], "big")
    assert size == (1200, 600)


def test_the_command_prints_markdown_and_csv(tmp_path, capsys):
    folder = fabricate(tmp_path)
    folder.point_latest()
    assert main(["latest", "--root", str(tmp_path), "--format", "markdown"]) == 0
    assert "| 60 | 8" in capsys.readouterr().out
    assert main(["1a2b3c4d", "--root", str(tmp_path), "--format", "csv"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    shown = {(r["role"], int(r["step"]), r["metric"]): float(r["value"]) for r in rows}
    wanted = {
        (r["role"], r["step"], name): value
        for r in folder.read_metrics()
        for name, value in r["metrics"].items()
    }
    assert shown == wanted


@pytest.mark.parametrize("form", ["html", "png", "markdown", "csv"])
def test_a_report_makes_the_folder_it_goes_into(tmp_path, form):
    folder, out = fabricate(tmp_path), tmp_path / "new" / "er" / "report"
    assert main([str(folder.path), "--format", form, "--out", str(out)]) == 0
    assert out.stat().st_size > 100


def test_a_place_where_no_report_can_be_written_exits_2(tmp_path, capsys):
    folder, file = fabricate(tmp_path), tmp_path / "file"
    file.touch()
    assert main([str(folder.path), "--out", str(tmp_path)]) == 2
    assert f"--out={tmp_path}: is a folder; name a file, such as" in capsys.readouterr().err
    assert main([str(folder.path), "--out", str(file / "x.html")]) == 2
    assert "its folder cannot be made" in capsys.readouterr().err


def test_a_run_that_is_not_there_exits_2(tmp_path, capsys):
    assert main(["nothing", "--root", str(tmp_path)]) == 2
    assert "there are no runs" in capsys.readouterr().err


def test_calls_are_read_from_fields_and_from_tagged_text():
    turns = read_turns(
        [
            {"role": "user", "content": [{"type": "text", "text": "2 + 3?"}]},
            {"role": "assistant", "content": None, "tool_calls": [
                {"function": {"name": "calculator", "arguments": '{"expression": "2 + 3"}'}}]},
            {"role": "tool", "name": "calculator", "content": "5"},
            {"role": "assistant", "content": '<think>so 5</think>Done <tool_call>\n{"name": '
             '"generate_response", "arguments": {"result": "5"}}\n</tool_call>'},
            {"role": "assistant", "content": '<tool_call>\n{"name": "cut'},
        ]
    )  # fmt: skip
    kinds = [[(b.kind, b.name, b.text) for b in turn.blocks] for turn in turns]
    assert kinds == [
        [("text", "", "2 + 3?")],
        [("call", "calculator", 'expression="2 + 3"')],
        [("result", "calculator", "5")],
        [("thought", "", "so 5"), ("text", "", "Done"),
         ("call", "generate_response", 'result="5"')],
        [("call", "", '{"name": "cut')],
    ]  # fmt: skip
    given, done = split_opening(turns)
    assert (len(given), len(done)) == (1, 4)


@pytest.mark.parametrize("content", [None, 3, {"a": 1}, [None], [{"type": "image_url"}], ""])
def test_odd_message_contents_do_not_break_reading(content):
    read_turns([{"role": "assistant", "content": content}, {"content": content}])


@pytest.mark.parametrize(
    "arguments", [r'{"a\ud800": "\udfff"}', '{"a": ' + "[" * 10**5, "[" * 10**5 + "]" * 10**5]
)
def test_whatever_a_model_writes_into_a_call_can_be_shown(tmp_path, arguments):
    said = f'<tool_call>\n{{"name": "f", "arguments": {arguments}}}\n</tool_call>'
    call = {"function": {"name": "f", "arguments": arguments}}
    folder = fabricate(tmp_path)
    row = next(folder.rollouts.read())
    reply = {"role": "assistant", "content": said, "tool_calls": [call]}
    folder.rollouts.append({**row, "calls": compact([Call([], reply)])})
    write_report(folder)
    assert "udfff" in folder.report_html.read_text() or "[[[[" in folder.report_html.read_text()


def test_shown_tasks_hold_every_kind_and_are_the_first_of_it():
    def pair(index, was, now):
        return Pair({"group": index, "success": was}, {"group": index, "success": now})

    pairs = [pair(i, False, True) for i in range(20)]
    pairs += [pair(20, True, True), pair(21, True, False), pair(22, False, False)]
    chosen = choose(pairs)
    assert len(chosen) == 8
    assert {p.kind for p in chosen} == {"learnt", "kept", "lost", "unsolved"}
    assert [p.after["group"] for p in chosen[:4]] == [0, 1, 2, 3]


def test_what_the_workflow_reports_and_each_set_are_in_page_and_markdown(tmp_path):
    folder = fabricate(tmp_path, steps=2, eval_every=0)
    reports = [{"success": 1.0, "<b>depth": 2.0}]
    sets = {name: {"tasks": [{"rollouts": 1, "metrics": reports}]} for name in ("easy", "<i>hard")}
    for step in (0, 2):
        folder.append_metrics("explorer", step, evaluation_metrics(sets))
    folder.append_metrics("explorer", 1, step_metrics([{"steps": 3.0}, {"steps": 4.0}]))
    data = load(folder)
    text, html = markdown(data), page(data)
    assert "| rollout/steps/mean | 3.5 | 3.5 | 3.5 |" in text
    assert "| eval/<b>depth | 2 | 2 | 2 |" in text
    assert text.count("| 1 | 1 | easy | 2 |") == 1
    assert text.count("| 2 | 2 | all | 2 |") == 1
    for shown in ("&lt;b&gt;depth", "&lt;i&gt;hard", "Held-out success by set", "steps"):
        assert shown in html, shown
    assert "<b>depth" not in html
    assert "<i>hard" not in html


def test_every_conversation_of_a_rollout_is_shown_with_its_agent(tmp_path):
    folder = fabricate(tmp_path, steps=1, eval_every=0)
    asked = [{"role": "user", "content": "Who?"}]
    for step in (0, 1):
        calls = [Call(asked, {"role": "assistant", "content": f"{name} {step}"}, name)
                 for name in ("<u>first", "second")]  # fmt: skip
        row = {"phase": "eval", "step": step, "group": 0, "run": 0, "success": False}
        folder.rollouts.append({**row, "calls": compact(calls)})
    html = page(load(folder))
    for shown in ("&lt;u&gt;first 0", "second 0", "&lt;u&gt;first 1", "second 1",
                  "&lt;u&gt;first (1 of 2)", "second (2 of 2)"):  # fmt: skip
        assert shown in html, shown


def test_a_run_of_an_earlier_version_still_shows_its_conversations(tmp_path):
    folder = fabricate(tmp_path, steps=1, eval_every=0)
    shutil.rmtree(folder.rollouts.path)
    for step in (0, 1):
        said = [{"role": "user", "content": "Who?"}, {"role": "assistant", "content": f"me {step}"}]
        row = {"phase": "eval", "step": step, "task_index": 0, "run": 0, "success": True}
        append_row(folder.path / "trajectories.jsonl", {**row, "messages": said, "calls": 1})
    html = page(load(folder))
    assert "me 0" in html
    assert "me 1" in html


def test_long_runs_are_thinned_and_keep_their_mean():
    steps = tuple(range(1, 5001))
    thinned = thin(Series("x", steps, tuple(float(s % 2) for s in steps)))
    assert len(thinned.steps) <= MAX_POINTS
    assert sum(thinned.values) / len(thinned.values) == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize(("low", "high"), [(0, 0), (1e-9, 2e-9), (-3, 5), (0, 1e300), (7, 7)])
def test_ticks_cover_the_range_and_stay_few(low, high):
    ticks = nice_ticks(low, high)
    assert ticks[0] <= low
    assert ticks[-1] >= high
    assert 2 <= len(ticks) <= 9


def test_a_run_on_logical_gpus_is_stamped(tmp_path):
    run = RunFolder(tmp_path / "r")
    run.write_status(state="failed", cause="x", stamp="logical: timings say nothing about GPUs")
    assert "timings say nothing about GPUs" in page(load(run))
    assert "timings say nothing about GPUs" in markdown(load(run))
