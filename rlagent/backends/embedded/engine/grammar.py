"""Constrained decoding: what tool_choice and response_format allow, as token masks.

xgrammar compiles and follows the grammars; this module says which grammar a request needs, and
lets a response that nears its token budget draw only what leaves room to close it, so that a
constrained response is whole wherever its budget holds the shortest one.
Imports of xgrammar are late: an engine whose requests are free never pays for them.
"""

import json
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

import numpy as np
from torch import Tensor

from rlagent.backends.embedded.engine.schemas import EndlessSchemaError, require_finite

CALL_BEGIN = '<tool_call>\n{"name": %s, "arguments": '
CALL_END = "}\n</tool_call>"

_MAX_GRAMMARS = 256
_MAX_CLOSING_STEPS = 2048
_MOST_TRIED = 64
"""Up to so many tokens are tried one by one for whether a whole response still fits after them."""
_IN_STRING = ('"', "n", "0", "a", " ")
_OUTSIDE = ("}", "]", ", ", ": ", '"', "0", "1", "n", "t", "f", "{", "[")


class GrammarError(ValueError):
    """A schema that cannot be turned into a grammar; the message says which and why."""


def tool_calls_tag(
    tools: Sequence[Dict[str, Any]], only: Optional[str], parallel: bool
) -> Dict[str, Any]:
    """xgrammar's structural tag for one or more tool calls and nothing else.

    Whitespace is fixed to json.dumps' default separators, as in the calls that chat templates
    render, so that what is generated and what the next prompt holds are the same tokens.

    Args:
        tools: OpenAI tool specifications.
        only: Name of the only function allowed; None: any.
        parallel: Whether more than one call may follow another.
    """
    import xgrammar

    tags = []
    for tool in tools:
        function = tool["function"]
        if only is not None and function["name"] != only:
            continue
        schema = function.get("parameters") or {"type": "object", "properties": {}}
        try:
            require_finite(schema)
            ebnf = str(xgrammar.Grammar.from_json_schema(json.dumps(schema), any_whitespace=False))
        except (RuntimeError, EndlessSchemaError) as error:
            raise GrammarError(f"parameters of {function['name']}: {error}") from error
        tags.append(
            {
                "type": "tag",
                "begin": CALL_BEGIN % json.dumps(function["name"], ensure_ascii=False),
                "content": {"type": "grammar", "grammar": ebnf},
                "end": CALL_END,
            }
        )
    calls = {
        "type": "tags_with_separator",
        "tags": tags,
        "separator": "\n",
        "at_least_one": True,
        "stop_after_first": not parallel,
    }
    return {"type": "structural_tag", "format": calls}


class Grammars:
    """Compiles grammars for one tokenizer; each distinct one once.

    Args:
        tokenizer: Of transformers.
        vocab_size: Width of the model's logits.
        eos_id: The token that ends a constrained response.
    """

    def __init__(self, tokenizer: Any, vocab_size: int, eos_id: int) -> None:
        self.tokenizer = tokenizer
        self.vocab_size = vocab_size
        self.eos_id = eos_id
        self.plain = np.zeros(0, dtype=np.uint32)
        """Bitmask of the tokens that go on with a JSON string and do nothing else."""
        self._compiler: Any = None
        self._compiled: Dict[str, Tuple[Any, int]] = {}

    def for_tools(
        self, tools: Sequence[Dict[str, Any]], only: Optional[str] = None, parallel: bool = True
    ) -> "Constraint":
        """A constraint to tool calls; see tool_calls_tag.

        Raises:
            GrammarError: For a schema that xgrammar cannot follow.
        """
        specs = [(t["function"]["name"], t["function"].get("parameters")) for t in tools]
        key = json.dumps(["tools", specs, only, parallel])
        names = [only] if only is not None else [name for name, _ in specs]

        def compiling(name: Optional[str]) -> Callable[[Any], Any]:
            return lambda compiler: compiler.compile_structural_tag(
                json.dumps(tool_calls_tag(tools, name, parallel))
            )

        return self._constraint(key, [compiling(name) for name in [only, *names]])

    def for_schema(self, schema: Optional[Dict[str, Any]]) -> "Constraint":
        """A constraint to one JSON value of the schema; None: to any JSON.

        Raises:
            GrammarError: For a schema that xgrammar cannot follow.
        """
        if schema is None:
            return self._constraint("json", [_any_json])
        try:
            require_finite(schema)
        except EndlessSchemaError as error:
            raise GrammarError(f"the schema: {error}") from error
        text = json.dumps(schema)
        return self._constraint(
            "schema" + text,
            [lambda compiler: compiler.compile_json_schema(text, any_whitespace=False)],
        )

    def warm_up(self) -> None:
        """Import xgrammar and read the vocabulary now rather than at the first constrained call."""
        import xgrammar

        if self._compiler is None:
            texts = self._token_texts()
            self.plain = _bitmask_of(
                [i for i, text in enumerate(texts) if _is_plain(text)], len(texts)
            )
            info = xgrammar.TokenizerInfo(
                texts,
                xgrammar.VocabType.RAW,
                vocab_size=self.vocab_size,
                stop_token_ids=[self.eos_id],
            )
            self._compiler = xgrammar.GrammarCompiler(info, max_threads=1)

    def _constraint(self, key: str, compilers: Sequence[Callable[[Any], Any]]) -> "Constraint":
        """A constraint to what the first of `compilers` makes.

        The others make its alternatives one by one: opening one more of them can cost as much as
        the longest of their shortest responses, and more where it begins with a part of a token.
        """
        import xgrammar

        if key not in self._compiled:
            self.warm_up()
            try:
                compiled = [compile_(self._compiler) for compile_ in compilers]
            except RuntimeError as error:
                raise GrammarError(str(error)) from error
            starts = [Constraint(xgrammar.GrammarMatcher(c), self, reserve=0) for c in compiled]
            if len(self._compiled) >= _MAX_GRAMMARS:
                self._compiled.clear()
            ways = [start.closing() for start in starts]
            longest_token = max(len(self.tokenizer.decode([t])) for way in ways for t in way)
            self._compiled[key] = (compiled[0], max(map(len, ways)) + longest_token)
        grammar, reserve = self._compiled[key]
        return Constraint(xgrammar.GrammarMatcher(grammar), self, reserve)

    def _token_texts(self) -> List[bytes]:
        """What each token adds to a text; empty for those that a grammar must never allow."""
        import xgrammar

        found = xgrammar.TokenizerInfo.from_huggingface(
            self.tokenizer, vocab_size=self.vocab_size, stop_token_ids=[self.eos_id]
        )
        texts: List[bytes] = list(found.decoded_vocab)
        for token, added in self.tokenizer.added_tokens_decoder.items():
            # A special token spelled inside a string would vanish from the text that is parsed.
            texts[token] = b"" if added.special else added.content.encode()
        return texts


class Constraint:
    """The grammar of one response, and where in it the response is.

    Args:
        matcher: xgrammar's GrammarMatcher.
        reserve: Tokens that closing may cost more after one that opens a call or a value; nothing
            is looked at while more than these would be left over.
    """

    def __init__(self, matcher: Any, grammars: Grammars, reserve: int) -> None:
        self.matcher = matcher
        self.reserve = reserve
        self._grammars = grammars
        # What was allowed at the last token drawn, as allowed.py packs it.
        self.allowed = np.zeros(0, dtype=np.int32)
        self._drawn: List[int] = []
        self._way: List[int] = []
        # At the start closing takes `reserve` at most; see allow().
        self._look_again = 2 * reserve + 32

    def allow(self, bitmask: Tensor, row: int, left: int) -> None:
        """Set a row of the mask to the tokens that may come next.

        Those that the grammar allows; near the end of the budget, of these only those after which
        a whole response still fits.

        Args:
            bitmask: Of xgrammar, (batch, words).
            row: The row to set.
            left: Tokens that may still be drawn, the end token included.
        """
        self.matcher.fill_next_token_bitmask(bitmask, row)
        if left > self._look_again:
            return
        closing = self.closing()
        if self._way and len(self._way) < len(closing):
            closing = self._way
        spare = left - len(closing) - self.reserve
        if spare > 0:
            # What takes long is to find out; half of what can be spared is safely spent.
            self._look_again = left - (spare + 1) // 2
        elif len(closing) <= left:
            self._way = closing
            self._keep_what_fits(bitmask[row].numpy().view(np.uint32), left)

    def _keep_what_fits(self, words: np.ndarray, left: int) -> None:
        allowed = _tokens_of(words)
        if len(allowed) <= _MOST_TRIED:
            kept = [token for token in allowed if len(self.closing([token])) < left]
            words[:] = _bitmask_of([self._way[0], *kept], 32 * len(words))
            return
        inside, _ = _string_state(self._grammars.tokenizer.decode(self._drawn))
        # So much choice is within a string, whose plain characters leave the closing as it is.
        goes_on = inside and len(self._way) < left
        words &= self._grammars.plain if goes_on else np.uint32(0)
        words |= _bitmask_of([self._way[0]], 32 * len(words))

    def accept(self, token: int) -> None:
        """Go on after a drawn token.

        Raises:
            RuntimeError: If the grammar does not allow it.
        """
        if not self.matcher.accept_token(token):
            raise RuntimeError(f"token {token} was drawn against the grammar")
        self._drawn.append(token)
        self._way = self._way[1:] if self._way[:1] == [token] else []

    def closing(self, after: Sequence[int] = ()) -> List[int]:
        """A short way from here to the end of a whole response, the end token included.

        Closes what is open, fills required values with the shortest ones that are tried.

        Args:
            after: Tokens to draw first, which the grammar allows; they are not part of the way.
        """
        import xgrammar

        tokenizer, eos_id = self._grammars.tokenizer, self._grammars.eos_id
        start = self.matcher.fork()
        for token in after:
            start.accept_token(token)
        end = start.fork()
        in_string, escaped = _string_state(tokenizer.decode([*self._drawn, *after]))
        pieces: List[Any] = []
        for _ in range(_MAX_CLOSING_STEPS):
            if end.is_completed() or end.is_terminated():
                break
            text = end.find_jump_forward_string()
            if text:
                end.accept_string(text)
            else:
                choices = _IN_STRING if in_string else _OUTSIDE
                text = next((c for c in choices if end.accept_string(c)), "")
            if text:
                pieces.append(text)
                in_string, escaped = _string_state(text, in_string, escaped)
                continue
            mask = xgrammar.allocate_token_bitmask(1, self._grammars.vocab_size)
            end.fill_next_token_bitmask(mask, 0)
            allowed = _tokens_of(mask[0].numpy().view(np.uint32))
            if not allowed:
                raise GrammarError("no value fits the schema")
            token = allowed[0]
            end.accept_token(token)
            pieces.append(token)
            in_string, escaped = _string_state(tokenizer.decode([token]), in_string, escaped)
        last = [] if end.is_terminated() else [eos_id]
        return self._shortest(start, pieces) + last

    def _shortest(self, start: Any, pieces: List[Any]) -> List[int]:
        """Pieces of text and single tokens as few tokens that the grammar allows from `start`."""
        found = self._as_tokens(pieces)
        tokenizer = self._grammars.tokenizer
        texts = [p if isinstance(p, str) else tokenizer.decode([p]) for p in pieces]
        # The tokenizer may have one token for what was found piece by piece.
        whole: List[int] = tokenizer.encode("".join(texts), add_special_tokens=False)
        if len(whole) < len(found) and all(start.accept_token(token) for token in whole):
            return whole
        return found

    def _as_tokens(self, pieces: List[Any]) -> List[int]:
        """Pieces of text and single tokens as tokens; texts that meet are encoded together."""
        tokens: List[int] = []
        text = ""
        for piece in [*pieces, None]:
            if isinstance(piece, str):
                text += piece
                continue
            if text:
                tokens += self._grammars.tokenizer.encode(text, add_special_tokens=False)
                text = ""
            if piece is not None:
                tokens.append(piece)
        return tokens


class Masker:
    """Applies the constraints of a batch to its logits.

    Args:
        vocab_size: Width of the logits.
    """

    def __init__(self, vocab_size: int) -> None:
        self.vocab_size = vocab_size

    def apply(
        self,
        logits: Tensor,
        rows: Sequence[int],
        constraints: Sequence[Constraint],
        left: Sequence[int],
    ) -> None:
        """Set to -inf, in place, what must not be drawn.

        Args:
            logits: (batch, vocab_size).
            rows: The constrained ones.
            constraints: One for each of `rows`.
            left: Tokens that each of them may still draw.
        """
        import xgrammar

        bitmask = xgrammar.allocate_token_bitmask(logits.shape[0], self.vocab_size)
        for row, constraint, tokens_left in zip(rows, constraints, left, strict=True):
            constraint.allow(bitmask, row, tokens_left)
            constraint.allowed = bitmask[row].numpy().copy()
        xgrammar.apply_token_bitmask_inplace(logits, bitmask, indices=list(rows))


def _any_json(compiler: Any) -> Any:
    return compiler.compile_builtin_json_grammar()


def _string_state(text: str, inside: bool = False, escaped: bool = False) -> Tuple[bool, bool]:
    """Whether a JSON string is open after `text`, and whether a backslash is pending in it."""
    for character in text:
        if escaped:
            escaped = False
        elif character == "\\" and inside:
            escaped = True
        elif character == '"':
            inside = not inside
    return inside, escaped


def _is_plain(text: bytes) -> bool:
    """Whether a token only adds characters to a JSON string: it neither ends nor escapes."""
    try:
        read = text.decode()
    except UnicodeDecodeError:
        return False
    return read.isprintable() and bool(read) and not set(read) & {'"', "\\"}


def _bitmask_of(tokens: Sequence[int], size: int) -> np.ndarray:
    """A row of a bitmask over `size` tokens, uint32 words, with these tokens allowed."""
    bits = np.zeros(-(-size // 32) * 32, dtype=np.uint8)
    bits[list(tokens)] = 1
    return np.packbits(bits, bitorder="little").view(np.uint32)


def _tokens_of(words: np.ndarray) -> List[int]:
    """The tokens that a row of a bitmask allows."""
    found: List[int] = np.flatnonzero(
        np.unpackbits(words.view(np.uint8), bitorder="little")
    ).tolist()
    return found
