"""What a rollout's calls of the embedded engine leave for training, and what makes them cheap."""

import asyncio
import sys
from types import SimpleNamespace
from unittest.mock import AsyncMock

import httpx
import numpy as np
import openai
import pytest
import random_model
import torch
from agentscope.tool import Toolkit, _toolkit
from agentscope.tool._types import RegisteredToolFunction
from pydantic import BaseModel, Field
from trinity.common import experience as trinity_experience
from trinity.common.experience import Experience

from rlagent.backends.base import TOO_LONG
from rlagent.backends.embedded.engine.render import ChatRenderer, PieceEncoder
from rlagent.backends.embedded.engine.service import Service, ServiceOptions
from rlagent.backends.embedded.micro_batches import MicroBatch, Row
from rlagent.backends.embedded.trainer.scoring import Scorer
from rlagent.backends.embedded.trainer.step_data import StepData
from rlagent.records.calls import compact, tools_offered
from rlagent.tools.calculator import calculator
from rlagent.trinity import recording
from rlagent.upstream import agentscope as tool_schemas
from rlagent.upstream import trinity as payloads

HELLO = [{"role": "user", "content": [{"type": "text", "text": "What is 2 + 3?"}]}]


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    folder = random_model.save(tmp_path_factory.mktemp("model"))
    service = Service(ServiceOptions(str(folder), "random", 512, max_response_tokens=48))
    service.start()
    yield service
    service.stop()


def recorded(
    service: Service, calls: int = 1, top_k: int = -1, seed: int | None = None, **request
) -> recording.Recorder:
    """Make calls as a rollout does; returns what was recorded of them."""
    wrapper = SimpleNamespace(
        api_address=service.url,
        api_key="none",
        config=SimpleNamespace(
            model_path="random", engine_type="embedded", enable_thinking=None, top_k=top_k
        ),
    )

    async def call() -> recording.Recorder:
        # Clients belong to an event loop, and here each call of this function has its own.
        recording._clients.clear()
        model, recorder = recording.recorded_model(wrapper, {}, seed=seed)
        create = model.client.chat.completions.create
        try:
            await asyncio.gather(
                *(create(model="random", **{"messages": HELLO, **request}) for _ in range(calls))
            )
        finally:
            for client in recording._clients.values():
                await client.plain.close()
                await client.close()
        return recorder

    return asyncio.run(call())


def rescored(recorder: recording.Recorder, masked: bool) -> torch.Tensor:
    """Log-probabilities that the trainer gives to what was recorded."""
    data = StepData(recorder.experiences)
    rows = [
        Row(tokens=s.tokens[:-1], start=int(s.positions[0]), members=(i,))
        for i, s in enumerate(data.samples)
    ]
    scorer = Scorer(random_model.model(), 1.0)
    allowed = data.allowed if masked else None
    with torch.no_grad():
        found = [scorer(MicroBatch((row,), 0), data.samples, allowed=allowed) for row in rows]
    return torch.cat([scores.logprobs for scores in found])


@pytest.mark.parametrize("request_", [{"top_p": 0.9}, {"top_k": 5}, {"top_p": 0.8, "top_k": 40}])
def test_truncated_sampling_is_trained_on_as_it_was_sampled(service, request_):
    top_k = request_.pop("top_k", -1)
    recorder = recorded(service, 4, top_k=top_k, max_tokens=24, **request_)
    sampled = torch.cat([experience.logprobs for experience in recorder.experiences])
    assert (rescored(recorder, masked=True) - sampled).abs().max() < 1e-4
    # The test would say nothing if the truncation had left everything.
    assert (rescored(recorder, masked=False) - sampled).abs().max() > 1e-2


def test_free_sampling_needs_no_masks(service):
    recorder = recorded(service, 2, max_tokens=24)
    assert all("allowed_tokens" not in (e.info or {}) for e in recorder.experiences)
    sampled = torch.cat([experience.logprobs for experience in recorder.experiences])
    assert (rescored(recorder, masked=True) - sampled).abs().max() < 1e-4


def test_a_refused_call_raises_what_openai_raises(service):
    with pytest.raises(openai.BadRequestError, match="min_p"):
        recorded(service, extra_body={"min_p": 0.5})


TEXT = f"this model's {TOO_LONG} is 512 tokens"


def refusal(text: str = TEXT) -> openai.BadRequestError:
    """What the engine answers."""
    response = httpx.Response(400, request=httpx.Request("POST", "http://engine"))
    return openai.BadRequestError(text, response=response, body=None)


def refused(error: Exception, asked: str = "create", answers: tuple = ()) -> recording.Recorder:
    """The recorder of an agent whose call was refused, and whose next ones got the answers."""
    refuse = AsyncMock(side_effect=[error, *answers])
    completions = SimpleNamespace(parse=refuse)
    client = SimpleNamespace(
        plain=None, model_path="m", post=refuse, chat=SimpleNamespace(completions=completions)
    )
    recorder = recording.Recorder()
    model = recording.RecordingClient(client, recorder, {})
    call = getattr(model.chat.completions, asked)
    with pytest.raises(openai.BadRequestError):
        asyncio.run(call(model="m", messages=HELLO))
    for _ in answers:
        asyncio.run(model.chat.completions.parse(model="m", messages=HELLO))
    return recorder


def wrapped(raising) -> BaseException:
    """What comes of an agent that raises in its own way."""
    try:
        raising()
    except Exception as error:
        return error
    raise AssertionError("it raised nothing")


def _raise_from(error):
    raise RuntimeError("the agent gave up") from error


def _raise_while_handling(error):
    try:
        raise error
    except openai.BadRequestError:
        raise RuntimeError("the agent gave up") from None


def _raise_in_a_group(error):
    raise ExceptionGroup("both", [KeyError("x"), ExceptionGroup("one", [error])])


@pytest.mark.parametrize("asked", ["create", "parse"])
def test_a_rollout_is_overlong_by_its_own_models_refusal(asked):
    own = refusal()
    assert refused(own, asked).is_overlong(own)
    other = refusal("min_p is not supported")
    assert not refused(other, asked).is_overlong(other)
    assert not recording.Recorder().is_overlong(own)


@pytest.mark.parametrize("raising", [_raise_from, _raise_while_handling, _raise_in_a_group])
def test_a_refusal_that_an_agent_wraps_is_one(raising):
    own = refusal()
    # The other one of two conversations goes on, so that the latest call was answered.
    recorder = refused(own, answers=("fine",))
    assert recorder.is_overlong(wrapped(lambda: raising(own)))
    assert not recorder.is_overlong(wrapped(lambda: raising(refusal())))


def test_another_error_after_a_refusal_is_overlong_unless_a_call_was_answered_since():
    assert refused(refusal()).is_overlong(RuntimeError("the agent gave up"))
    assert not refused(refusal(), answers=("fine",)).is_overlong(RuntimeError("a bug"))


@pytest.mark.parametrize("asked", ["create", "parse"])
def test_what_utf8_cannot_hold_reaches_the_model_written_out(service, asked):
    """As a tool may return it."""
    broken = [{"role": "user", "content": "tell \ud800 me"}]
    if asked == "create":
        recorder = recorded(service, max_tokens=4, messages=broken)
        assert recorder.said[0].messages[0]["content"] == "tell \\ud800 me"
        assert len(recorder.experiences) == 1
        return
    answer = AsyncMock()
    client = SimpleNamespace(
        plain=None,
        model_path="m",
        chat=SimpleNamespace(completions=SimpleNamespace(parse=answer)),
    )
    model = recording.RecordingClient(client, recording.Recorder(), {})
    asyncio.run(model.chat.completions.parse(model="m", messages=broken))
    assert answer.call_args.kwargs["messages"][0]["content"] == "tell \\ud800 me"


def test_who_asks_for_logprobs_gets_them_in_openais_form(service):
    # From here on the engine remembers the prompt, which shifts the last bits.
    recorded(service, max_tokens=8, seed=3)
    wide = recorded(service, max_tokens=8, logprobs=True, seed=3)
    narrow = recorded(service, max_tokens=8, seed=3)
    assert torch.equal(wide.experiences[0].logprobs, narrow.experiences[0].logprobs)
    assert torch.equal(wide.experiences[0].tokens, narrow.experiences[0].tokens)


def test_experiences_survive_the_quicker_way_to_bytes():
    kinds = [
        Experience(
            tokens=torch.arange(7, dtype=torch.int32),
            logprobs=torch.tensor([-0.5, -1e-7, -30.0]),
            prompt_length=4,
            reward=1.0,
            info={"allowed_tokens": "x"},
        ),
        Experience(tokens=torch.arange(3), prompt_length=1, advantages=torch.zeros(2).half()),
        Experience(tokens=torch.arange(3), prompt_length=1, returns=torch.zeros(0)),
    ]
    payloads.fast_payloads.apply()
    read = Experience.deserialize_many(Experience.serialize_many(kinds))
    for made, found in zip(kinds, read, strict=True):
        for name in Experience._TENSOR_FIELDS:
            before, after = getattr(made, name), getattr(found, name)
            assert (before is None) == (after is None)
            assert before is None or (before.dtype == after.dtype and torch.equal(before, after))
        assert (made.reward, made.info) == (found.reward, found.info)
    assert Experience.deserialize_many(Experience.serialize_many([])) == []


def test_trinity_packs_experiences_the_quicker_way(monkeypatch):
    packed = []
    save = payloads.save

    def remembered(tensors, metadata=None):
        packed.append(sorted(tensors))
        return save(tensors, metadata)

    monkeypatch.setattr(payloads, "save", remembered)
    # Undone afterwards.
    monkeypatch.setattr(trinity_experience, "st_save", trinity_experience.st_save)
    payloads.fast_payloads.apply()
    Experience.serialize_many([Experience(tokens=torch.arange(3), prompt_length=1)])
    assert packed


class Answer(BaseModel):
    """An answer."""

    result: str = Field(description="The number.")


def test_remembered_tool_schemas_are_those_that_agentscope_makes():
    tool_schemas.remember_tool_schemas.apply()
    tool_schemas.remember_merged_schemas.apply()
    parse = _toolkit._parse_tool_function.__wrapped__
    merge = RegisteredToolFunction.extended_json_schema.fget.__wrapped__
    for _ in range(3):
        toolkit = Toolkit()
        toolkit.register_tool_function(calculator)
        toolkit.set_extended_model("calculator", Answer)
        found = toolkit.get_json_schemas()
        assert found == [merge(toolkit.tools["calculator"])]
        assert toolkit.tools["calculator"].json_schema == parse(calculator, True, False, False)
        # Nobody gets what another one has changed.
        found[0]["function"]["description"] = "changed"
        toolkit.tools["calculator"].json_schema["function"].clear()


def test_prompts_made_of_pieces_are_those_of_the_whole():
    tokenizer = random_model.tokenizer()
    renderer = ChatRenderer(tokenizer)
    assert renderer._encoder._marks is not None
    call = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}
    conversation = [
        {"role": "user", "content": "  é <|im_start|> 12 "},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": "\n3"},
    ]
    text = renderer.text(conversation, random_model.TOOLS)
    whole = tokenizer.encode(text, add_special_tokens=False)
    assert renderer.prompt(conversation, random_model.TOOLS) == whole


def test_the_ids_of_calls_make_no_new_prompt_where_the_template_leaves_them_out():
    def conversation(number: str) -> list[dict]:
        call = {"id": number, "type": "function", "function": {"name": "f", "arguments": "{}"}}
        return [
            {"role": "user", "content": "a"},
            {"role": "assistant", "content": "", "tool_calls": [call]},
            {"role": "tool", "tool_call_id": number, "content": "b"},
        ]

    plain = ChatRenderer(random_model.tokenizer())
    assert plain.prompt(conversation("call_1")) == plain.prompt(conversation("call_2"))
    assert len(plain._known) == 1
    naming = ChatRenderer(
        random_model.tokenizer(),
        "{% for m in messages %}{{ m.role }}{{ m.content }}{{ m.tool_call_id }}{% endfor %}",
    )
    assert naming.prompt(conversation("call_1")) != naming.prompt(conversation("call_2"))


def test_a_tokenizer_that_treats_pieces_otherwise_encodes_the_whole():
    tokenizer = random_model.tokenizer()

    class Prefixing:
        added_tokens_decoder = tokenizer.added_tokens_decoder

        def encode(self, text: str, add_special_tokens: bool) -> list[int]:
            return [0, *tokenizer.encode(text, add_special_tokens=add_special_tokens)]

    assert PieceEncoder(Prefixing()).encode("a<|im_end|>b") == Prefixing().encode(
        "a<|im_end|>b", add_special_tokens=False
    )


def test_what_the_sampler_left_is_packed_as_masks_are():
    from rlagent.backends.embedded.allowed import forbidden, pack

    distribution = torch.full((70,), float("-inf"))
    distribution[[0, 31, 32, 69]] = -1.0
    mask = torch.from_numpy(np.stack([pack(distribution)]).astype(np.int32))
    assert (~forbidden(mask, 70)[0]).nonzero().flatten().tolist() == [0, 31, 32, 69]


def test_a_rollout_draws_the_same_whatever_the_engine_drew_before(service):
    def drawn(seed: int) -> list[list[int]]:
        made = recorded(service, calls=2, seed=seed, max_tokens=12).experiences
        return sorted(each.tokens[each.prompt_length :].tolist() for each in made)

    first = drawn(1)
    # Calls side by side draw from seeds of their own.
    assert first[0] != first[1]
    assert drawn(9) != first
    assert drawn(1) == first


def test_the_tools_that_a_call_was_offered_are_recorded_whole_and_once(service) -> None:
    function = {"name": "add", "description": "Adds.", "parameters": {"type": "object"}}
    tools = [{"type": "function", "function": function}]
    recorder = recorded(service, calls=2, tools=tools)
    assert list(tools_offered(recorder.said).values()) == [tools]
    assert [row.get("tools") for row in compact(recorder.said)] == [["add"], None]


def test_a_copy_that_agent_code_forked_ends_before_it_speaks_on_the_originals_connections(
    monkeypatch,
):
    client = recording.PlainClient("http://127.0.0.1:9", "key")
    monkeypatch.setattr("rlagent.trinity.guard.REALLY_EXIT", sys.exit)
    monkeypatch.setattr("os.getpid", lambda: -1)
    with pytest.raises(SystemExit):
        asyncio.run(client.complete({}))
