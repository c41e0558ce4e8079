"""A model of a preset's shape with random weights, for speed and memory; it cannot learn much.

    python benchmarks/gpu/random_model.py qwen3_0_6b FOLDER

The tokenizer is the tiny model's; the vocabulary keeps the preset's size, since logits are what
memory and time depend on. The weights are made on a GPU where there is one.
"""

import shutil
import sys
from pathlib import Path
from typing import Any

import torch
from transformers import AutoTokenizer, Qwen3Config, Qwen3ForCausalLM

from rlagent.base.model_shape import ModelShape
from rlagent.base.paths import resolve_path
from rlagent.config.presets import model_preset


def tokenizer_of() -> Any:
    """The tiny model's tokenizer: a random model has none of its own."""
    return AutoTokenizer.from_pretrained(Path(resolve_path("builtin:tiny")))


def config_of(shape: ModelShape, tokenizer: Any) -> Qwen3Config:
    """The configuration of a Qwen3 model of this shape."""
    return Qwen3Config(
        num_hidden_layers=shape.layers,
        hidden_size=shape.hidden,
        intermediate_size=shape.intermediate,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads,
        head_dim=shape.head_dim,
        vocab_size=shape.vocab,
        tie_word_embeddings=shape.tied,
        max_position_embeddings=40960,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        architectures=["Qwen3ForCausalLM"],
        dtype="bfloat16",
    )


def make_config(shape: ModelShape, folder: Path) -> None:
    """Write the model without its weights."""
    tokenizer = tokenizer_of()
    config_of(shape, tokenizer).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def make(preset: str, folder: Path) -> None:
    """Write the model; complete or not there at all."""
    tokenizer = tokenizer_of()
    config = config_of(model_preset(preset, ()).shape, tokenizer)
    torch.manual_seed(0)
    torch.set_default_dtype(torch.bfloat16)
    with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
        model = Qwen3ForCausalLM(config)
    partial = folder.with_name(f"{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    model.save_pretrained(partial)
    tokenizer.save_pretrained(partial)
    partial.rename(folder)


if __name__ == "__main__":
    make(sys.argv[1], Path(sys.argv[2]))
