"""The chat completion that an OpenAI client reads, whole or in pieces, from what was drawn."""

import time
import uuid
from typing import Any, AsyncIterator, Dict, List, Optional, Sequence, Tuple

from rlagent.backends.embedded import allowed
from rlagent.backends.embedded.engine.chat import assistant_message
from rlagent.backends.embedded.engine.generate import Request
from rlagent.backends.embedded.engine.protocol import ChatRequest
from rlagent.backends.embedded.engine.stream import TextStream


class TokenTexts:
    """Text and bytes of single tokens, as logprobs report them; each worked out once."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._known: Dict[int, Dict[str, Any]] = {}

    def entry(self, token: int, logprob: float) -> Dict[str, Any]:
        """OpenAI's description of a token: token, logprob, bytes."""
        return {**self._of(token), "logprob": logprob}

    def text(self, token: int) -> str:
        """The token's text alone."""
        return self._of(token)["token"]

    def _of(self, token: int) -> Dict[str, Any]:
        known = self._known.get(token)
        if known is None:
            text = self._tokenizer.decode([token])
            known = {"token": text, "bytes": list(text.encode("utf-8", errors="replace"))}
            self._known[token] = known
        return known


class Completions:
    """Describes responses.

    Args:
        tokenizer: Of transformers.
        model_name: What responses call the model.
        reasoning: Whether text before </think> is reported as reasoning_content.
    """

    def __init__(self, tokenizer: Any, model_name: str, reasoning: bool = False) -> None:
        self.tokenizer = tokenizer
        self.model_name = model_name
        self.reasoning = reasoning
        self._texts = TokenTexts(tokenizer)

    def whole(
        self, chat: ChatRequest, prompt: List[int], requests: List[Request]
    ) -> Dict[str, Any]:
        """The chat completion of requests that are done."""
        completion = {
            **self._head("chat.completion"),
            "choices": [self._choice(i, r, chat) for i, r in enumerate(requests)],
            "usage": _usage(prompt, requests),
        }
        if chat.return_token_ids:
            completion["prompt_token_ids"] = prompt
        return completion

    async def pieces(
        self,
        chat: ChatRequest,
        prompt: List[int],
        requests: List[Request],
        drawn: AsyncIterator[Request],
    ) -> AsyncIterator[Dict[str, Any]]:
        """The chunks of a chat completion.

        Args:
            drawn: Each of the requests after each of its tokens, until all are done.

        Raises:
            EngineDiedError: If the engine failed.
        """
        head = self._head("chat.completion.chunk")
        calls = chat.tool_choice != "none"
        texts = [TextStream(chat.params.stop, calls, self.reasoning) for _ in requests]
        sent = [0] * len(requests)
        first: Dict[str, Any] = {"role": "assistant", "content": ""}
        for index in range(len(requests)):
            yield {**head, "choices": [_delta(index, first)]}
        async for request in drawn:
            index = requests.index(request)
            text = self._text(request)
            delta: Dict[str, Any] = texts[index].grow(text)
            reason = None
            if request.finish_reason is not None:
                message, reason = self._message(request, chat)
                delta |= texts[index].end(message)
            asks = chat.logprobs or chat.return_token_ids or chat.return_token_logprobs
            if delta or reason or asks:
                choice = _delta(index, delta, reason)
                choice |= self._details(request, chat, sent[index])
                sent[index] = len(request.tokens)
                yield {**head, "choices": [choice]}
        if chat.stream_usage:
            yield {**head, "choices": [], "usage": _usage(prompt, requests)}

    def _head(self, kind: str) -> Dict[str, Any]:
        return {
            "id": f"chatcmpl-{uuid.uuid4().hex}",
            "object": kind,
            "created": int(time.time()),
            "model": self.model_name,
        }

    def _choice(self, index: int, request: Request, chat: ChatRequest) -> Dict[str, Any]:
        message, reason = self._message(request, chat)
        choice: Dict[str, Any] = {"index": index, "message": message, "finish_reason": reason}
        choice |= self._details(request, chat, 0)
        if chat.return_token_ids and request.allowed:
            choice["allowed_tokens"] = allowed.encode(request.allowed)
        return choice

    def _text(self, request: Request) -> str:
        text = self.tokenizer.decode(request.tokens, skip_special_tokens=True)
        return text if request.text_end is None else text[: request.text_end]

    def _message(self, request: Request, chat: ChatRequest) -> Tuple[Dict[str, Any], str]:
        return assistant_message(
            self._text(request),
            chat.names,
            request.finish_reason or "stop",
            read_calls=chat.tool_choice != "none",
            reasoning=self.reasoning,
        )

    def _details(self, request: Request, chat: ChatRequest, start: int) -> Dict[str, Any]:
        """What was asked for about the tokens from `start` on."""
        details: Dict[str, Any] = {"logprobs": None}
        if chat.logprobs:
            details["logprobs"] = {"content": self._logprobs(request, start)}
        if chat.return_token_ids:
            details["token_ids"] = request.tokens[start:]
        if chat.return_token_logprobs:
            details["token_logprobs"] = request.logprobs[start:]
            details["token_texts"] = [self._texts.text(token) for token in request.tokens[start:]]
        return details

    def _logprobs(self, request: Request, start: int) -> List[Dict[str, Any]]:
        entry = self._texts.entry
        alternatives: Sequence[Any] = request.alternatives or [()] * len(request.tokens)
        return [
            {**entry(token, logprob), "top_logprobs": [entry(t, p) for t, p in others]}
            for token, logprob, others in zip(
                request.tokens[start:],
                request.logprobs[start:],
                alternatives[start:],
                strict=True,
            )
        ]


def _delta(index: int, delta: Dict[str, Any], reason: Optional[str] = None) -> Dict[str, Any]:
    return {"index": index, "delta": delta, "finish_reason": reason}


def _usage(prompt: List[int], requests: List[Request]) -> Dict[str, int]:
    drawn = sum(len(request.tokens) for request in requests)
    return {
        "prompt_tokens": len(prompt),
        "completion_tokens": drawn,
        "total_tokens": len(prompt) + drawn,
    }
