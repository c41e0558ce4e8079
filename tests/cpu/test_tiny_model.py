"""The shipped tiny model: a folder whose chat template and tokenizer fit the agents."""

import json
import random
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerBase

from rlagent.workflows.teacher import Transcript
from tools.tiny_model import __main__ as build
from tools.tiny_model import sft
from tools.tiny_model.data import draw
from tools.tiny_model.transcripts import Teaching, collect

FOLDER = Path(__file__).parents[2] / "rlagent" / "assets" / "tiny"


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerBase:
    return AutoTokenizer.from_pretrained(FOLDER)


@pytest.fixture(scope="module")
def transcripts() -> list[Transcript]:
    """Conversations of both agents, with and without the calculator, in one step and in several."""
    return collect(draw(60, seed=7), Teaching(plain=0.3, unaided=0.3, stepwise=0.5), seed=7)


def _text(tokenizer: PreTrainedTokenizerBase, transcript: Transcript) -> str:
    return tokenizer.apply_chat_template(
        transcript.messages, tools=transcript.tools, tokenize=False
    )


def test_the_folder_loads_and_is_small() -> None:
    assert sum(file.stat().st_size for file in FOLDER.iterdir()) <= 4_000_000
    model = AutoModelForCausalLM.from_pretrained(FOLDER)
    assert type(model).__name__ == "Qwen3ForCausalLM"
    assert model.dtype == torch.bfloat16
    assert 500_000 < sum(p.numel() for p in model.parameters()) < 1_500_000


def test_model_and_tokenizer_agree(tokenizer: PreTrainedTokenizerBase) -> None:
    model = AutoModelForCausalLM.from_pretrained(FOLDER)
    assert model.config.vocab_size == len(tokenizer)
    assert model.generation_config.eos_token_id == tokenizer.eos_token_id
    assert model.config.pad_token_id == tokenizer.pad_token_id
    assert tokenizer.eos_token == "<|im_end|>"


@pytest.mark.slow
def test_the_command_writes_the_data_that_is_shipped(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tools.tiny_model", "data", "--assets", str(tmp_path)]
    subprocess.run(command, check=True, cwd=FOLDER.parents[2])
    for name in ("train.jsonl", "test.jsonl"):
        written = (tmp_path / "gsm8k_tiny" / name).read_bytes()
        assert written == (FOLDER.parent / "gsm8k_tiny" / name).read_bytes()


@pytest.mark.slow
def test_a_small_build_runs_from_problems_to_a_model_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(build, "CONVERSATIONS", 96)
    build.build_model(tmp_path)
    losses = [float(x) for x in re.findall(r"loss (\d+\.\d+)", capsys.readouterr().out)]
    assert losses == sorted(losses, reverse=True)
    assert len(losses) == sft.Schedule().epochs
    assert {f.name for f in FOLDER.iterdir()} - {"README.md"} == {
        f.name for f in tmp_path.iterdir()
    }
    model = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert model.config.vocab_size == len(AutoTokenizer.from_pretrained(tmp_path))


def test_every_tool_is_shown_to_the_model(
    tokenizer: PreTrainedTokenizerBase, transcripts: list[Transcript]
) -> None:
    names = set()
    for transcript in transcripts:
        head = _text(tokenizer, transcript).partition("<|im_end|>")[0]
        for tool in transcript.tools:
            assert json.dumps(tool, ensure_ascii=False) in head
            names.add(tool["function"]["name"])
    assert names == {"calculator", "generate_response", "reset_equipped_tools"}


def test_without_tools_there_is_no_word_of_them(tokenizer: PreTrainedTokenizerBase) -> None:
    messages = [{"role": "user", "content": "Hi"}]
    text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    assert text == "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"


def test_the_mask_covers_exactly_what_the_assistant_said(
    tokenizer: PreTrainedTokenizerBase, transcripts: list[Transcript]
) -> None:
    for transcript in transcripts:
        encoded = tokenizer.apply_chat_template(
            transcript.messages,
            tools=transcript.tools,
            return_dict=True,
            return_assistant_tokens_mask=True,
        )
        masked = [
            token
            for token, said in zip(encoded["input_ids"], encoded["assistant_masks"], strict=True)
            if said
        ]
        said = ""
        for message in transcript.messages:
            if message["role"] == "assistant":
                said += message["content"] or ""
                for call in message.get("tool_calls", ()):
                    function = call["function"]
                    said += (
                        f'<tool_call>\n{{"name": "{function["name"]}", '
                        f'"arguments": {function["arguments"]}}}\n</tool_call>'
                    )
                said += "<|im_end|>"
        assert tokenizer.decode(masked) == said


def test_each_request_begins_with_the_request_before_it(
    tokenizer: PreTrainedTokenizerBase, transcripts: list[Transcript]
) -> None:
    for transcript in transcripts:
        whole = _text(tokenizer, transcript)
        for index, message in enumerate(transcript.messages):
            if message["role"] == "assistant":
                prompt = tokenizer.apply_chat_template(
                    transcript.messages[:index],
                    tools=transcript.tools,
                    tokenize=False,
                    add_generation_prompt=True,
                )
                assert whole.startswith(prompt)


def test_arguments_may_be_text_or_an_object_and_content_text_or_parts(
    tokenizer: PreTrainedTokenizerBase,
) -> None:
    def render(content: object, arguments: object) -> str:
        call = {"type": "function", "function": {"name": "f", "arguments": arguments}}
        return tokenizer.apply_chat_template(
            [
                {"role": "user", "content": content},
                {"role": "assistant", "content": None, "tool_calls": [call]},
                {"role": "tool", "content": content},
            ],
            tokenize=False,
        )

    as_text = render("Hi", '{"x": "é"}')
    assert as_text == render([{"type": "text", "text": "Hi"}], {"x": "é"})
    assert '<tool_call>\n{"name": "f", "arguments": {"x": "é"}}\n</tool_call><|im_end|>' in as_text
    assert "<tool_response>\nHi\n</tool_response>" in as_text


def test_any_text_survives_the_tokenizer(tokenizer: PreTrainedTokenizerBase) -> None:
    rng = random.Random(3)
    texts = ["Zoë pays $1,234.50 – “ok”?\n\n\tx=5", "数学 🙂", "  two  spaces ", "a\r\nb", '"}}\n']
    texts += ["".join(chr(rng.randrange(32, 0x2FFF)) for _ in range(40)) for _ in range(50)]
    for text in texts:
        assert tokenizer.decode(tokenizer.encode(text)) == text


def test_digits_stand_alone_and_repeated_texts_are_single_tokens(
    tokenizer: PreTrainedTokenizerBase, transcripts: list[Transcript]
) -> None:
    assert len(tokenizer.encode("12345")) == 5
    frames = [
        tokenizer.apply_chat_template(
            [transcript.messages[0], {"role": "user", "content": ""}],
            tools=transcript.tools,
            add_generation_prompt=True,
            return_dict=True,
        )["input_ids"]
        for transcript in transcripts
    ]
    assert max(len(frame) for frame in frames) <= 20


def test_calls_survive_when_special_tokens_are_dropped(tokenizer: PreTrainedTokenizerBase) -> None:
    call = '<tool_call>\n{"name": "calculator", "arguments": {"expression": "3 + 4"}}\n</tool_call>'
    tokens = tokenizer.encode(call + "<|im_end|>")
    assert tokenizer.decode(tokens, skip_special_tokens=True) == call
    assert len(tokens) <= 9
