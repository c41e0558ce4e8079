"""GSM8K's own answers become conversations of the shipped agent with its calculator."""

import json
from pathlib import Path

import pytest

from rlagent import data
from rlagent.workflows.gsm8k_react import SYSTEM_PROMPT
from rlagent.workflows.gsm8k_teacher import NoLessonError, lesson

ANSWER = "She sold 48/2 = <<48/2=24>>24 clips.\nIn all $<<48+24=72.0>>72.\n#### 72"
GSM8K = Path(__file__).parents[3] / "shared" / "data" / "gsm8k"


def _written(file: Path) -> list[dict]:
    # Not splitlines: a question may hold a separator of lines that is none of jsonl's.
    with file.open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def test_each_calculation_is_a_call_amid_the_answers_own_words():
    taught = lesson(ANSWER)
    assert taught.calls == [
        ("calculator", {"expression": "48/2"}),
        ("calculator", {"expression": "48+24"}),
        ("generate_response", {"result": "72"}),
    ]
    assert taught.texts == ["She sold 48/2 =", "24 clips.\nIn all $", "72."]


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("Six.\n#### 6", "no annotated calculation"),
        ("<<1/3=0.33>>0.33\n#### 1", "another value"),
        ("<<x+1=2>>2\n#### 2", "does not take it"),
    ],
)
def test_an_answer_that_would_contradict_its_tool_teaches_nothing(answer, reason):
    with pytest.raises(NoLessonError, match=reason):
        lesson(answer)


def test_the_command_writes_what_the_shipped_agent_sends_and_gets(tmp_path, capsys):
    rows = [{"question": "How many?", "answer": ANSWER}, {"question": "Six?", "answer": "#### 6"}]
    (tmp_path / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "test.jsonl").write_text(json.dumps({"question": "Kept?", "answer": ANSWER}))
    out = tmp_path / "out.jsonl"
    assert data.main(["gsm8k_tools", "--source", str(tmp_path), "--to", str(out)]) == 0
    assert "left out 1 rows: 1 x it has no annotated calculation" in capsys.readouterr().out
    [row] = _written(out)
    system, user, first, result, *_, last = row["messages"]
    assert (system["content"], user["content"]) == (SYSTEM_PROMPT, "How many?")
    assert first["content"] == "She sold 48/2 ="
    assert first["tool_calls"][0]["function"]["arguments"] == {"expression": "48/2"}
    assert (result["role"], result["content"]) == ("tool", "24")
    assert last["tool_calls"][0]["function"]["arguments"] == {"result": "72"}
    assert [tool["function"]["name"] for tool in row["tools"]] == [
        "calculator",
        "generate_response",
    ]


def test_a_source_that_is_not_there_is_refused_by_name(tmp_path, capsys):
    missing = tmp_path / "nowhere"
    assert data.main(["gsm8k_tools", "--source", str(missing), "--to", str(tmp_path / "o")]) == 2
    assert "--source" in capsys.readouterr().err
    assert not (tmp_path / "o").exists()


@pytest.mark.slow
def test_no_test_question_is_among_the_conversations_of_gsm8k(tmp_path):
    if not GSM8K.is_dir():
        pytest.skip("no GSM8K beside the checkout")
    out = tmp_path / "out.jsonl"
    assert data.main(["gsm8k_tools", "--source", str(GSM8K), "--to", str(out)]) == 0
    asked = {row["messages"][1]["content"] for row in _written(out)}
    assert len(asked) > 7000
    assert asked.isdisjoint(row["question"] for row in _written(GSM8K / "test.jsonl"))
