"""The tiny model's tokenizer: byte-level BPE trained on the transcripts, with a chat template.

Prompt length decides what a step costs on a CPU, and most of an agent's prompt is the same text
every time. What repeats in every conversation (system prompts, tool schemas, the frame of a
call) therefore gets a token of its own; any other text is spelled with words, digits and bytes.
"""

import json
from collections.abc import Sequence
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from rlagent.workflows.teacher import Transcript

END_OF_TURN = "<|im_end|>"
PADDING = "<|endoftext|>"
SPECIAL = [PADDING, "<|im_start|>", END_OF_TURN]
# Ordinary text to a decoder, as in Qwen's tokenizers: calls must survive skip_special_tokens.
CALL_TAGS = ["<tool_call>", "</tool_call>"]
# The rest of the frame of a conversation.
FRAME = [
    "system\n",
    "user\n",
    "assistant\n",
    "user\n<tool_response>\n",
    "\n</tool_response>",
    '"}}\n',
    "\n\n",
    "Successfully generated response.",
    "The answer is ",
]
TEMPLATE = Path(__file__).with_name("chat_template.jinja")

# An operator with its spaces, a word with the space before it, one digit, punctuation, white space.
_PIECES = r" [-+*/] | ?\p{L}+|\d| ?[^\s\p{L}\d]|\s+"


def train(
    transcripts: Sequence[Transcript], vocabulary: int, frame: Sequence[str] = ()
) -> PreTrainedTokenizerFast:
    """A tokenizer of `vocabulary` entries for these conversations, the repeated texts included.

    Args:
        transcripts: What it is to spell.
        vocabulary: Entries.
        frame: Further texts that get an entry each.
    """
    whole = sorted({*repeated_texts(transcripts), *frame}, key=lambda text: (-len(text), text))
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_PIECES), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary - len(SPECIAL) - len(CALL_TAGS) - len(whole),
        min_frequency=2,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    core.train_from_iterator(_plain_texts(transcripts), trainer)
    core.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in SPECIAL])
    core.add_tokens([AddedToken(t, special=False, normalized=False) for t in [*CALL_TAGS, *whole]])
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        eos_token=END_OF_TURN,
        pad_token=PADDING,
        chat_template=TEMPLATE.read_text(encoding="utf-8"),
        clean_up_tokenization_spaces=False,
        model_max_length=2048,
    )


def repeated_texts(transcripts: Sequence[Transcript]) -> list[str]:
    """The texts that repeat from one conversation to the next, longest first."""
    template = TEMPLATE.read_text(encoding="utf-8").replace("\\n", "\n")
    before = _stretch(template, "# Tools", "XML tags:\n<tools>")
    after = _stretch(template, "\n</tools>\n", "}\n</tool_call>")
    texts = {before, after, *FRAME}
    for transcript in transcripts:
        for tool in transcript.tools:
            texts.add("\n" + json.dumps(tool, ensure_ascii=False))
            function = tool["function"]
            for argument in function["parameters"]["properties"]:
                texts.add(f'\n{{"name": "{function["name"]}", "arguments": {{"{argument}": "')
        for message in transcript.messages:
            text = _text(message)
            if message["role"] == "system" or text.startswith("<system-hint>"):
                texts.add(text)
    return sorted(texts, key=lambda text: (-len(text), text))


def _stretch(text: str, start: str, end: str) -> str:
    """The part of `text` from `start` up to and including `end`."""
    begin = text.index(start)
    return text[begin : text.index(end, begin) + len(end)]


def _plain_texts(transcripts: Sequence[Transcript]) -> list[str]:
    """What is left to be spelled: questions, results and the arguments of calls."""
    texts = []
    for transcript in transcripts:
        for message in transcript.messages:
            texts.append(_text(message) if message["role"] != "system" else "")
            for call in message.get("tool_calls", ()):
                texts += map(str, json.loads(call["function"]["arguments"]).values())
    return [text for text in texts if text]


def _text(message: dict) -> str:
    content = message["content"]
    if isinstance(content, list):
        return "".join(part["text"] for part in content if part["type"] == "text")
    return content or ""
