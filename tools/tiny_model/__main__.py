"""Rebuild what the embedded default comes with: `python -m tools.tiny_model`.

Writes gsm8k_tiny and tiny under rlagent/assets. It runs in a checkout, since one of the
two agents that the model learns from is the script in experiments/.
"""

import argparse
from pathlib import Path

from transformers import GenerationConfig, PreTrainedTokenizerFast, Qwen3ForCausalLM

from tools.tiny_model import data, sft, tokenizer, transcripts

ASSETS = Path(__file__).parents[2] / "rlagent" / "assets"
SEED = 1
CONVERSATIONS = 10_000
VOCABULARY = 1000


def export(model: Qwen3ForCausalLM, words: PreTrainedTokenizerFast, folder: Path) -> None:
    """Write a Hugging Face model folder in bfloat16."""
    model.generation_config = GenerationConfig(
        do_sample=True,
        temperature=1.0,
        top_p=1.0,
        eos_token_id=words.eos_token_id,
        pad_token_id=words.pad_token_id,
    )
    model.bfloat16().save_pretrained(folder)
    words.save_pretrained(folder)
    for file in folder.iterdir():  # safetensors writes files that only their owner may read
        file.chmod(0o644)


def build_model(folder: Path, seed: int = SEED) -> None:
    """Make the tiny model from nothing: problems, transcripts, tokenizer, training, export."""
    shipped = {problem.question for problems in data.splits().values() for problem in problems}
    # Problems of its own: the model has seen neither the training nor the held-out tasks.
    problems = data.draw(CONVERSATIONS, data.SEED + 2, exclude=shipped)
    lessons = transcripts.collect(problems, transcripts.Teaching(), seed)
    words = tokenizer.train(lessons, VOCABULARY)
    model = sft.new_model(words, seed)
    sft.train(model, sft.encode(words, lessons), sft.Schedule(), seed)
    export(model, words, folder)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tools.tiny_model", description=__doc__)
    parser.add_argument("part", nargs="?", choices=["all", "data", "model"], default="all")
    parser.add_argument("--assets", type=Path, default=ASSETS, help="where to write")
    arguments = parser.parse_args()
    if arguments.part in ("all", "data"):
        data.write(arguments.assets / "gsm8k_tiny")
    if arguments.part in ("all", "model"):
        build_model(arguments.assets / "tiny")


if __name__ == "__main__":
    main()
