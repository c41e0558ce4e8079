"""Rebuild what the embedded default comes with: `python -m tools.tiny_model`.

Writes gsm8k_tiny and tiny under rlagent/assets. It runs in a checkout, since one of the
two agents that the model learns from is the script in experiments/.
"""

from pathlib import Path

from transformers import GenerationConfig, PreTrainedTokenizerFast, Qwen3ForCausalLM

from tools.tiny_model import data, parts, sft, tokenizer, transcripts

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


if __name__ == "__main__":
    parts.run(
        "tiny_model",
        __doc__,
        lambda assets: data.write(assets / "gsm8k_tiny"),
        lambda assets: build_model(assets / "tiny"),
    )
