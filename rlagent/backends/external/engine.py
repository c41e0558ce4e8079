"""The engine actor of a model behind an OpenAI-compatible endpoint: its address, key and answers.

As Trinity's Explorer expects an engine, as far as measuring needs one: agents reach the endpoint
through its address and key as they reach the servers of the other engines.
"""

import os
from collections.abc import Sequence
from typing import Any

import openai
from openai.types.chat import ChatCompletion

from rlagent.backends.base import NO_KEY
from rlagent.base import alive
from rlagent.base.errors import Problem, UnreachableError
from rlagent.upstream import trinity_imports

trinity_imports.without_vllm.apply()

from trinity.common.config import InferenceModelConfig  # noqa: E402
from trinity.common.constants import SyncMethod  # noqa: E402
from trinity.common.experience import Experience  # noqa: E402
from trinity.common.models.model import InferenceModel  # noqa: E402

FIRST_ANSWER = 30.0
"""Seconds that the endpoint has to say which models it serves."""


class ExternalModel(InferenceModel):
    """One endpoint.

    Of `config.extra_engine_args` it reads `url`, with or without /v1, and `key_env`, the
    environment variable of this process that holds the key (None: there is none).
    `config.model_path` is the model's name there.
    """

    def __init__(self, config: InferenceModelConfig) -> None:
        alive.start("engine", "asking the endpoint")
        super().__init__(config)
        extra = config.extra_engine_args
        self._address = str(extra["url"]).rstrip("/").removesuffix("/v1")
        self._key_env = extra.get("key_env")
        self._client = openai.AsyncOpenAI(
            base_url=f"{self._address}/v1", api_key=self.get_api_key(), max_retries=1
        )

    async def prepare(self) -> None:
        """Ask the endpoint whether it serves the model.

        Raises:
            UnreachableError: It does not answer, refuses the key or serves other models.
        """
        try:
            page = await self._client.with_options(timeout=FIRST_ANSWER).models.list()
        except (openai.AuthenticationError, openai.PermissionDeniedError) as error:
            raise _problem(
                "model.key_env",
                self._key_env,
                f"{self._address} refuses the key ({error.status_code})",
                "name the environment variable that holds a valid one",
            ) from error
        except openai.APIError as error:
            raise _problem(
                "model.url",
                self._address,
                f"does not say which models it serves: {error.message}",
                "check that an OpenAI-compatible server runs there, such as `vllm serve`",
            ) from error
        served = [model.id for model in page.data]
        if self.config.model_path not in served:
            shown = ", ".join(served[:10]) or "none"
            raise _problem(
                "model.name", self.config.model_path, "is not served there", f"served: {shown}"
            )
        self._prepared = True

    def get_api_server_url(self) -> str:
        """Address of the endpoint, without /v1."""
        return self._address

    def get_api_key(self) -> str:
        """The key, as this process's environment has it; it is never written.

        Raises:
            KeyError: The variable is not set here.
        """
        return os.environ[self._key_env] if self._key_env else NO_KEY

    def get_model_path(self) -> str | None:
        """The model's name at the endpoint."""
        return self.config.model_path

    def get_model_version(self) -> int:
        """0: its weights never change."""
        return 0

    async def complete(self, messages: list[dict[str, Any]], **request: Any) -> ChatCompletion:
        """One chat completion; keyword arguments as in the HTTP interface."""
        body = {"model": self.config.model_path, "messages": messages, **request}
        return await self._client.post("/chat/completions", cast_to=ChatCompletion, body=body)

    async def chat(self, messages: list[dict], **kwargs: Any) -> Sequence[Experience]:
        """Refused: an experience holds tokens, which the endpoint does not tell."""
        raise ValueError(f"an experience of {self._address} has no tokens; use complete()")

    async def sync_model_weights(
        self, model_version: int, method: SyncMethod, timeout: float = 1200
    ) -> int:
        """Refused: an endpoint takes no weights."""
        raise ValueError(f"{self._address} takes no weights: an external model only measures")

    async def shutdown(self) -> None:
        """Close the connections."""
        self._prepared = False
        await self._client.close()


def _problem(key: str, value: str | None, message: str, remedy: str) -> UnreachableError:
    return UnreachableError([Problem(key, value, message, remedy)])
