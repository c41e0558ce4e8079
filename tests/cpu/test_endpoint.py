"""Agents that reach the model by an endpoint: what is recorded of them, and what is refused."""

import asyncio
import os
import subprocess
import sys
import textwrap
import threading

import openai
import pytest
import random_model
from rolled import roll_out, workflow_of

from rlagent.backends.embedded.engine.service import Service, ServiceOptions
from rlagent.base.process import start_ticks
from rlagent.records.calls import conversations
from rlagent.trinity.endpoint import close_endpoint
from rlagent.trinity.recording import close_clients

HELLO = [{"role": "user", "content": "What is 2 + 3?"}]
TOOL = {
    "type": "function",
    "function": {
        "name": "add",
        "parameters": {
            "type": "object",
            "properties": {"a": {"type": "integer"}},
            "required": ["a"],
        },
    },
}


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    folder = random_model.save(tmp_path_factory.mktemp("model"))
    service = Service(ServiceOptions(str(folder), "random", 512, max_response_tokens=24))
    service.start()
    yield service
    service.stop()
    close_endpoint()


def test_a_client_leaves_the_same_experiences_as_agentscopes_model(service):
    async def by_client(task, client):
        for _ in range(2):
            await client.chat.completions.create(model="policy", messages=HELLO)
        return 1.0

    async def by_model(task, model):
        for _ in range(2):
            await model(HELLO)
        return 1.0

    mine, theirs = workflow_of(service, by_client), workflow_of(service, by_model)
    one, other = roll_out(mine, theirs)
    assert [e.tokens.tolist() for e in one] == [e.tokens.tolist() for e in other]
    for mine_, theirs_ in zip(one, other, strict=True):
        # Another batch rounds otherwise.
        assert (mine_.logprobs - theirs_.logprobs).abs().max() < 1e-4
    assert [e.prompt_length for e in one] == [e.prompt_length for e in other]
    assert [e.reward for e in one] == [1.0, 1.0]
    (said,), (expected,) = (
        [talk.messages for talk in conversations(w.found)][:1] for w in (mine, theirs)
    )
    assert said == expected


def test_streamed_parallel_and_several_answers_are_all_recorded(service):
    heard = []

    async def solve(task, client):
        create = client.chat.completions.create

        async def streamed():
            stream = await create(
                model="policy", messages=HELLO, stream=True,
                stream_options={"include_usage": True},
            )  # fmt: skip
            pieces = [piece async for piece in stream]
            heard.append("".join(p.choices[0].delta.content or "" for p in pieces if p.choices))
            assert pieces[-1].usage.completion_tokens > 0

        *_, three = await asyncio.gather(
            streamed(), streamed(), create(model="policy", messages=HELLO, n=3)
        )
        heard.extend(choice.message.content or "" for choice in three.choices)
        return 1.0

    rolled = workflow_of(service, solve)
    (experiences,) = roll_out(rolled)
    assert len(experiences) == 5
    replies = [call["response"]["content"] or "" for call in rolled.found["calls"]]
    assert sorted(replies) == sorted(heard)


def test_a_required_tool_call_arrives_whole_and_in_pieces(service):
    seen = []

    async def solve(task, client):
        asked = {"model": "policy", "messages": HELLO, "tools": [TOOL], "tool_choice": "required"}
        answer = await client.chat.completions.create(**asked, max_tokens=60, seed=3)
        seen.append(answer.choices[0].message.tool_calls[0].function)
        stream = await client.chat.completions.create(**asked, max_tokens=60, seed=3, stream=True)
        deltas = [piece.choices[0].delta async for piece in stream]
        seen.append(next(d.tool_calls[0].function for d in deltas if d.tool_calls))
        return 1.0

    (experiences,) = roll_out(workflow_of(service, solve))
    assert [(f.name, f.arguments) for f in seen] == [("add", seen[0].arguments)] * 2
    # What could not be drawn is known to the trainer, as with AgentScope's model.
    assert all("allowed_tokens" in e.info for e in experiences)


def test_an_answer_holds_what_was_asked_for(service):
    answers = []

    async def solve(task, client):
        for asked in ({}, {"logprobs": True, "top_logprobs": 2}):
            answer = await client.chat.completions.create(model="policy", messages=HELLO, **asked)
            answers.append(answer)
        text = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "integer"}}}
        shaped = await client.chat.completions.create(
            model="policy", messages=HELLO, response_format=text, max_tokens=40
        )
        answers.append(shaped)
        return 1.0

    roll_out(workflow_of(service, solve))
    plain, with_logprobs, shaped = answers
    assert plain.choices[0].logprobs is None
    assert set(plain.choices[0].model_extra) <= {"stop_reason"}
    assert "prompt_token_ids" not in (plain.model_extra or {})
    assert len(with_logprobs.choices[0].logprobs.content[0].top_logprobs) == 2
    assert plain.usage.completion_tokens == 12, "the run's limit of a response"
    assert shaped.choices[0].message.content.strip("-").isdigit()


def test_a_plain_function_asks_by_address_and_key_from_its_threads(service):
    def solve(task, base_url, api_key):
        client = openai.OpenAI(base_url=base_url, api_key=api_key)

        def ask():
            client.chat.completions.create(model="policy", messages=HELLO)

        threads = [threading.Thread(target=ask) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [model.id for model in client.models.list()] == ["policy", "random"]
        return 1.0

    (experiences,) = roll_out(workflow_of(service, solve))
    assert len(experiences) == 3


def test_a_coroutine_that_waits_without_awaiting_still_gets_its_answers(service):
    async def solve(task, base_url, api_key):
        client = openai.OpenAI(base_url=base_url, api_key=api_key)
        client.chat.completions.create(model="policy", messages=HELLO)
        return 1.0

    (experiences,) = roll_out(workflow_of(service, solve))
    assert len(experiences) == 1


ASKS = textwrap.dedent(
    """
    import os, openai, sys
    client = openai.OpenAI(base_url=os.environ["OPENAI_BASE_URL"])
    client.chat.completions.create(model="policy", messages=[{"role": "user", "content": "hi"}])
    """
)


def test_a_program_asks_as_its_rollout(service):
    def solve(task, base_url, api_key):
        environment = {**os.environ, "OPENAI_BASE_URL": base_url, "OPENAI_API_KEY": api_key}
        done = subprocess.run([sys.executable, "-c", ASKS], env=environment, check=True)
        return 1.0 - done.returncode

    (experiences,) = roll_out(workflow_of(service, solve))
    assert len(experiences) == 1


def status_of(call) -> tuple[int, str]:
    with pytest.raises(openai.APIStatusError) as caught:
        call()
    return caught.value.status_code, caught.value.message


def test_what_is_not_the_rollouts_own_is_refused(service):
    ways = {}
    both_run = threading.Barrier(2, timeout=60)

    def solve(task, base_url, api_key, name):
        ways[name] = base_url, api_key
        both_run.wait()
        ask(base_url, api_key)
        if name == "a":
            wrong = {
                "wrong key": (base_url, "wrong"),
                "other's": (base_url, ways["b"][1]),
                "nowhere": (base_url.replace("/v1", "9999999/v1"), api_key),
            }
            seen.update({what: status_of(lambda way=way: ask(*way)) for what, way in wrong.items()})
            seen["model"] = status_of(lambda: ask(base_url, api_key, model="gpt-5"))
            seen["body"] = status_of(lambda: ask(base_url, api_key, messages=["hi"]))
            seen["path"] = status_of(
                lambda: openai.OpenAI(base_url=base_url, api_key=api_key).responses.create(
                    model="policy", input="hi"
                )
            )
        both_run.wait()
        return 1.0

    def ask(base_url, api_key, **asked):
        client = openai.OpenAI(base_url=base_url, api_key=api_key, max_retries=0)
        client.chat.completions.create(**{"model": "policy", "messages": HELLO, **asked})

    seen = {}
    rolled = roll_out(
        *(workflow_of(service, solve, i, args={"name": n}) for i, n in enumerate("ab"))
    )
    assert [len(experiences) for experiences in rolled] == [1, 1]
    seen["late"] = status_of(lambda: ask(*ways["a"]))
    assert {what: status for what, (status, _) in seen.items()} == {
        "wrong key": 401, "other's": 401, "nowhere": 401, "model": 404, "body": 400, "path": 404,
        "late": 410,
    }  # fmt: skip
    for what, words in {
        "wrong key": "the key is missing or wrong",
        "other's": "the key is another rollout's",
        "model": "'gpt-5'; the model in training is 'policy'",
        "path": "/responses is not served",
        "late": "has ended",
    }.items():
        assert words in seen[what][1]


def test_a_client_that_was_kept_for_another_rollout_is_refused(service):
    kept = {}
    later = asyncio.Event()

    async def first(task, client):
        kept["client"] = client
        await client.chat.completions.create(model="policy", messages=HELLO)
        await later.wait()
        return 1.0

    async def second(task, client):
        while "client" not in kept:
            await asyncio.sleep(0)
        try:
            await kept["client"].chat.completions.create(model="policy", messages=HELLO)
        finally:
            later.set()

    one, other = workflow_of(service, first, 1), workflow_of(service, second, 2)
    mine, failed = roll_out(one, other)
    assert len(mine) == 1
    assert failed is None
    assert "rollout 0/2/0 calls with the client of rollout 0/1/0" in other.found["error"]


def test_what_goes_on_after_the_rollout_is_neither_answered_nor_recorded(service):
    ended = {}

    async def solve(task, client):
        create = client.chat.completions.create
        await create(model="policy", messages=HELLO, max_tokens=2)
        # Not waited for; longer than what the rollout still does.
        late = asyncio.ensure_future(create(model="policy", messages=HELLO, max_tokens=400))
        late.add_done_callback(lambda done: ended.update(error=done.exception()))
        while not endpoint_calls(service):
            await asyncio.sleep(0)
        return 1.0

    async def whole():
        experiences = await workflow_of(service, solve).run_async()
        while not ended:
            await asyncio.sleep(0)
        await close_clients()
        return experiences

    assert len(asyncio.run(whole())) == 1
    assert ended["error"].status_code == 410


def endpoint_calls(service) -> bool:
    from rlagent.trinity.endpoint import endpoint

    return any(session._calls for session in endpoint()._sessions.values() if not session.is_over)


def test_a_conversation_that_grows_too_long_is_overlong(service):
    async def solve(task, client):
        create = client.chat.completions.create
        await create(model="policy", messages=HELLO)
        await create(model="policy", messages=[{"role": "user", "content": "long " * 600}])

    rolled = workflow_of(service, solve, overlong_reward=0.25)
    (experiences,) = roll_out(rolled)
    assert [e.reward for e in experiences] == [0.25]


def test_agents_may_say_who_they_are(service):
    async def solve(task, client):
        for name in ("chooser", "guesser"):
            await client.chat.completions.create(
                model="policy", messages=HELLO, extra_headers={"X-Agent": name}
            )
        return 1.0

    rolled = workflow_of(service, solve)
    roll_out(rolled)
    assert [call["agent"] for call in rolled.found["calls"]] == ["chooser", "guesser"]
    assert rolled.found["metrics"]["model_calls"] == 2


def test_a_program_ends_with_its_rollout(service):
    started = []

    async def solve(task, base_url, api_key):
        program = await asyncio.create_subprocess_exec(
            *("sh", "-c", "sleep 600 & echo $!; exec sleep 600"),
            env={**os.environ, "OPENAI_API_KEY": api_key},
            stdout=asyncio.subprocess.PIPE,
        )
        started.extend([program.pid, int(await program.stdout.readline())])
        raise RuntimeError("the agent gave up")

    (failed,) = roll_out(workflow_of(service, solve))
    assert failed is None
    assert [start_ticks(pid) for pid in started] == [None, None]
