"""A model of a preset's shape with random weights, for speed and memory; it cannot learn much.

    python benchmarks/gpu/random_model.py qwen3_0_6b FOLDER

The tokenizer is the tiny model's; the vocabulary keeps the preset's size, since logits are what
memory and time depend on. The weights are made on a GPU where there is one.
"""

import shutil
import sys
from pathlib import Path

import torch
from transformers import AutoTokenizer, Qwen3Config, Qwen3ForCausalLM

from rlagent.config.paths import resolve_path
from rlagent.config.presets import model_preset


def make(preset: str, folder: Path) -> None:
    """Write the model; complete or not there at all."""
    shape = model_preset(preset, ()).shape
    tiny = Path(resolve_path("builtin:tiny"))
    tokenizer = AutoTokenizer.from_pretrained(tiny)
    config = Qwen3Config(
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
        dtype="bfloat16",
    )
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
