"""The record of a rollout holds every call, what calls share once, and gives all of it back."""

import json
import random

import pytest

from rlagent.records.calls import Call, compact, conversations, tools_id

TOOLS = [
    {"type": "function", "function": {"name": name, "description": "d", "parameters": {}}}
    for name in ("f", "g")
]


def user(text):
    return {"role": "user", "content": text}


def says(text, **more):
    return {"role": "assistant", "content": text, **more}


def test_a_growing_conversation_is_written_once():
    messages, calls = [user("0")], []
    for turn in range(1, 4):
        calls.append(Call(list(messages), says(f"a{turn}"), prompt_tokens=turn, finish="stop"))
        messages += [says(f"a{turn}"), user(str(turn))]
    rows = compact(calls)
    assert [row["messages"] for row in rows] == [[user("0")], [user("1")], [user("2")]]
    assert [row["response"] for row in rows] == [says("a1"), says("a2"), says("a3")]
    assert {row["conversation"] for row in rows} == {0}
    assert [row["prompt_tokens"] for row in rows] == [1, 2, 3]
    (one,) = conversations({"calls": rows})
    assert (one.messages, one.calls) == ([*messages[:-1]], 3)


def test_two_agents_in_turns_are_two_conversations():
    first = [
        Call([user("q")], says("a"), "first"),
        Call([user("q"), says("a"), user("r")], says("b"), "first"),
    ]
    second = [Call([user("x")], says("y"), "second")]
    found = conversations({"calls": compact([first[0], second[0], first[1]])})
    assert [(one.agent, one.calls) for one in found] == [("first", 2), ("second", 1)]
    assert found[0].messages == [user("q"), says("a"), user("r"), says("b")]


def test_calls_made_at_once_from_one_beginning_are_all_kept():
    rows = compact([Call([user("long"), user("q")], says(str(n))) for n in range(4)])
    assert [row["messages"] for row in rows] == [[user("long"), user("q")], [], [], []]
    found = conversations({"calls": rows})
    assert [one.messages[-1] for one in found] == [says(str(n)) for n in range(4)]
    assert all(one.messages[:-1] == [user("long"), user("q")] for one in found)


def test_two_agents_with_one_beginning_stay_two():
    calls = [Call([user("q")], says("a"), "first")]
    calls.append(Call([user("q"), says("a"), user("r")], says("b"), "second"))
    assert [one.agent for one in conversations({"calls": compact(calls)})] == ["first", "second"]


@pytest.mark.parametrize(
    "sent_back",
    [
        says([{"type": "text", "text": "a"}], name="agent"),
        says("a", tool_calls=[{"function": {"name": "f", "arguments": '{"y": 1, "x": 2}'}}]),
    ],
)
def test_an_answer_that_is_sent_back_in_another_form_is_the_same_answer(sent_back):
    reply = says("a")
    if "tool_calls" in sent_back:
        call = {"id": "7", "function": {"name": "f", "arguments": '{"x":2,"y":1}'}}
        reply = says("a", tool_calls=[call], reasoning_content="thought about")
    rows = compact([Call([user("q")], reply), Call([user("q"), sent_back, user("r")], says("b"))])
    assert rows[1]["messages"] == [user("r")]


def test_an_answer_that_the_agent_changed_is_kept_as_it_was_sent():
    calls = [Call([user("q")], says("a")), Call([user("q"), says("other"), user("r")], says("b"))]
    rows = compact(calls)
    assert (rows[1]["keeps"], rows[1]["messages"]) == (1, [says("other"), user("r")])
    found = conversations({"calls": rows})
    assert [one.messages for one in found] == [
        [user("q"), says("a")],
        [user("q"), says("other"), user("r"), says("b")],
    ]


def test_tools_are_named_where_they_change():
    rows = compact(
        [
            Call([user("q")], says("a"), tools=TOOLS),
            Call([user("q"), says("a"), user("r")], says("b"), tools=TOOLS),
            Call([user("q"), says("a"), user("r"), says("b"), user("s")], says("c")),
        ]
    )
    assert [row.get("tools") for row in rows] == [["f", "g"], None, []]
    assert [row.get("offered") for row in rows] == [tools_id(TOOLS), None, ""]
    # The schemas, which are long, are kept once for all rollouts.
    assert "description" not in json.dumps(rows)
    assert conversations({"calls": rows})[0].offered == tools_id(TOOLS)


def test_whatever_agents_send_can_be_read_back_call_by_call():
    chance = random.Random(3)
    for _ in range(200):
        calls: list[Call] = []
        for _ in range(chance.randrange(1, 9)):
            before = chance.choice(calls) if calls and chance.random() < 0.8 else None
            sent = [*before.messages, before.reply] if before else []
            sent = sent[: chance.randrange(len(sent) + 1)] if chance.random() < 0.4 else sent
            sent = [*sent, *(user(chance.choice("abc")) for _ in range(chance.randrange(1, 3)))]
            calls.append(Call(sent, says(chance.choice("xy")), chance.choice(["p", "q", None])))
        rows = json.loads(json.dumps(compact(calls)))
        said: list[list[dict]] = []
        for row, call in zip(rows, calls, strict=True):
            before = said[row["after"]][: row["keeps"]] if "after" in row else []
            said.append([*before, *row["messages"], row["response"]])
            assert said[-1] == [*call.messages, call.reply]
            assert row["agent"] == call.agent
        found = conversations({"calls": rows})
        assert sum(one.calls for one in found) == len(calls)
        assert all(one.messages in said for one in found)


def test_the_record_of_an_earlier_version_is_read():
    row = {"messages": [user("q"), says("a")], "calls": 2}
    (one,) = conversations(row)
    assert (one.messages, one.calls, one.agent) == (row["messages"], 2, None)
    assert conversations({"messages": [], "calls": 0}) == []


def test_what_happened_in_an_environment_stands_where_it_fell_for_people_alone():
    calls = [Call([user("q")], says("a"))]
    calls.append(Call([user("q"), says("a"), user("r")], says("b")))
    event = {"environment": "Lake", "reward": 0.0, "done": False}
    events = [
        {**event, "after": 0, "observation": "start"},
        {**event, "after": 1, "action": "up", "observation": "ice"},
        {**event, "after": 1, "action": 3, "observation": [1, 2], "reward": 0.5},
        {**event, "after": 2, "action": "up", "observation": "goal", "reward": 1.0, "done": True},
    ]
    row = {"calls": compact(calls), "environment": events}
    (told,) = conversations(row, environment=True)
    assert [m["content"] for m in told.messages] == [
        "q",
        "Lake.reset()\nstart",
        "a",
        'Lake.step("up"): reward 0\nice',
        "Lake.step(3): reward 0.5\n[1, 2]",
        "r",
        "b",
        'Lake.step("up"): reward 1, done\ngoal',
    ]
    (one,) = conversations(row)
    assert [m["content"] for m in one.messages] == ["q", "a", "r", "b"]


def test_what_happened_without_a_call_of_the_model_is_left_to_the_record():
    assert conversations({"calls": [], "environment": [{"after": 0}]}, environment=True) == []


def test_what_an_agent_earned_stands_behind_the_call_it_fell_on_for_people_alone():
    calls = [
        Call([{"role": "user", "content": "2 + 3?"}], {"role": "assistant", "content": text}, agent)
        for text, agent in (("5", "guesser"), ("A", "chooser"))
    ]
    kept = compact(calls)
    kept[0]["reward"], kept[1]["reward"] = 0.5, 1.0
    row = {"calls": kept, "environment": [{"after": 1, "environment": "Game", "observation": "on"}]}
    guesser, chooser = conversations(row, environment=True)
    assert [(m["role"], m["content"]) for m in guesser.messages[1:]] == [
        ("assistant", "5"), ("environment", "Game.reset()\non"), ("reward", "0.5")
    ]  # fmt: skip
    assert [m["content"] for m in chooser.messages] == ["2 + 3?", "A", "1"]
    assert [len(one.messages) for one in conversations(row)] == [2, 2]
