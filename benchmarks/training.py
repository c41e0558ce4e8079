"""Our training step against TRL's GRPOTrainer: same model, completions, lengths and threads.

    python benchmarks/training.py [--threads 2] [--rounds 7] [--model FOLDER]

TRL's trainer runs its own loop; only its generation is replaced by completions made up here. After
each of its steps ours trains on the same completions, so both meet the same machine; the ratio is
taken per pair and its median reported. Both use float32, AdamW, one update per step, no reference
model. TRL is given one row per conversation (its own way of training agents) and the faster of two
micro-batch sizes. It is needed here only: pip install --no-deps trl.
"""

import argparse
import importlib.util
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, Iterator, List

import numpy as np
import torch

TINY = Path(__file__).parents[1] / "rlagent" / "assets" / "tiny"


@dataclass(frozen=True)
class Conversation:
    """Token ids of one rollout, and for each whether the model chose it; one prompt before."""

    prompt: List[int]
    tokens: List[int]
    chosen: List[int]
    # (where its prompt ends, where its response ends) in prompt + tokens, for each model call.
    calls: List[tuple[int, int]]


@dataclass(frozen=True)
class Workload:
    """Conversations of one training step."""

    name: str
    what: str
    tasks: int
    runs: int
    shared: int
    prompt: int
    calls: int
    response: tuple[int, int]
    observation: int

    def conversations(self, vocabulary: int) -> List[Conversation]:
        """The step's rollouts, the same every time."""
        random = np.random.default_rng(0)

        def words(count: int) -> List[int]:
            return random.integers(0, vocabulary, count).tolist()

        beginning, made = words(self.shared), []
        for _ in range(self.tasks):
            prompt = beginning + words(self.prompt)
            for _ in range(self.runs):
                tokens: List[int] = []
                chosen: List[int] = []
                calls = []
                for _ in range(self.calls):
                    if tokens:
                        tokens += words(self.observation)
                        chosen += [0] * self.observation
                    start = len(prompt) + len(tokens)
                    length = int(random.integers(*self.response))
                    tokens += words(length)
                    chosen += [1] * length
                    calls.append((start, len(prompt) + len(tokens)))
                made.append(Conversation(prompt, tokens, chosen, calls))
        return made


WORKLOADS = [
    Workload(
        "distinct", "32 prompts, 1 rollout each, nothing shared", 32, 1, 0, 120, 1, (16, 64), 0
    ),
    Workload("groups", "4 prompts, 8 rollouts each, one call", 4, 8, 0, 120, 1, (16, 64), 0),
    Workload(
        "agent", "8 tasks, 8 rollouts, 3 calls, tools in the prompt", 8, 8, 300, 60, 3, (16, 48), 20
    ),
]


def our_experiences(conversations: List[Conversation]) -> List[Any]:
    """One experience per model call, as Trinity records them."""
    from trinity.common.experience import EID, Experience

    made = []
    for run, one in enumerate(conversations):
        whole = one.prompt + one.tokens
        for call, (start, end) in enumerate(one.calls):
            made.append(
                Experience(
                    eid=EID(batch=1, task=0, run=run, step=call),
                    tokens=torch.tensor(whole[:end], dtype=torch.int32),
                    prompt_length=start,
                    logprobs=torch.zeros(end - start),
                    advantages=torch.full((end - start,), 1.0 if run % 2 else -1.0),
                    reward=float(run % 2),
                )
            )
    return made


def our_learner(model_path: str, lanes: int = 1) -> Any:
    """The learner with GRPO's loss and no KL term."""
    from trinity.common.config import Config

    from rlagent.backends.embedded.trainer.learner import Learner
    from rlagent.backends.embedded.trainer.trainer import load_model

    config = Config()
    algorithm = config.algorithm
    algorithm.algorithm_type = "grpo"
    algorithm.bypass_old_logprobs = False
    algorithm.policy_loss_fn, algorithm.policy_loss_fn_args = "ppo", {"clip_range": 0.2}
    algorithm.kl_loss_fn, algorithm.kl_loss_fn_args = "none", {}
    algorithm.entropy_loss_fn, algorithm.entropy_loss_fn_args = "none", {"entropy_coef": 0.0}
    return Learner(config, load_model(model_path), reference=lambda: None, lanes=lanes)


def padded(rows: List[List[int]], left: bool) -> torch.Tensor:
    """Rows of one length, zeros on one side."""
    width = max(map(len, rows))
    fill = [[0] * (width - len(row)) for row in rows]
    return torch.tensor([f + r if left else r + f for f, r in zip(fill, rows, strict=True)])


def trl_inputs(conversations: List[Conversation]) -> Dict[str, torch.Tensor]:
    """What TRL's generation returns for these conversations: one row each."""
    prompts = [one.prompt for one in conversations]
    tokens = [one.tokens for one in conversations]
    signs = [1.0 if run % 2 else -1.0 for run in range(len(conversations))]
    return {
        "prompt_ids": padded(prompts, left=True),
        "prompt_mask": padded([[1] * len(row) for row in prompts], left=True),
        "completion_ids": padded(tokens, left=False),
        "completion_mask": padded([[1] * len(row) for row in tokens], left=False),
        "tool_mask": padded([one.chosen for one in conversations], left=False),
        "advantages": torch.tensor(signs),
        "num_items_in_batch": torch.tensor(sum(sum(one.chosen) for one in conversations)),
    }


def trl_pairs(
    model_path: str, workload: Workload, vocabulary: int, parts: int, rounds: int, ours: Any
) -> Iterator[tuple[float, float]]:
    """Seconds of TRL's step and of ours, pair by pair; the first two pairs warm up."""
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
    from trl import GRPOConfig, GRPOTrainer

    conversations = workload.conversations(vocabulary)
    inputs = trl_inputs(conversations)
    pairs: List[tuple[float, float]] = []

    class Replayed(GRPOTrainer):
        def _generate_and_score_completions(self, generation_batch: Any) -> Any:
            return dict(inputs)

    class Clock(TrainerCallback):
        def on_step_begin(self, *args: Any, **kwargs: Any) -> None:
            self.started = time.perf_counter()

        def on_step_end(self, *args: Any, **kwargs: Any) -> None:
            middle = time.perf_counter()
            ours()
            pairs.append((middle - self.started, time.perf_counter() - middle))

    tokenizer = AutoTokenizer.from_pretrained(model_path)
    with tempfile.TemporaryDirectory() as folder:
        settings = GRPOConfig(
            output_dir=folder,
            per_device_train_batch_size=len(conversations) // parts,
            gradient_accumulation_steps=parts,
            num_generations=2,
            max_steps=rounds + 2,
            learning_rate=1e-5,
            weight_decay=0.01,
            max_grad_norm=1.0,
            bf16=False,
            gradient_checkpointing=False,
            use_cpu=True,
            report_to=[],
            save_strategy="no",
            logging_strategy="no",
            disable_tqdm=True,
        )
        trainer = Replayed(
            model=AutoModelForCausalLM.from_pretrained(model_path, dtype=torch.float32),
            reward_funcs=lambda completions, **_: [0.0] * len(completions),
            args=settings,
            train_dataset=Dataset.from_dict({"prompt": ["x"] * 4096}),
            processing_class=tokenizer,
            callbacks=[Clock()],
        )
        trainer.train()
    yield from pairs[2:]


def parts_of_a_step(learner: Any, experiences: List[Any]) -> Dict[str, float]:
    """Seconds of one step of ours by part, added up over the cores."""
    from rlagent.backends.embedded.trainer import learner as module

    spent: Dict[str, float] = defaultdict(float)

    def timed(name: str, function: Any) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            started = time.perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                spent[name] += time.perf_counter() - started

        return call

    kept = {name: getattr(module, name) for name in ("merge_rows", "plan_micro_batches")}
    kept["apply_update"] = module.apply_update
    kept_scorer, kept_backward = learner.scorer, torch.autograd.grad
    names = {"merge_rows": "plan", "plan_micro_batches": "plan", "apply_update": "optimizer"}
    started = time.perf_counter()
    try:
        for name, function in kept.items():
            setattr(module, name, timed(names[name], function))
        scorer = timed("forward", kept_scorer.__call__)
        learner.scorer = _Callable(scorer, kept_scorer)
        torch.autograd.grad = timed("backward", kept_backward)
        metrics = learner.train(experiences, 1)
    finally:
        for name, function in kept.items():
            setattr(module, name, function)
        learner.scorer = kept_scorer
        torch.autograd.grad = kept_backward
    total = learner.lanes * (time.perf_counter() - started)
    spent["rest and waiting"] = total - sum(spent.values())
    return {**spent, "tokens computed": metrics["tokens/computed"]}


class _Callable:
    """A scorer whose calls are timed."""

    def __init__(self, call: Any, scorer: Any):
        self._call, self.abilities, self.temperature = call, scorer.abilities, scorer.temperature

    def __call__(self, *args: Any) -> Any:
        return self._call(*args)


def main() -> int:
    """Run all workloads and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--model", default=str(TINY))
    parser.add_argument("--workloads", default=",".join(w.name for w in WORKLOADS))
    arguments = parser.parse_args()
    if importlib.util.find_spec("trl") is None:
        print("skipped: TRL is not installed; pip install --no-deps trl")
        return 0
    torch.set_num_threads(arguments.threads)
    slower = 0
    for workload in WORKLOADS:
        if workload.name not in arguments.workloads.split(","):
            continue
        learner = our_learner(arguments.model, arguments.threads)
        vocabulary = learner.model.config.vocab_size
        experiences = our_experiences(workload.conversations(vocabulary))
        actions = sum(len(experience.logprobs) for experience in experiences)
        nominal = sum(len(experience.tokens) for experience in experiences)

        def ours(learner: Any = learner, experiences: List[Any] = experiences) -> None:
            # Each of ours runs on its own core; TRL spreads each operation over the cores.
            torch.set_num_threads(1)
            learner.train(experiences, 1)
            torch.set_num_threads(arguments.threads)

        best: List[tuple[float, float]] = []
        for parts in (1, 4):
            pairs = list(
                trl_pairs(arguments.model, workload, vocabulary, parts, arguments.rounds, ours)
            )
            if not best or _median(pairs, 0) < _median(best, 0):
                best = pairs
        ratio = statistics.median(mine / theirs for theirs, mine in best)
        slower += ratio > 1.0
        print(f"\n{workload.name}: {workload.what}; {arguments.threads} threads")
        print(f"  {len(experiences)} experiences, {nominal} tokens, {actions} of them trained on")
        print(
            f"  TRL   {_median(best, 0):7.3f} s  {1e6 * _median(best, 0) / actions:7.1f} us/token"
        )
        print(
            f"  ours  {_median(best, 1):7.3f} s  {1e6 * _median(best, 1) / actions:7.1f} us/token"
        )
        print(f"  ours / TRL = {ratio:.2f} (median of {len(best)} pairs)")
        parts_spent = parts_of_a_step(learner, experiences)
        computed = parts_spent.pop("tokens computed")
        line = ", ".join(f"{name} {seconds:.3f}" for name, seconds in parts_spent.items())
        print(f"  one step of ours: {line} s; {computed:.0f} tokens computed")
    return 1 if slower else 0


def _median(pairs: List[tuple[float, float]], place: int) -> float:
    return statistics.median(pair[place] for pair in pairs)


if __name__ == "__main__":
    sys.exit(main())
