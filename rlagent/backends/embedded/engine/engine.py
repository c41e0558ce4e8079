"""The rollout engine for machines without a GPU, as Trinity's Explorer expects one.

A Ray actor that loads a Hugging Face model, serves it over HTTP on the loopback interface and
takes new weights between requests. Decoding and HTTP live in their own modules.
"""

import asyncio
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence, Tuple

from rlagent.base import alive
from rlagent.upstream import trinity_imports

trinity_imports.without_vllm.apply()

import ray  # noqa: E402
import torch  # noqa: E402
from torch import Tensor  # noqa: E402
from trinity.common.config import InferenceModelConfig  # noqa: E402
from trinity.common.constants import SyncMethod  # noqa: E402
from trinity.common.experience import Experience  # noqa: E402
from trinity.common.models.model import BaseInferenceModel  # noqa: E402

from rlagent.backends.embedded.checkpoint import WEIGHTS, step_folder  # noqa: E402
from rlagent.backends.embedded.engine.chat import plain_content  # noqa: E402
from rlagent.backends.embedded.engine.generate import Request  # noqa: E402
from rlagent.backends.embedded.engine.service import Service, ServiceOptions  # noqa: E402
from rlagent.machine.resources import cache_bytes, threads  # noqa: E402


class EmbeddedModel(BaseInferenceModel):
    """Trinity's inference model on the CPU.

    Of `config.extra_engine_args` it reads: `threads` (of torch),
    `dtype` (default float32), `max_num_seqs` (requests that decode together) and
    `kv_cache_gib` (of the rows in use; default: an eighth of the memory, 4 at most).
    """

    def __init__(self, config: InferenceModelConfig) -> None:
        alive.start("engine", "serving")
        super().__init__(config)
        self.model_version = 0
        self._prepared: bool = False
        self._service: Optional[Service] = None
        self._lock = asyncio.Lock()

    async def prepare(self) -> None:
        """Load the model and start serving; returns when it answers.

        Raises:
            OSError: If there is no model at `config.model_path`.
        """
        async with self._lock:
            if self._prepared:
                return
            self._service = Service(service_options(self.config))
            await asyncio.get_running_loop().run_in_executor(None, self._service.start)
            self.tokenizer = self._service.tokenizer
            self._prepared = True

    def get_api_server_url(self) -> Optional[str]:
        """Address of the OpenAI-compatible server, without /v1."""
        return self._running().url

    def get_model_version(self) -> int:
        """Training step of the weights in use; 0: as loaded."""
        return self.model_version

    async def work_done(self) -> Tuple[float, int]:
        """Seconds spent in forward passes and tokens generated since the start."""
        return self._running().work_done()

    async def sync_model_weights(
        self, model_version: int, method: SyncMethod, timeout: float = 1200
    ) -> int:
        """Take new weights once the requests under way are done; returns their version.

        Raises:
            ValueError: For a method other than memory and checkpoint, or weights that do not fit.
        """
        state, version = await asyncio.wait_for(self._new_weights(model_version, method), timeout)
        await asyncio.wait_for(self._running().load_weights(state), timeout)
        self.model_version = version
        return version

    async def _new_weights(self, version: int, method: SyncMethod) -> Any:
        if method == SyncMethod.MEMORY:
            synchronizer = ray.get_actor("synchronizer", namespace=self.config.ray_namespace)
            state, version = await synchronizer.get_model_state_dict.remote()
            if not isinstance(state, dict):
                raise ValueError(
                    f"the synchronizer holds no state dict of version {version}, but {type(state)}"
                )
            return state, version
        if method == SyncMethod.CHECKPOINT:
            from safetensors.torch import load_file

            root = Path(self.config.checkpoint_job_dir)
            path = step_folder(root, version) / WEIGHTS
            return load_file(path), version
        raise ValueError(f"sync_method {method} is not served on a CPU; use memory or checkpoint")

    async def generate(
        self, prompt: str, lora_request: Any = None, **kwargs: Any
    ) -> Sequence[Experience]:
        """Draw `n` responses to a text; keyword arguments as in the HTTP interface."""
        prompt_ids, valid = self._handle_prompt_truncation(prompt, **kwargs)
        if not valid:
            return prompt_ids
        body = {"min_tokens": self.config.min_response_tokens, **kwargs}
        requests = await self._running().generate(list(prompt_ids), body)
        return [self._experience(request) for request in requests]

    async def chat(
        self, messages: List[Dict], lora_request: Any = None, **kwargs: Any
    ) -> Sequence[Experience]:
        """Draw `n` responses to a conversation; keyword arguments as in the HTTP interface."""
        self._running()
        plain = [{**m, "content": plain_content(m.get("content"))} for m in messages]
        return await self.generate(self.apply_chat_template(self.tokenizer, plain), **kwargs)

    async def logprobs(
        self,
        token_ids: List[int],
        lora_request: Any = None,
        temperature: Optional[float] = None,
        **kwargs: Any,
    ) -> Tensor:
        """Log-probabilities of tokens given those before them: shape (len(token_ids) - 1,)."""
        if temperature is None:
            temperature = self.config.temperature if self.config.temperature is not None else 1.0
        return await self._running().logprobs(token_ids, temperature or 1.0)

    async def get_message_token_len(self, messages: List[Dict]) -> int:
        """Tokens of a conversation as a prompt."""
        self._running()
        return len(self.tokenizer.encode(self.apply_chat_template(self.tokenizer, messages)))

    async def shutdown(self) -> None:
        """Close the port and stop the engine's thread."""
        if self._service is not None:
            service, self._service, self._prepared = self._service, None, False
            await asyncio.get_running_loop().run_in_executor(None, service.stop)

    def _running(self) -> Service:
        if self._service is None or not self._prepared:
            raise RuntimeError("the engine is not prepared; call prepare() first")
        return self._service

    def _experience(self, request: Request) -> Experience:
        return Experience(
            tokens=torch.tensor(request.prompt + request.tokens, dtype=torch.int32),
            logprobs=torch.tensor(request.logprobs, dtype=torch.float32),
            prompt_length=len(request.prompt),
            prompt_text=self.tokenizer.decode(request.prompt),
            response_text=self._running().text(request),
        )


def service_options(config: InferenceModelConfig) -> ServiceOptions:
    """What Trinity's configuration says about serving, as the service's options."""
    extra = dict(config.extra_engine_args or {})
    template = {} if config.enable_thinking is None else {"enable_thinking": config.enable_thinking}
    options = ServiceOptions(
        model_path=config.model_path,
        model_name=config.model_path,
        api_key=config.api_key,
        max_model_len=config.max_model_len or 4096,
        threads=int(extra.pop("threads", 0)) or threads(),
        dtype=extra.pop("dtype", "float32"),
        seed=config.seed + config.engine_id,
        max_rows=int(extra.pop("max_num_seqs", 128)),
        kv_cache_bytes=int(float(extra.pop("kv_cache_gib", 0)) * 2**30) or cache_bytes(),
        chat_template=config.chat_template,
        template_arguments=template,
        reasoning=bool(config.reasoning_parser),
        trust_remote_code=config.trust_remote_code,
        temperature=_or(config.temperature, 1.0),
        top_p=_or(config.top_p, 1.0),
        top_k=_or(config.top_k, -1),
        max_response_tokens=config.max_response_tokens,
        ignore_eos=config.ignore_eos,
    )
    if extra:
        raise ValueError(f"extra_engine_args not known to the embedded engine: {sorted(extra)}")
    return options


def _or(value: Any, default: Any) -> Any:
    return default if value is None else value
