"""A randomly initialised Qwen3 of 0.9 M parameters with a byte-level tokenizer, for tests."""

import json
from pathlib import Path

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "calculator",
            "description": "Work out an arithmetic expression.",
            "parameters": {
                "type": "object",
                "properties": {"expression": {"type": "string", "description": "as 1 + 2"}},
                "required": ["expression"],
            },
        },
    },
    {
        "type": "function",
        "function": {
            "name": "look_up",
            "description": "Look up a row.",
            "parameters": {
                "type": "object",
                "properties": {
                    "row": {"type": "integer"},
                    "unit": {"type": "string", "enum": ["m", "kg"]},
                    "exact": {"type": "boolean"},
                },
                "required": ["row", "unit"],
            },
        },
    },
]

TEMPLATE = """
{%- if tools %}
    {{- '<|im_start|>system\n' }}
    {%- if messages[0].role == 'system' %}{{- messages[0].content + '\n\n' }}{%- endif %}
    {{- '# Tools\n<tools>' }}
    {%- for tool in tools %}{{- '\n' + (tool | tojson) }}{%- endfor %}
    {{- '\n</tools>\nCall as <tool_call>\n{"name": ..., "arguments": ...}\n</tool_call>' }}
    {{- '<|im_end|>\n' }}
{%- elif messages[0].role == 'system' %}
    {{- '<|im_start|>system\n' + messages[0].content + '<|im_end|>\n' }}
{%- endif %}
{%- for message in messages %}
    {%- if message.role == 'assistant' %}
        {{- '<|im_start|>assistant\n' + (message.content or '') }}
        {%- for call in message.tool_calls or [] %}
            {{- '<tool_call>\n{"name": "' + call.function.name + '", "arguments": ' }}
            {{- (call.function.arguments | tojson) + '}\n</tool_call>' }}
        {%- endfor %}
        {{- '<|im_end|>\n' }}
    {%- elif message.role == 'tool' %}
        {{- '<|im_start|>user\n<tool_response>\n' + message.content + '\n</tool_response>' }}
        {{- '<|im_end|>\n' }}
    {%- elif message.role == 'user' or not loop.first %}
        {{- '<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\n' }}{%- endif %}
"""


def tokenizer(vocabulary: int = 600) -> PreTrainedTokenizerFast:
    """Byte-level BPE with the end token <|im_end|> and a chat template with a tools branch."""
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary - len(special) - 2,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    call = '{"name": "calculator", "arguments": {"expression": "12 + 3 * 4"}}'
    core.train_from_iterator([TEMPLATE, json.dumps(TOOLS), call] * 4, trainer)
    core.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in special])
    core.add_tokens(
        [AddedToken(t, special=False, normalized=False) for t in ("<tool_call>", "</tool_call>")]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        chat_template=TEMPLATE,
        clean_up_tokenization_spaces=False,
    )


def model(seed: int = 0, **changes: object) -> Qwen3ForCausalLM:
    """Hidden 128, 4 layers, 4 heads on 2 key/value heads, tied embeddings; float32, eval mode."""
    torch.manual_seed(seed)
    values = {
        "vocab_size": 608,
        "hidden_size": 128,
        "intermediate_size": 384,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 32,
        "max_position_embeddings": 2048,
        "tie_word_embeddings": True,
        # Large enough for peaked distributions, so that a wrong mask or position shows.
        "initializer_range": 0.15,
        "eos_token_id": None,
        "bos_token_id": None,
    }
    values.update(changes)
    return Qwen3ForCausalLM(Qwen3Config(**values)).eval()


def save(folder: Path, seed: int = 0) -> Path:
    """Write model and tokenizer as a Hugging Face folder."""
    model(seed).save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return folder
