"""A run's rollouts become conversations to learn from: each once, of training tasks only."""

import json
from pathlib import Path

import pytest

from rlagent import data
from rlagent.records.calls import Call, compact, tools_id, tools_offered
from rlagent.records.folder import RunFolder
from rlagent.records.rollouts import RolloutStore

TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "add",
            "description": "Adds.",
            "parameters": {"type": "object", "properties": {"a": {"type": "number"}}},
        },
    }
]


def add(folder: RunFolder, said: str, **fields: object) -> None:
    """A rollout of two calls of the model, the first of a tool."""
    user = {"role": "user", "content": [{"type": "text", "text": "1 + 1?"}]}
    asked = {"name": "add", "arguments": fields.pop("arguments", '{"a": 1}')}
    calls = [{"id": "c1", "type": "function", "function": asked}]
    called = {"role": "assistant", "content": None, "tool_calls": calls}
    result = {"role": "tool", "name": "add", "tool_call_id": "c1", "content": "2"}
    answer = {"role": "assistant", "content": said}
    made = [Call([user], called, tools=TOOLS), Call([user, called, result], answer, tools=TOOLS)]
    row = {
        "phase": "train", "step": 1, "group": 0, "run": 0, "reward": 1.0, "success": True,
        "error": None, "row": {"index": 7, "hash": "ab12cd34ab12cd34"},
        "task": {"question": "1 + 1?"}, "metrics": {}, "calls": compact(made), **fields,
    }  # fmt: skip
    for name, tools in tools_offered(made).items():
        folder.rollouts.keep_tools(name, tools)
    folder.rollouts.append(row)


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    made = RunFolder(tmp_path / "mine-1a2b3c4d")
    made.write_status(state="finished")
    return made


def written(run: RunFolder, *arguments: str) -> list[dict]:
    command = ["from-rollouts", run.name, "--root", str(run.path.parent), *arguments]
    assert data.main(command) == 0
    text = (run.path / data.FILE).read_text()
    return [json.loads(line) for line in text.splitlines()]


def refused(run: RunFolder, *arguments: str) -> int:
    return data.main(["from-rollouts", run.name, "--root", str(run.path.parent), *arguments])


def answers(rows: list[dict]) -> list[str]:
    return [row["messages"][-1]["content"] for row in rows]


def test_a_rollout_becomes_a_row_as_sft_takes_it(run: RunFolder) -> None:
    add(run, "2")
    [row] = written(run, "--successful")
    assert [message["role"] for message in row["messages"]] == [
        "user",
        "assistant",
        "tool",
        "assistant",
    ]
    assert row["messages"][0]["content"] == "1 + 1?"
    assert row["messages"][1]["tool_calls"][0]["function"] == {"name": "add", "arguments": {"a": 1}}
    assert row["tools"] == TOOLS


def test_each_list_of_tools_is_kept_once_for_all_rollouts(run: RunFolder) -> None:
    add(run, "2")
    add(run, "two", run=1)
    files = list((run.path / "rollouts" / "tools").iterdir())
    assert [file.stem for file in files] == [tools_id(TOOLS)]
    assert RolloutStore(run.path / "rollouts").tools(tools_id(TOOLS)) == TOOLS


def test_only_what_is_asked_for_is_taken(run: RunFolder) -> None:
    add(run, "good")
    add(run, "bad", run=1, reward=0.0, success=False)
    add(run, "later", step=2)
    add(run, "raised", run=2, error="ValueError", reward=None, success=False)
    assert answers(written(run, "--successful", "--step", "1")) == ["good"]
    assert answers(written(run, "--reward", "..0.5")) == ["bad"]
    assert answers(written(run)) == ["good", "bad", "later"]


def test_the_same_conversation_is_taken_once(run: RunFolder, capsys: pytest.CaptureFixture) -> None:
    for number in range(3):
        add(run, "2", run=number)
    assert len(written(run, "--successful")) == 1
    assert "left out 2: 2 x the same conversation was there already" in capsys.readouterr().out


def test_of_each_task_the_best_are_taken_of_equals_the_shorter(run: RunFolder) -> None:
    add(run, "long", run=0, metrics={"response_tokens": 90.0})
    add(run, "short", run=1, metrics={"response_tokens": 20.0})
    add(run, "poor", run=2, reward=0.5, metrics={"response_tokens": 10.0})
    add(run, "other", run=0, group=1, row={"index": 8, "hash": "ff" * 8})
    assert answers(written(run, "--best", "1")) == ["short", "other"]
    # In the order of the rollouts.
    assert answers(written(run, "--best", "2")) == ["long", "short", "other"]


def test_held_out_tasks_are_refused_unless_they_are_asked_for(
    run: RunFolder, capsys: pytest.CaptureFixture
) -> None:
    add(run, "held out", phase="eval")
    assert refused(run, "--successful") == 2
    error = capsys.readouterr().err
    assert "rollouts of evaluations only" in error
    assert "no longer measured by them" in error
    assert not (run.path / data.FILE).exists()
    assert answers(written(run, "--phase", "eval")) == ["held out"]
    assert "no longer measured by them" in capsys.readouterr().out


def test_an_evaluation_is_asked_for_by_its_name(
    run: RunFolder, capsys: pytest.CaptureFixture
) -> None:
    add(RunFolder(run.path / "evaluations" / "gsm8k-1"), "measured", phase="eval")
    assert refused(run, "--evaluation", "other") == 2
    assert "there are gsm8k-1" in capsys.readouterr().err
    assert answers(written(run, "--evaluation", "gsm8k-1")) == ["measured"]


def test_what_cannot_be_learnt_from_is_left_out_with_its_reason(
    run: RunFolder, capsys: pytest.CaptureFixture
) -> None:
    add(run, "good")
    add(run, "broken", run=1, arguments="{")
    assert answers(written(run)) == ["good"]
    assert "1 x a call's arguments are no JSON object" in capsys.readouterr().out


def test_rollouts_of_earlier_versions_lack_the_schemas(
    run: RunFolder, capsys: pytest.CaptureFixture
) -> None:
    add(run, "2")
    [file] = (run.path / "rollouts" / "tools").iterdir()
    file.unlink()
    assert refused(run) == 2
    assert "schemas were not recorded" in capsys.readouterr().err
