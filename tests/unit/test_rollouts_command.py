"""`rlagent rollouts`: which rollouts a filter means, and what people and programs see of them."""

import io
import json

import pytest
from rich.console import Console

from rlagent.base.screen import lasting
from rlagent.records.calls import Call, compact
from rlagent.records.folder import RunFolder
from rlagent.records.rollouts import Query, head_of
from rlagent.report.rollout_text import conversation, over_steps, table
from rlagent.rollouts import main

HOSTILE = "\x1b]0;owned\x07\x1b[2J\x9b31m[red]x[/red]\u202e :smile:"


def rollout(**fields):
    """A training rollout of step 17 with one tool call; `said` is the answer."""
    said = fields.pop("said", "It is 2.")
    tool = fields.pop("tool", "calculator")
    question = {"role": "user", "content": "What is 1 + 1?"}
    asked = {"role": "assistant", "tool_calls": [{"function": {"name": tool, "arguments": "{}"}}]}
    answer = {"role": "assistant", "content": said}
    calls = [Call([question], asked, response_tokens=5), Call([question, asked], answer)]
    return {
        "phase": "train", "step": 17, "group": 0, "run": 0, "reward": 1.0, "success": True,
        "error": None, "model_version": 14, "row": {"index": 7, "hash": "ab12cd34ab12cd34"},
        "task": {"question": "What is 1 + 1?"}, "metrics": {"response_tokens": 12.0},
        "calls": compact(calls), **fields,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("query", "matches"),
    [
        (Query(), True),
        (Query(phase="train"), True),
        (Query(phase="eval"), False),
        (Query(steps=(17, 17)), True),
        (Query(steps=(18, None)), False),
        (Query(steps=(None, 16)), False),
        (Query(set="easy"), False),
        (Query(group=0, run=0), True),
        (Query(group=1), False),
        (Query(run=1), False),
        (Query(reward=(1.0, None)), True),
        (Query(reward=(None, 0.9)), False),
        (Query(success=True), True),
        (Query(success=False), False),
        (Query(failed=True), False),
        (Query(failed=False), True),
        (Query(error="time"), False),
        (Query(task="7"), True),
        (Query(task="8"), False),
        (Query(task="AB12"), True),
        (Query(task="cd34"), False),
        (Query(text="IT IS"), True),
        (Query(text="what is"), True),
        (Query(text='"role"'), False),
        (Query(text="role"), False),
        (Query(tool="calculator"), True),
        (Query(tool="calc"), False),
        (Query(longer_than=11), True),
        (Query(longer_than=12), False),
        (Query(turns=2), True),
        (Query(turns=3), False),
        (Query(lag=2), True),
        (Query(lag=3), False),
    ],
)
def test_a_filter_means_a_rollout_packed_or_not(tmp_path, query, matches):
    folder = RunFolder(tmp_path)
    folder.rollouts.append(rollout())
    for _ in range(2):
        assert len(list(folder.rollouts.read(query))) == matches
        if not query.text:
            assert len(list(folder.rollouts.heads(query))) == matches
        folder.rollouts.seal()


def test_one_that_failed_has_an_error_no_reward_and_no_lag_in_an_evaluation():
    head = head_of(rollout(phase="eval", reward=None, success=False, error="TimeoutError: 60 s"))
    assert Query(failed=True, error="timeout").matches(head)
    assert not Query(reward=(None, 1.0)).matches(head)
    assert not Query(lag=0).matches(head)


def test_a_text_is_found_however_json_writes_it(tmp_path):
    folder = RunFolder(tmp_path)
    folder.rollouts.append(rollout(said='He said "no"\n\tand \u00c9t\u00e9 \\ left'))
    folder.rollouts.seal()
    for text in ('said "NO"\n\tand', "\u00e9T\u00c9 \\", "1 + 1"):
        assert len(list(folder.rollouts.read(Query(text=text)))) == 1, text


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A run called `here-1a2b3c4d` of two tasks in two steps, below the current folder."""
    monkeypatch.chdir(tmp_path)
    folder = RunFolder("outputs/here-1a2b3c4d")
    folder.write_status(state="finished")
    folder.point_latest()
    for step in (16, 17):
        for group in (0, 1):
            solved = step == 17 and group == 0
            folder.rollouts.append(
                rollout(
                    step=step,
                    group=group,
                    reward=float(solved),
                    success=solved,
                    said=f"said in step {step} of {group}",
                    row={"index": group, "hash": f"{group}" * 16},
                )
            )
    folder.rollouts.append(
        rollout(step=17, group=2, reward=None, success=False, error="TimeoutError: after 60 s")
    )
    folder.rollouts.seal(16)
    return folder


def test_conversations_of_a_step_are_shown_with_what_they_came_to(run, capsys):
    assert main(["here-1a2b3c4d", "--step", "17", "--success", "yes"]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("here-1a2b3c4d: 1 rollout, 1 with success, 0 failed")
    assert "step 17, train, task 0 (00000000), rollout 0" in shown
    assert "reward 1, success, 2 turns, 12 tokens, weights of step 14, lag 2" in shown
    assert "calculator()" in shown
    assert "said in step 17 of 0" in shown
    assert "said in step 17 of 1" not in shown


def test_failed_ones_are_shown_by_their_error(run, capsys):
    assert main(["1a2b3c4d", "--failed", "timeout"]) == 0
    assert "failed: TimeoutError: after 60 s" in capsys.readouterr().out
    assert main(["1a2b3c4d", "--failed", "--step", "16"]) == 0
    shown = capsys.readouterr().out
    assert "no rollout failed with an error; --success no" in shown
    assert "training at steps 16 to 17" in shown


def test_a_task_is_shown_over_the_steps(run, capsys):
    assert main(["1a2b3c4d", "--task", "0"]) == 0
    lines = capsys.readouterr().out.splitlines()
    cells = [line.split() for line in lines if line.split()[:1] in (["16"], ["17"])]
    assert [(row[0], row[1], row[2], row[4]) for row in cells] == [
        ("16", "1", "0.0", "0"), ("17", "1", "100.0", "1")
    ]  # fmt: skip


def test_a_table_has_a_line_each_and_says_what_it_leaves_out(run, capsys):
    assert main(["1a2b3c4d", "--show", "table", "--limit", "2"]) == 0
    shown = capsys.readouterr().out
    assert shown.count("calculator") == 2
    assert "2 of 5 shown" in shown


def test_programs_get_whole_rows(run, capsys):
    assert main(["1a2b3c4d", "--format", "jsonl", "--reward", "0..0.5", "--step", "16-"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(row["step"], row["group"]) for row in rows] == [(16, 0), (16, 1), (17, 1)]
    assert rows == list(run.rollouts.read(Query(reward=(0.0, 0.5))))


def test_programs_get_json_without_nan(run, capsys):
    run.rollouts.append(rollout(step=18, metrics={"response_tokens": 1.0, "odd": float("nan")}))
    assert main(["1a2b3c4d", "--format", "jsonl", "--step", "18"]) == 0
    (row,) = map(json.loads, capsys.readouterr().out.splitlines())
    assert row["metrics"]["odd"] == "NaN"


def test_a_reader_that_leaves_ends_the_reading(run, capsys, monkeypatch):
    class Closed(io.StringIO):
        written = 0

        def write(self, text):
            Closed.written += 1
            raise BrokenPipeError

    monkeypatch.setattr("sys.stdout", lasting(Closed()))
    assert main(["1a2b3c4d", "--format", "jsonl"]) == 0
    assert Closed.written == 1


def test_the_rollouts_of_an_evaluation_are_found_by_its_name_or_folder(run, capsys):
    folder = run.path / "evaluations" / "mine"
    folder.mkdir(parents=True)
    run.rollouts.path.rename(folder / "rollouts")
    for words in (["latest", "--evaluation", "mine"], ["1a2b3c4d", "--evaluation", "mine"]):
        assert main([*words, "--step", "17", "--show", "table"]) == 0
        assert "here-1a2b3c4d, evaluation mine: 3 rollouts" in capsys.readouterr().out
    assert main([str(folder), "--step", "17", "--show", "table"]) == 0
    assert capsys.readouterr().out.startswith("mine: 3 rollouts")
    assert main(["latest", "--evaluation", "other"]) == 2
    assert "there are mine" in capsys.readouterr().err


def test_a_damaged_file_is_named_after_what_the_others_hold(run, capsys):
    path = run.rollouts.segment_file(run.rollouts.batches()[0])
    path.write_bytes(b"")
    assert main(["1a2b3c4d", "--show", "table"]) == 1
    said = capsys.readouterr()
    assert said.out.startswith("here-1a2b3c4d: 3 rollouts")
    assert "train-000016.jsonl.gz is damaged" in said.err


@pytest.mark.parametrize(
    ("words", "remedy"),
    [
        (["nobody"], "here-1a2b3c4d"),
        (["latest", "--step", "x"], "10-20"),
        (["latest", "--step", "9-3"], "10-20"),
        (["latest", "--reward", "-"], "0..0.5"),
        (["latest", "--phase", "test"], "eval"),
        (["latest", "--limit", "-1"], "0, 1, 2"),
    ],
)
def test_a_mistake_is_answered_with_what_is_allowed(run, capsys, words, remedy):
    try:
        status = main(words)
    except SystemExit as ended:
        status = ended.code
    assert status == 2
    assert remedy in capsys.readouterr().err


@pytest.mark.parametrize("show", ["conversations", "table", "steps"])
def test_nothing_that_was_said_acts_on_the_terminal(show):
    row = rollout(
        said=HOSTILE, tool=HOSTILE, error=HOSTILE, set=HOSTILE, task={"question": HOSTILE},
        metrics={HOSTILE: 1.0}, row={"index": None, "hash": HOSTILE}, phase="eval",
    )  # fmt: skip
    row["calls"][0]["agent"] = row["calls"][0]["messages"][0]["role"] = HOSTILE
    screen = io.StringIO()
    console = Console(
        file=screen, force_terminal=True, color_system=None, width=10_000, markup=False,
        highlight=False, emoji=False,
    )  # fmt: skip
    parts = {
        "conversations": lambda: conversation(row),
        "table": lambda: [table([head_of(row)])],
        "steps": lambda: over_steps([head_of(row)]),
    }[show]()
    for part in parts:
        console.print(part)
    shown = screen.getvalue()
    assert "[red]x[/red]" in shown
    for acting in ("\x1b", "\x07", "\x9b", "\u202e"):
        assert acting not in shown
    if show == "conversations":
        # Written out, so that whoever looks for it finds it.
        assert "\\x1b]0;owned\\x07\\x1b[2J" in shown
