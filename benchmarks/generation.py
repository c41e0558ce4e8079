"""Tokens per second of the embedded engine against transformers' generate, on the same work.

What TRL's GRPOTrainer does without vLLM is that generate call: left-padded prompts, sampling at
temperature 1, a dynamic cache. Both sides here draw exactly as many tokens for the same prompts,
with the same weights and threads, turn by turn in one process; the ratio of each turn is taken
and their median reported.

    python benchmarks/generation.py --threads 2
    python benchmarks/generation.py --model <folder or hub id> --rows 32 --new 64
"""

import argparse
import json
import random
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from rlagent.backends.embedded.engine import generate
from rlagent.backends.embedded.engine.fallback import choose_forward
from rlagent.backends.embedded.engine.generate import Generator, Limits, Request
from rlagent.backends.embedded.engine.protocol import SamplingParams

TINY = Path(__file__).parents[1] / "rlagent" / "assets" / "tiny"


class Clock:
    """Seconds spent in named parts."""

    def __init__(self) -> None:
        self.parts: dict[str, float] = {}

    def around(self, name: str, function: Callable) -> Callable:
        """The function, its time counted under a name."""

        def timed(*args: object, **kwargs: object) -> object:
            start = time.perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                self.parts[name] = self.parts.get(name, 0.0) + time.perf_counter() - start

        return timed


def prompts(rows: int, group: int, size: int, vocabulary: int) -> list[list[int]]:
    """Groups of equal prompts, all of which share their first half, as rollouts of tasks do."""
    draw = random.Random(0)
    system = [draw.randrange(3, vocabulary) for _ in range(size // 2)]
    result: list[list[int]] = []
    while len(result) < rows:
        task = [draw.randrange(3, vocabulary) for _ in range(size - size // 2)]
        result += [system + task] * group
    return result[:rows]


def embedded(generator: Generator, batch: list[list[int]], new: int) -> float:
    """Seconds for one batch with an empty cache."""
    generator.clear()
    params = SamplingParams(max_tokens=new, ignore_eos=True)
    requests = [Request(prompt, params) for prompt in batch]
    start = time.perf_counter()
    for request in requests:
        generator.submit(request)
    while generator.busy:
        generator.step()
    took = time.perf_counter() - start
    assert all(len(r.tokens) == new for r in requests)
    return took


def transformers_generate(model: torch.nn.Module, batch: list[list[int]], new: int) -> float:
    """Seconds for one batch through model.generate."""
    ids = torch.tensor(batch)
    start = time.perf_counter()
    with torch.inference_mode():
        out = model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            do_sample=True,
            temperature=1.0,
            top_k=0,
            top_p=1.0,
            min_new_tokens=new,
            max_new_tokens=new,
            pad_token_id=0,
        )
    took = time.perf_counter() - start
    assert out.shape[1] == ids.shape[1] + new
    return took


def main() -> None:
    """Measure and print a table, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default=str(TINY))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rows", type=int, nargs="+", default=[32, 64, 128])
    parser.add_argument("--group", type=int, default=8, help="rows that share a prompt")
    parser.add_argument("--prompt", type=int, default=100, help="tokens of a prompt")
    parser.add_argument("--new", type=int, default=40, help="tokens of a response")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()

    torch.set_num_threads(options.threads)
    tokenizer = AutoTokenizer.from_pretrained(options.model)
    load = AutoModelForCausalLM.from_pretrained
    theirs = load(options.model, dtype=torch.float32).eval()
    ours = load(options.model, dtype=torch.float32).eval()
    limits = Limits(options.prompt + options.new, max_rows=max(options.rows))
    forward = choose_forward(ours, limits.max_model_len)
    eos_ids = [tokenizer.eos_token_id]
    generator = Generator(forward, eos_ids, tokenizer.decode, limits)

    results = []
    for rows in options.rows:
        batch = prompts(rows, options.group, options.prompt, theirs.config.vocab_size)
        embedded(generator, batch, options.new)
        transformers_generate(theirs, batch, options.new)
        turns = [
            (
                embedded(generator, batch, options.new),
                transformers_generate(theirs, batch, options.new),
            )
            for _ in range(options.repeats)
        ]
        tokens = rows * options.new
        results.append(
            {
                "rows": rows,
                "prompt": options.prompt,
                "new": options.new,
                "threads": options.threads,
                "embedded_tokens_per_s": round(tokens / statistics.median(t[0] for t in turns)),
                "generate_tokens_per_s": round(tokens / statistics.median(t[1] for t in turns)),
                "speedup": round(statistics.median(t[1] / t[0] for t in turns), 2),
                "parts": breakdown(generator, batch, options.new),
            }
        )
    if options.json:
        print(json.dumps(results))
        return
    for result in results:
        parts = result.pop("parts")
        print("  ".join(f"{key}={value}" for key, value in result.items()))
        shares = (f"{name} {share:.0%}" for name, share in parts.items())
        print("    of the embedded engine's time: " + ", ".join(shares))


def breakdown(generator: Generator, batch: list[list[int]], new: int) -> dict[str, float]:
    """Shares of one batch's time by part."""
    clock = Clock()
    kept = generator._forward.forward, generator._admit, generate.draw
    generator._forward.forward = clock.around("model", kept[0])
    generator._admit = clock.around("admission and prompts that lead", kept[1])
    generate.draw = clock.around("drawing", kept[2])
    try:
        total = embedded(generator, batch, new)
    finally:
        generator._forward.forward, generator._admit, generate.draw = kept
    shares = {name: seconds / total for name, seconds in clock.parts.items()}
    return {**shares, "rest": 1.0 - sum(shares.values())}


if __name__ == "__main__":
    main()
