"""The embedded engine over HTTP: what an OpenAI client and AgentScope's agent get."""

import asyncio
import json
import shutil
from pathlib import Path

import httpx
import jsonschema
import openai
import pytest
import random_model
import torch

from rlagent.backends.embedded.engine.service import Service, ServiceOptions, load_weights
from rlagent.backends.embedded.loading import ModelNotLoadedError

TOOLS = random_model.TOOLS
SCHEMAS = {t["function"]["name"]: t["function"]["parameters"] for t in TOOLS}
ENDLESS = [
    {"$ref": "#"},
    {"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"},
]
"""Schemas that lead nowhere but back to themselves."""

HELLO = [{"role": "user", "content": "What is 2 + 3?"}]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return random_model.save(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def service(folder):
    service = Service(ServiceOptions(str(folder), "random", 1024, max_response_tokens=64))
    service.start()
    yield service
    service.stop()


def ask(service: Service, *requests: dict) -> list:
    """Send requests at the same time; returns the completions or the errors."""

    async def send() -> list:
        async with openai.AsyncOpenAI(
            base_url=f"{service.url}/v1", api_key="none", max_retries=0
        ) as client:
            calls = [
                client.chat.completions.create(**{"model": "random", "messages": HELLO, **keys})
                for keys in requests
            ]
            return await asyncio.gather(*calls, return_exceptions=True)

    return asyncio.run(send())


def test_a_response_carries_the_tokens_and_logprobs_that_training_needs(service):
    body = {"return_token_ids": True}
    completion = ask(service, {"max_tokens": 12, "logprobs": True, "extra_body": body})[0]
    choice = completion.choices[0]
    logprobs = [entry.logprob for entry in choice.logprobs.content]
    assert len(choice.token_ids) == len(logprobs) <= 12
    assert completion.usage.prompt_tokens == len(completion.prompt_token_ids)
    assert completion.usage.completion_tokens == len(choice.token_ids)

    reference = random_model.model()
    ids = torch.tensor([completion.prompt_token_ids + choice.token_ids])
    with torch.no_grad():
        expected = reference(ids).logits[0].log_softmax(-1)
    size = len(completion.prompt_token_ids)
    expected = expected[size - 1 : -1].gather(1, ids[0, size:, None])[:, 0]
    assert (expected - torch.tensor(logprobs)).abs().max() < 1e-4


def test_a_service_with_a_key_answers_only_who_brings_it_and_no_page_of_a_browser(folder):
    guarded = Service(ServiceOptions(str(folder), "random", 1024, api_key="sesame"))
    guarded.start()
    key = {"Authorization": "Bearer sesame"}
    try:
        status = {
            name: httpx.get(f"{guarded.url}{path}", headers=headers).status_code
            for name, path, headers in (
                ("with the key", "/v1/models", key),
                ("without it", "/v1/models", {}),
                ("with another", "/v1/models", {"Authorization": "Bearer sesam"}),
                ("a site's page", "/v1/models", {**key, "Origin": "https://evil.example"}),
                ("a rebound name", "/v1/models", {**key, "Host": "evil.example:80"}),
                ("by name", "/v1/models", {**key, "Host": "localhost:80"}),
                ("is it up?", "/health", {}),
            )
        }
    finally:
        guarded.stop()
    assert status == {
        "with the key": 200,
        "without it": 401,
        "with another": 401,
        "a site's page": 403,
        "a rebound name": 403,
        "by name": 200,
        "is it up?": 200,
    }


def test_the_prompt_is_the_chat_template_s(service):
    tokenizer = random_model.tokenizer()
    body = {"return_token_ids": True}
    completion = ask(service, {"tools": TOOLS, "max_tokens": 1, "extra_body": body})[0]
    expected = tokenizer.apply_chat_template(
        HELLO, tools=TOOLS, add_generation_prompt=True, tokenize=False
    )
    assert tokenizer.decode(completion.prompt_token_ids) == expected


# Budgets of every size are test_grammar's.
@pytest.mark.parametrize(
    "max_tokens", [40, *(pytest.param(n, marks=pytest.mark.slow) for n in (64, 96, 160))]
)
def test_a_required_call_is_whole_and_valid_within_its_budget(service, max_tokens):
    asked = {"tools": TOOLS, "tool_choice": "required", "max_tokens": max_tokens}
    for completion in ask(service, *[asked] * 40):
        assert completion.choices[0].finish_reason == "tool_calls"
        assert completion.usage.completion_tokens <= max_tokens
        assert not completion.choices[0].message.content
        for call in completion.choices[0].message.tool_calls:
            jsonschema.validate(
                json.loads(call.function.arguments, strict=False), SCHEMAS[call.function.name]
            )


def test_one_call_is_made_where_calls_may_not_be_parallel(service):
    asked = {"tools": TOOLS, "tool_choice": "required", "parallel_tool_calls": False}
    for completion in ask(service, *[{**asked, "max_tokens": 200}] * 16):
        assert len(completion.choices[0].message.tool_calls) == 1


def test_a_named_function_is_the_one_called(service):
    choice = {"type": "function", "function": {"name": "look_up"}}
    asked = {"tools": TOOLS, "tool_choice": choice, "max_tokens": 64}
    for completion in ask(service, *[asked] * 8):
        names = {c.function.name for c in completion.choices[0].message.tool_calls}
        assert names == {"look_up"}


def test_json_output_follows_its_schema(service):
    schema = {
        "type": "object",
        "properties": {
            "items": {"type": "array", "items": {"type": "integer"}, "minItems": 1},
            "note": {"type": "string"},
        },
        "required": ["items", "note"],
    }
    asked = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    for completion in ask(service, *[{"response_format": asked, "max_tokens": 80}] * 16):
        value = json.loads(completion.choices[0].message.content, strict=False)
        jsonschema.validate(value, schema)
    anything = ask(service, {"response_format": {"type": "json_object"}, "max_tokens": 60})[0]
    json.loads(anything.choices[0].message.content, strict=False)


def test_constrained_logprobs_are_those_after_the_mask(service):
    asked = {
        "tools": TOOLS,
        "tool_choice": {"type": "function", "function": {"name": "calculator"}},
        "max_tokens": 40,
        "logprobs": True,
        "extra_body": {"return_token_ids": True},
    }
    choice = ask(service, asked)[0].choices[0]
    assert len(choice.token_ids) == len(choice.logprobs.content)
    assert all(entry.logprob <= 1e-6 for entry in choice.logprobs.content)
    assert choice.logprobs.content[-1].token == "<|im_end|>"
    # A random model gives the end token next to nothing; the grammar leaves it alone or nearly so.
    assert choice.logprobs.content[-1].logprob > -2.5


@pytest.mark.parametrize("choice", ["auto", "none"])
def test_free_text_needs_no_call(service, choice):
    completion = ask(service, {"tools": TOOLS, "tool_choice": choice, "max_tokens": 8})[0]
    assert completion.choices[0].message.tool_calls is None
    assert isinstance(completion.choices[0].message.content, str)


def test_many_requests_at_once_are_all_answered(service):
    requests = [
        {
            "messages": [{"role": "user", "content": f"What is {i} + {i % 7}?"}],
            "max_tokens": 1 + i % 30,
            "n": 1 + (i % 5 == 0),
            "tools": TOOLS if i % 3 else None,
            "tool_choice": "required" if i % 3 == 1 else None,
        }
        for i in range(64)
    ]
    requests = [{k: v for k, v in r.items() if v is not None} for r in requests]
    for i, completion in enumerate(ask(service, *requests)):
        assert len(completion.choices) == 1 + (i % 5 == 0)


def test_the_same_seed_gives_the_same_text(service):
    first, second = ask(service, *[{"seed": 7, "max_tokens": 20}] * 2)
    assert first.choices[0].message.content == second.choices[0].message.content
    several = ask(service, {"seed": 7, "max_tokens": 20, "n": 2})[0]
    assert several.choices[0].message.content == first.choices[0].message.content
    assert several.choices[1].message.content != first.choices[0].message.content


@pytest.mark.parametrize(
    "bad",
    [
        {"tool_choice": "sometimes"},
        {"stream_options": {"include_usage": True}},
        {"temperature": -1},
        {"max_tokens": "many"},
        {"messages": [{"role": "user", "content": "word " * 2000}]},
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": "x"}]}]},
        {"messages": [{"content": "hello"}]},
        {
            "tool_choice": "required",
            "tools": [
                {
                    "type": "function",
                    "function": {"name": "f", "parameters": {"type": "object", "$ref": "#/no"}},
                }
            ],
        },
        *(
            {
                "tool_choice": "required",
                "tools": [{"type": "function", "function": {"name": "f", "parameters": endless}}],
            }
            for endless in ENDLESS
        ),
        *(
            {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "answer", "schema": endless},
                }
            }
            for endless in ENDLESS
        ),
    ],
)
def test_a_bad_request_gets_400_and_a_reason(service, bad):
    error = ask(service, bad)[0]
    assert isinstance(error, openai.BadRequestError)
    assert error.body["message"]
    assert error.body["type"] == "invalid_request_error"


def test_a_body_that_is_not_json_and_a_wrong_path_are_refused(service):
    import httpx

    url = f"{service.url}/v1/chat/completions"
    assert httpx.post(url, content=b"{").status_code == 400
    assert httpx.post(url, json=[1]).status_code == 400
    assert httpx.post(url, content="[" * 100000).status_code == 400
    surrogate = b'{"messages": [{"role": "user", "content": "\\ud800"}]}'
    assert httpx.post(url, content=surrogate).status_code == 400
    assert httpx.get(url).status_code == 405
    assert httpx.get(f"{service.url}/v1/nothing").status_code == 404


def test_health_models_and_load_answer_on_loopback_only(service):
    import httpx

    assert service.url.startswith("http://127.0.0.1:")
    assert httpx.get(f"{service.url}/health").status_code == 200
    listed = httpx.get(f"{service.url}/v1/models").json()["data"]
    assert [model["id"] for model in listed] == ["random"]
    assert httpx.get(f"{service.url}/load").json() == {"server_load": 0}


def test_new_weights_change_the_answers_once_requests_are_done(folder):
    service = Service(ServiceOptions(str(folder), "random", 512))
    service.start()
    try:
        greedy = {"temperature": 0, "max_tokens": 24}
        before = ask(service, greedy)[0].choices[0].message.content

        async def swap() -> tuple:
            async with openai.AsyncOpenAI(base_url=f"{service.url}/v1", api_key="none") as client:
                create = client.chat.completions.create
                running = [
                    asyncio.create_task(create(model="m", messages=HELLO, **greedy))
                    for _ in range(4)
                ]
                await asyncio.sleep(0)
                await service.load_weights(random_model.model(seed=1).state_dict())
                late = await create(model="m", messages=HELLO, **greedy)
                return [(await r).choices[0].message.content for r in running], late

        during, late = asyncio.run(swap())
        after = late.choices[0].message.content
        assert set(during) <= {before, after}, "no answer mixes old and new weights"
        assert after != before

        fresh = Service(ServiceOptions(str(folder), "random", 512))
        fresh.start()
        load_weights(fresh._model, random_model.model(seed=1).state_dict())
        assert ask(fresh, greedy)[0].choices[0].message.content == after
        fresh.stop()
    finally:
        service.stop()


def test_weights_that_do_not_fit_are_refused_and_change_nothing():
    model = random_model.model()
    state = random_model.model(seed=1).state_dict()
    before = model.model.norm.weight.clone(), model.model.layers[0].mlp.up_proj.weight.clone()
    with pytest.raises(ValueError, match="unknown"):
        load_weights(model, {**state, "extra": torch.zeros(1)})
    with pytest.raises(ValueError, match="missing"):
        load_weights(model, {k: v for k, v in state.items() if "up_proj" not in k})
    with pytest.raises(ValueError, match="shapes"):
        load_weights(model, {**state, "model.norm.weight": torch.zeros(3)})
    assert torch.equal(before[1], model.model.layers[0].mlp.up_proj.weight)
    load_weights(model, {k: v for k, v in state.items() if k != "lm_head.weight"})
    assert not torch.equal(before[1], model.model.layers[0].mlp.up_proj.weight)


def test_a_generator_that_dies_fails_its_requests_and_the_health_check(folder):
    import httpx

    service = Service(ServiceOptions(str(folder), "random", 512))
    service.start()
    try:

        def broken(parts):
            raise FloatingPointError("deliberate")

        service._generation.generator._forward.forward = broken
        errors = ask(service, *[{"max_tokens": 4}] * 3)
        assert all(isinstance(e, openai.InternalServerError) for e in errors)
        assert "deliberate" in str(errors[0])
        assert httpx.get(f"{service.url}/health").status_code == 500
        assert isinstance(ask(service, {})[0], openai.InternalServerError)
    finally:
        service.stop()


def test_a_model_that_cannot_be_loaded_says_so_at_the_start(tmp_path):
    with pytest.raises(ModelNotLoadedError, match=rf"model.path={tmp_path}/nothing: its tokenizer"):
        Service(ServiceOptions(str(tmp_path / "nothing"), "none", 64)).start()


@pytest.mark.parametrize(
    ("name", "text", "what"),
    [
        ("tokenizer.json", '{"model": {"type": "Odd", "vocab": {}}}', "its tokenizer"),
        ("config.json", '{"model_type": "qwen3", "hidden_act": "odd"}', "its weights"),
    ],
)
def test_a_file_that_a_library_cannot_load_is_named_in_one_line(folder, tmp_path, name, text, what):
    damaged = Path(shutil.copytree(folder, tmp_path / "model"))
    (damaged / name).write_text(text)
    with pytest.raises(ModelNotLoadedError) as caught:
        Service(ServiceOptions(str(damaged), "damaged", 64)).start()
    said = str(caught.value)
    assert said.startswith(f"model.path={damaged}: {what} (")
    assert name in said
    assert said.endswith("or name another model")
    assert "\n" not in said
    assert caught.value.__cause__ is not None


def test_a_react_agent_gets_its_structured_answer(service):
    from agentscope.agent import ReActAgent
    from agentscope.formatter import OpenAIChatFormatter
    from agentscope.message import Msg, TextBlock
    from agentscope.model import OpenAIChatModel
    from agentscope.tool import Toolkit, ToolResponse
    from pydantic import BaseModel

    class Answer(BaseModel):
        result: str

    def calculator(expression: str) -> ToolResponse:
        """Work out an expression.

        Args:
            expression (str): As 1 + 2.
        """
        return ToolResponse(content=[TextBlock(type="text", text="4")])

    async def reply(question: str, tools: list) -> Msg:
        toolkit = Toolkit()
        for tool in tools:
            toolkit.register_tool_function(tool)
        agent = ReActAgent(
            name="agent",
            sys_prompt="Solve it.",
            model=OpenAIChatModel(
                "random",
                api_key="none",
                stream=False,
                client_kwargs={"base_url": f"{service.url}/v1"},
                generate_kwargs={"max_tokens": 60},
            ),
            formatter=OpenAIChatFormatter(),
            toolkit=toolkit,
            max_iters=12,
        )
        agent.set_console_output_enabled(False)
        return await agent.reply(Msg("user", question, "user"), structured_model=Answer)

    async def several(tools: list) -> list:
        return await asyncio.gather(*[reply(f"What is {i} + 1?", tools) for i in range(6)])

    # With nothing else to call, the structured answer comes at once.
    replies = asyncio.run(several([]))
    assert all(isinstance(r.metadata["result"], str) for r in replies)
    # A random model seldom picks it over a tool, but six agents have twelve turns each.
    replies = asyncio.run(several([calculator]))
    assert any(r.metadata for r in replies)


def pieces(service: Service, **keys: object) -> list:
    """The chunks of a streamed completion."""

    async def read() -> list:
        async with openai.AsyncOpenAI(
            base_url=f"{service.url}/v1", api_key="none", max_retries=0
        ) as client:
            stream = await client.chat.completions.create(
                **{"model": "random", "messages": HELLO, "stream": True, **keys}
            )
            return [piece async for piece in stream]

    return asyncio.run(read())


def joined(chunks: list, index: int = 0) -> tuple[str, str | None]:
    """The text of a streamed choice, and why it ended."""
    choices = [one for chunk in chunks for one in chunk.choices if one.index == index]
    assert choices[0].delta.role == "assistant"
    reasons = [one.finish_reason for one in choices if one.finish_reason]
    assert len(reasons) == 1
    return "".join(one.delta.content or "" for one in choices), reasons[0]


@pytest.mark.parametrize("keys", [{}, {"stop": ["e", "ab"]}, {"tools": TOOLS}, {"max_tokens": 1}])
def test_a_streamed_text_is_the_whole_one_in_pieces(service, keys):
    keys = {"seed": 5, "max_tokens": 40, "logprobs": True, "top_logprobs": 2, **keys}
    whole = ask(service, keys)[0]
    chunks = pieces(service, stream_options={"include_usage": True}, **keys)
    text, reason = joined(chunks)
    assert text == whole.choices[0].message.content
    assert reason == whole.choices[0].finish_reason
    entries = [
        entry
        for chunk in chunks
        for choice in chunk.choices
        if choice.logprobs
        for entry in choice.logprobs.content
    ]
    assert [entry.token for entry in entries] == [
        entry.token for entry in whole.choices[0].logprobs.content
    ]
    assert chunks[-1].usage == whole.usage
    assert chunks[-1].choices == []


def test_several_streamed_responses_are_told_apart(service):
    keys = {"seed": 7, "max_tokens": 12, "n": 2}
    whole, chunks = ask(service, keys)[0], pieces(service, **keys)
    for index in range(2):
        assert joined(chunks, index)[0] == whole.choices[index].message.content


def test_a_streamed_tool_call_comes_whole(service):
    keys = {"seed": 3, "tools": TOOLS, "tool_choice": "required", "max_tokens": 120}
    expected = ask(service, keys)[0].choices[0].message.tool_calls[0].function
    chunks = pieces(service, **keys)
    calls = [c for chunk in chunks for c in chunk.choices[0].delta.tool_calls or []]
    assert joined(chunks) == ("", "tool_calls")
    assert (calls[0].index, calls[0].function.name) == (0, expected.name)
    assert calls[0].function.arguments == expected.arguments


def test_who_leaves_a_stream_frees_its_row(service):
    async def leave() -> None:
        async with httpx.AsyncClient(base_url=service.url) as client:
            body = {"messages": HELLO, "stream": True, "ignore_eos": True, "max_tokens": 900}
            async with client.stream("POST", "/v1/chat/completions", json=body) as answer:
                await anext(answer.aiter_lines())
            while (await client.get("/load")).json()["server_load"]:
                await asyncio.sleep(0.01)

    generated = service.work_done()[1]
    asyncio.run(asyncio.wait_for(leave(), 60))
    assert service.work_done()[1] - generated < 900
