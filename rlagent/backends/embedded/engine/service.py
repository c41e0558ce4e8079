"""A model, its generation loop and its HTTP server, together in one thread.

Knows nothing of Ray or Trinity; engine.py is their face of it. Also usable by itself, to talk to a
checkpoint.
"""

import asyncio
import socket
import threading
from dataclasses import dataclass, field
from typing import Any, Coroutine, Dict, List, Optional, Tuple

import torch
from torch import Tensor

from rlagent.backends.embedded.adapter import Merger, is_adapter
from rlagent.backends.embedded.engine.fallback import choose_forward
from rlagent.backends.embedded.engine.generate import Generator, Limits, Request
from rlagent.backends.embedded.engine.grammar import Grammars, Masker
from rlagent.backends.embedded.engine.loop import GenerationLoop
from rlagent.backends.embedded.engine.protocol import Defaults, parse_chat_request
from rlagent.backends.embedded.engine.render import ChatRenderer
from rlagent.backends.embedded.engine.server import ChatServer
from rlagent.backends.embedded.loading import TOKENIZER, WEIGHTS, loading


@dataclass
class ServiceOptions:
    """What is served and how.

    Attributes:
        model_path: Hugging Face folder or hub id.
        model_name: What responses call it.
        api_key: What requests must bring as a bearer token; empty: nothing.
        max_model_len: Tokens of prompt and response together.
        threads: Of torch.
        dtype: Of weights and activations, a name in torch.
        max_rows: Requests that decode together.
        kv_cache_bytes: KV cache of the rows in use; a quarter as much is kept of finished ones.
        chat_template: Instead of the tokenizer's.
        template_arguments: Keyword arguments of the template in every request.
        reasoning: Whether text before </think> is reported apart.
        listening: Where to listen; None: on a free port of loopback.
    """

    model_path: str
    model_name: str
    max_model_len: int
    api_key: str = ""
    threads: int = 1
    dtype: str = "float32"
    seed: int = 0
    max_rows: int = 128
    kv_cache_bytes: int = 4 << 30
    chat_template: Optional[str] = None
    template_arguments: Dict[str, Any] = field(default_factory=dict)
    reasoning: bool = False
    trust_remote_code: bool = False
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = -1
    max_response_tokens: Optional[int] = None
    ignore_eos: bool = False
    listening: Optional[socket.socket] = None


class Service:
    """Serves one model from a thread of its own; its methods may be called from any other."""

    def __init__(self, options: ServiceOptions) -> None:
        self.options = options
        self.tokenizer: Any = None
        self.url: Optional[str] = None
        self._model: Any = None
        self._merger: Optional[Merger] = None
        self._eos_ids: List[int] = []
        self._loop = asyncio.new_event_loop()
        # Made in the service's thread before start() returns.
        self._generation: GenerationLoop
        self._server: ChatServer
        self._stopping: Optional[asyncio.Event] = None
        self._ready = threading.Event()
        self._error: Optional[BaseException] = None
        self._thread = threading.Thread(target=self._main, name="embedded-engine", daemon=True)

    # ---- from any thread ----

    def start(self) -> None:
        """Load the model and listen; returns when requests are answered.

        Raises:
            Whatever loading raised.
        """
        self._thread.start()
        self._ready.wait()
        if self._error is not None:
            raise self._error

    def stop(self) -> None:
        """Close the port and end the thread."""
        if self._thread.is_alive() and self._stopping is not None:
            self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join()

    def fault(self) -> str:
        """Why no request can be answered any more; empty while they are."""
        error = self._generation.error or self._error
        return f"the engine stopped: {error!r}" if error else ""

    async def generate(self, prompt: List[int], body: Dict[str, Any]) -> List[Request]:
        """Draw `n` responses to token ids; `body` as in the HTTP interface, less the messages."""
        return await self._from_outside(self._generate(prompt, body))

    async def logprobs(self, token_ids: List[int], temperature: float) -> Tensor:
        """Log-probabilities of all tokens but the first: shape (len(token_ids) - 1,)."""
        work = self._generation.call(lambda: self._score(token_ids, temperature))
        return await self._from_outside(work)

    async def load_weights(self, state: Dict[str, Tensor]) -> None:
        """Copy new weights into the model once no request holds a row; caches are cleared. Of an
        adapter the model has base + adapter from then on.

        Raises:
            ValueError: If names or shapes are not the model's.
        """
        work = self._generation.call(lambda: self._replace_weights(state), idle=True)
        await self._from_outside(work)

    def work_done(self) -> Tuple[float, int]:
        """Seconds spent in forward passes and tokens generated since the start."""
        return self._generation.busy_seconds, self._generation.generator.generated

    def text(self, request: Request) -> str:
        """The text that a request drew, without special tokens."""
        text = self.tokenizer.decode(request.tokens, skip_special_tokens=True)
        return text if request.text_end is None else text[: request.text_end]

    async def _from_outside(self, work: Coroutine) -> Any:
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, self._loop))

    # ---- in the service's thread ----

    def _main(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            # Per thread in OpenMP, hence here.
            torch.set_num_threads(self.options.threads)
            self._load()
            self._loop.run_until_complete(self._serve())
        except BaseException as error:
            self._error = error
            self._ready.set()
            if self.url is not None:
                raise
        finally:
            self._loop.close()

    def _load(self) -> None:
        from transformers import AutoModelForCausalLM, AutoTokenizer

        options = self.options
        remote = options.trust_remote_code
        path = options.model_path
        with loading(path, TOKENIZER):
            self.tokenizer = AutoTokenizer.from_pretrained(path, trust_remote_code=remote)
        with loading(path, WEIGHTS):
            self._model = AutoModelForCausalLM.from_pretrained(
                path, dtype=getattr(torch, options.dtype), trust_remote_code=remote
            ).eval()
        self._eos_ids = end_tokens(self._model, self.tokenizer)

    async def _serve(self) -> None:
        options = self.options
        vocab_size = self._model.get_output_embeddings().weight.shape[0]
        generator = Generator(
            choose_forward(self._model, options.max_model_len),
            self._eos_ids,
            lambda ids: self.tokenizer.decode(ids, skip_special_tokens=True),
            Limits(
                max_model_len=options.max_model_len,
                max_rows=options.max_rows,
                active_bytes=options.kv_cache_bytes,
                store_bytes=options.kv_cache_bytes // 4,
            ),
            seed=options.seed,
            masker=Masker(vocab_size),
        )
        self._generation = GenerationLoop(generator)
        grammars = Grammars(self.tokenizer, vocab_size, self._eos_ids[0])
        self._server = ChatServer(
            self._generation,
            self.tokenizer,
            ChatRenderer(self.tokenizer, options.chat_template, options.template_arguments),
            grammars,
            options.model_name,
            options.max_model_len,
            self._defaults(),
            options.reasoning,
            options.api_key,
        )
        self._stopping = asyncio.Event()
        running = self._loop.create_task(self._generation.run())
        self.url = await self._server.start(options.listening)
        self._ready.set()
        # The first constrained request would otherwise wait for the import.
        self._loop.call_soon(grammars.warm_up)
        # /health and every answer report a generator that died; the port stays open.
        await self._stopping.wait()
        await self._server.stop()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    async def _generate(self, prompt: List[int], body: Dict[str, Any]) -> List[Request]:
        known = {k: v for k, v in body.items() if k not in ("logprobs", "with_chat_completion")}
        chat = parse_chat_request(
            {**known, "messages": [{"role": "user", "content": ""}]}, self._defaults()
        )
        requests = [self._server.request(prompt, chat, i) for i in range(chat.n)]
        return await self._generation.generate(requests)

    def _defaults(self) -> Defaults:
        options = self.options
        return Defaults(
            temperature=options.temperature,
            top_p=options.top_p,
            top_k=options.top_k,
            max_tokens=options.max_response_tokens,
            ignore_eos=options.ignore_eos,
        )

    @torch.inference_mode()
    def _score(self, token_ids: List[int], temperature: float) -> Tensor:
        ids = torch.tensor([token_ids])
        logits = self._model(ids, use_cache=False).logits[0, :-1].float() / temperature
        chosen = logits.gather(1, ids[0, 1:, None])[:, 0]
        return chosen - logits.logsumexp(dim=-1)

    def _replace_weights(self, state: Dict[str, Tensor]) -> None:
        if is_adapter(state):
            if self._merger is None:
                self._merger = Merger(self._model)
            self._merger.merge(state)
        else:
            load_weights(self._model, state)
        self._generation.generator.clear()


def end_tokens(model: Any, tokenizer: Any) -> List[int]:
    """Tokens that end a response, the tokenizer's own first.

    Raises:
        ValueError: If neither model nor tokenizer names one.
    """
    named = [tokenizer.eos_token_id]
    for config in (getattr(model, "generation_config", None), model.config):
        ids = getattr(config, "eos_token_id", None)
        named.extend(ids if isinstance(ids, (list, tuple)) else [ids])
    ends = list(dict.fromkeys(token for token in named if token is not None))
    if not ends:
        raise ValueError("neither the tokenizer nor the model names an end token")
    return ends


def load_weights(model: Any, state: Dict[str, Tensor]) -> None:
    """Copy a state dict into a model; tied weights may be left out.

    Raises:
        ValueError: If other names are missing or unknown, or a shape differs.
    """
    own = model.state_dict()
    unknown = sorted(set(state) - set(own))
    shared = {own[name].data_ptr() for name in state if name in own}
    missing = sorted(
        name for name in own if name not in state and own[name].data_ptr() not in shared
    )
    if unknown or missing:
        raise ValueError(
            f"the weights do not fit the model: unknown {unknown[:5]}, missing {missing[:5]}"
        )
    differing = sorted(name for name in state if state[name].shape != own[name].shape)
    if differing:
        raise ValueError(f"the weights do not fit the model: other shapes of {differing[:5]}")
    with torch.no_grad():
        for name, value in state.items():
            own[name].copy_(value)
