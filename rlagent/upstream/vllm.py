"""Changes to vLLM: an engine starts with fewer imports and processes, and answers with less work.

Those while an engine starts hold within a block. What takes the place of vLLM's own is passed in.
"""

import contextlib
import functools
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from types import ModuleType
from typing import Any

from rlagent.upstream.patch import Relies, patch
from rlagent.upstream.trinity_imports import SOURCE as TRINITY

LIBRARY = "vllm"
VERSIONS = ">=0.22,<=0.23.0"
SOURCE = "https://github.com/vllm-project/vllm/blob/v0.23.0/vllm"
_CHAT = "vllm.entrypoints.openai.chat_completion.serving:OpenAIServingChat"
_ROUTER = "vllm.entrypoints.openai.chat_completion.api_router"


@contextlib.contextmanager
def _replaced(module: ModuleType, name: str, value: Any) -> Iterator[None]:
    theirs = getattr(module, name)
    setattr(module, name, value)
    try:
        yield
    finally:
        setattr(module, name, theirs)


@patch(
    LIBRARY,
    VERSIONS,
    f"{TRINITY}/common/models/vllm_model.py#L142",
    "Trinity lets extra_engine_args replace the arguments that it sets itself",
    [
        Relies("vllm:AsyncEngineArgs"),
        Relies(
            "trinity.common.models.vllm_model:vLLMRolloutModel.prepare",
            None,
            "vllm.AsyncEngineArgs(",
        ),
    ],
)
@contextlib.contextmanager
def engine_arguments(ours: dict[str, Any]) -> Iterator[None]:
    """Within the block, give vLLM's engine these arguments instead of Trinity's for the same.

    Trinity sets the worker's class and the executor itself, and one of them cannot be given twice.
    """
    import vllm

    make = vllm.AsyncEngineArgs
    with _replaced(vllm, "AsyncEngineArgs", lambda **given: make(**{**given, **ours})):
        yield


@patch(
    LIBRARY,
    VERSIONS,
    f"{SOURCE}/v1/engine/utils.py#L1190",
    "vLLM imports its HTTP server while it waits for the process with the model",
    [
        Relies("vllm.v1.engine.utils:wait_for_engine_startup"),
        Relies("vllm.v1.engine.utils:launch_core_engines", None, "wait_for_engine_startup("),
    ],
)
@contextlib.contextmanager
def before_waiting(work: Callable[[], None]) -> Iterator[None]:
    """Within the block, call this before vLLM waits for the process with the model.

    That process takes a quarter of a minute, in which this one could import what it needs later.
    """
    from vllm.v1.engine import utils

    wait = utils.wait_for_engine_startup

    def work_and_wait(*args: Any, **kwargs: Any) -> Any:
        work()
        return wait(*args, **kwargs)

    with _replaced(utils, "wait_for_engine_startup", work_and_wait):
        yield


@patch(
    LIBRARY,
    VERSIONS,
    f"{SOURCE}/v1/engine/utils.py#L140",
    "vLLM can start its engine's process from a forkserver of one's own",
    [
        Relies("vllm.v1.engine.utils:get_mp_context"),
        Relies("vllm.utils.system_utils:get_mp_context", ""),
        Relies("vllm.v1.engine.utils:CoreEngineProcManager.__init__", None, "get_mp_context()"),
    ],
)
@contextlib.contextmanager
def engine_process(context: Any) -> Iterator[None]:
    """Within the block, start vLLM's engine process in this multiprocessing context.

    vLLM starts a fresh interpreter, which imports for a quarter of a minute what this process has
    imported.

    Args:
        context: None: vLLM's own.
    """
    from vllm.v1.engine import utils

    theirs = utils.get_mp_context

    def get() -> Any:
        # Theirs also says in the environment where Ray is.
        found = theirs()
        return found if context is None else context

    with _replaced(utils, "get_mp_context", get):
        yield


@patch(
    LIBRARY,
    VERSIONS,
    f"{SOURCE}/model_executor/models/registry.py#L920",
    "vLLM looks at a model's class without a fresh interpreter",
    [
        Relies("vllm.model_executor.models.registry:_run_in_subprocess", "fn"),
        Relies(
            "vllm.model_executor.models.registry:_LazyRegisteredModel", None, "_run_in_subprocess("
        ),
    ],
)
@contextlib.contextmanager
def look_at_model(call: Callable[[Callable[[], Any]], Any]) -> Iterator[None]:
    """Within the block, look at the model's class by this call of a function in another process.

    vLLM starts a fresh interpreter for it, which imports for a quarter of a minute what this
    process has imported.
    """
    from vllm.model_executor.models import registry

    with _replaced(registry, "_run_in_subprocess", call):
        yield


@patch(
    LIBRARY,
    VERSIONS,
    f"{TRINITY}/common/models/vllm_model.py#L577",
    "Trinity has what agents ask for by HTTP sampled with the adapter that it loaded",
    [
        Relies(
            "trinity.common.models.vllm_model:vLLMRolloutModel.sync_model_weights",
            None,
            "add_lora(",
        ),
        Relies("vllm.v1.engine.async_llm:AsyncLLM.generate", None, "lora_request"),
        Relies("vllm.v1.engine.async_llm:AsyncLLM.add_lora"),
    ],
)
def newest_adapter(engine: Any, current: Callable[[], Any]) -> None:
    """Have an engine sample every request that names no adapter with the current one.

    Trinity names it in requests of its own alone. An agent's come by HTTP and name the base model:
    they would be sampled without it for as long as the run lasts.

    Args:
        engine: vLLM's, which the HTTP server calls, too.
        current: The adapter at this moment; None: the base alone.
    """
    theirs = engine.generate

    def generate(*args: Any, **kwargs: Any) -> Any:
        if kwargs.get("lora_request") is None:
            kwargs["lora_request"] = current()
        return theirs(*args, **kwargs)

    engine.generate = generate


_ASKED = "return_token_logprobs"
_LEAST = -9999.0
"""What vLLM says instead of minus infinity, which JSON does not know."""
_lists_alone: ContextVar[bool] = ContextVar("lists_alone", default=False)


@functools.cache
def _text(tokenizer: Any, token: int) -> str:
    return str(tokenizer.decode([token]) or "")


def _logprob(found: Any) -> float:
    return _LEAST if found is None else max(float(found.logprob), _LEAST)


@patch(
    LIBRARY,
    VERSIONS,
    f"{SOURCE}/entrypoints/openai/chat_completion/serving.py#L1391",
    "vLLM can answer with the drawn tokens' log-probabilities as one list",
    [
        Relies(f"{_CHAT}.create_chat_completion", "self, request, raw_request"),
        Relies(
            f"{_CHAT}.chat_completion_full_generator",
            None,
            "if request.logprobs and request.top_logprobs is not None:",
        ),
        Relies(
            f"{_CHAT}._create_chat_logprobs",
            "self, token_ids, top_logprobs, tokenizer, num_output_top_logprobs, return_as_token_id",
        ),
        Relies(
            "vllm.v1.engine.logprobs:LogprobsProcessor._update_sample_logprobs",
            None,
            "convert_ids_list_to_tokens(",
        ),
        Relies("vllm.entrypoints.openai.engine.protocol:OpenAIBaseModel", None, 'extra="allow"'),
    ],
)
def token_lists(chat: Any, new_logprobs: Callable[..., Any], logprobs: Any) -> None:
    """Answer a chat that asks for `return_token_logprobs` with two lists, `token_logprobs` and
    `token_texts`, as the embedded engine does; and ask the tokenizer for each token's text once.

    Otherwise each token is an object that is made, checked and written out, and two calls of the
    tokenizer: much of the work of the server's one thread, which bounds the rollouts.

    Args:
        chat: vLLM's class `OpenAIServingChat`.
        new_logprobs: Makes a `ChatCompletionLogProbs`, unchecked.
        logprobs: The module `vllm.v1.engine.logprobs`.
    """
    their_answer, their_logprobs = chat.create_chat_completion, chat._create_chat_logprobs

    async def create_chat_completion(self: Any, request: Any, raw_request: Any = None) -> Any:
        if request.stream or not (request.model_extra or {}).get(_ASKED):
            return await their_answer(self, request, raw_request)
        # Who asks in OpenAI's form, too, gets both.
        alone = not request.logprobs
        request.logprobs, request.top_logprobs = True, request.top_logprobs or 0
        before = _lists_alone.set(alone)
        try:
            answer = await their_answer(self, request, raw_request)
        finally:
            _lists_alone.reset(before)
        for choice in getattr(answer, "choices", ()):
            found = choice.logprobs
            if alone:
                choice.token_texts, choice.token_logprobs = found.token_texts, found.token_logprobs
                choice.logprobs = None
            else:
                choice.token_texts = [each.token for each in found.content]
                choice.token_logprobs = [each.logprob for each in found.content]
        return answer

    def create_chat_logprobs(
        self: Any,
        token_ids: Sequence[int],
        top_logprobs: Sequence[dict[int, Any] | None],
        tokenizer: Any,
        *rest: Any,
        **named: Any,
    ) -> Any:
        if not _lists_alone.get():
            return their_logprobs(self, token_ids, top_logprobs, tokenizer, *rest, **named)
        drawn = zip(token_ids, top_logprobs, strict=True)
        return new_logprobs(
            content=[],
            token_texts=[_text(tokenizer, token) for token in token_ids],
            token_logprobs=[_logprob((each or {}).get(token)) for token, each in drawn],
        )

    def texts(tokenizer: Any, tokens: Sequence[int]) -> list[str]:
        return [_text(tokenizer, token) for token in tokens]

    chat.create_chat_completion = create_chat_completion
    chat._create_chat_logprobs = create_chat_logprobs
    logprobs.convert_ids_list_to_tokens = texts


@patch(
    LIBRARY,
    VERSIONS,
    f"{SOURCE}/entrypoints/serve/utils/api_utils.py#L97",
    "vLLM counts an answered request without a thread",
    [Relies(f"{_ROUTER}:load_aware_call"), Relies(_ROUTER, None, "@load_aware_call")],
)
def load_counted_in_the_loop(utils: Any) -> None:
    """Have the server count an answered request in its own thread, and not hand it to another one.

    For that, anyio looks through all tasks of the loop after each answer: with 512 rollouts at once
    an eighth of the thread's time (py-spy, one H200, 2026-11-30).

    Args:
        utils: The module of `load_aware_call`, which looks up there what counts.
    """
    theirs = utils.decrement_server_load

    async def decrement_server_load(request: Any) -> None:
        theirs(request)

    utils.decrement_server_load = decrement_server_load
