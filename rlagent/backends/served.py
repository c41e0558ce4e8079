"""What is asked of an engine that serves a model by itself, without Ray and without a trainer."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

KEY_VARIABLE = "RLAGENT_API_KEY"
"""Environment variable that may hold the key of `rlagent serve`."""


@dataclass(frozen=True)
class Serve:
    """A model to serve over OpenAI's interface.

    Args:
        model: Hugging Face folder or hub id.
        name: What clients call it.
        host, port: Where to listen: an address of this machine, and a free port.
        api_key: What requests must bring; empty: nothing, for loopback only.
        max_model_len: Tokens of prompt and response together.
        temperature, top_p, top_k, max_tokens: For requests that do not say; vLLM then takes as
            many tokens as the length leaves, as with max_tokens None.
        dtype: Of weights and activations.
        gpus: GPUs that share each layer (tensor parallel); 0 on a CPU.
        memory_share: Share of each GPU's memory that the engine may take, in (0, 1).
        enable_thinking: For the chat template; None: its default.
        tool_call_parser, reasoning_parser: As for `model.tool_call_parser`; None: none.
        log: File for what the engine says.
    """

    model: str
    name: str
    host: str
    port: int
    api_key: str
    max_model_len: int
    temperature: float
    top_p: float
    top_k: int
    max_tokens: int | None
    dtype: str
    gpus: int
    memory_share: float
    enable_thinking: bool | None
    tool_call_parser: str | None
    reasoning_parser: str | None
    trust_remote_code: bool
    seed: int
    log: Path


class Served(Protocol):
    """A model that is served, until it is stopped."""

    url: str
    """Without /v1."""

    def ended(self) -> str:
        """Why it has ended by itself; empty while it serves."""

    def stop(self) -> None:
        """Answer no more requests; those under way have a few seconds."""
