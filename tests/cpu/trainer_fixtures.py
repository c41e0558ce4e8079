"""A random tiny model, Trinity configurations and made-up experiences for the trainer's tests."""

import asyncio
from pathlib import Path
from typing import Any, Dict, List, Optional

import numpy as np
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM
from trinity.algorithm import ADVANTAGE_FN, ALGORITHM_TYPE
from trinity.common.config import Config
from trinity.common.config_validator import AlgorithmConfigValidator
from trinity.common.constants import SyncMethod
from trinity.common.experience import EID, Experience

from rlagent.backends.embedded.trainer.trainer import EmbeddedTrainer
from rlagent.config.algorithms import SUPERVISED

VOCABULARY = 64


def make_model(folder: Path, **changes: Any) -> Path:
    """Write a random Qwen3 model with a tokenizer."""
    settings: Dict[str, Any] = {
        "vocab_size": VOCABULARY,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 8,
        "tie_word_embeddings": True,
        "initializer_range": 0.2,
    }
    torch.manual_seed(0)
    Qwen3ForCausalLM(Qwen3Config(**{**settings, **changes})).save_pretrained(folder)
    words = Tokenizer(WordLevel({f"w{i}": i for i in range(VOCABULARY)}, unk_token="w0"))
    PreTrainedTokenizerFast(tokenizer_object=words, eos_token="w1").save_pretrained(folder)
    return folder


def make_config(
    model: Path,
    checkpoints: Path,
    algorithm: str = "multi_step_grpo",
    options: Optional[Dict[str, Any]] = None,
    **changes: Any,
) -> Config:
    """A Trinity configuration with the algorithm's own defaults.

    Args:
        changes: Fields of config.algorithm, set before the defaults are filled in.
    """
    config = Config()
    config.algorithm.algorithm_type = algorithm
    config.algorithm.bypass_old_logprobs = False
    config.algorithm.optimizer.lr = 1e-3
    for name, value in changes.items():
        setattr(config.algorithm, name, value)
    if algorithm in SUPERVISED:
        # With a trainer alone Trinity wants a file to read from.
        config.mode = "bench"
    AlgorithmConfigValidator().validate(config)
    config.model.model_path = str(model)
    config.checkpoint_job_dir = str(checkpoints)
    config.trainer.trainer_config = options or {}
    config.synchronizer.sync_method = SyncMethod.MEMORY
    return config


def make_experiences(
    seed: int = 0, tasks: int = 2, runs: int = 4, most_calls: int = 3, version: int = 0
) -> List[Experience]:
    """Conversations of 1 to `most_calls` calls, each call repeating what came before it."""
    random = np.random.default_rng(seed)

    def words(count: int) -> List[int]:
        return random.integers(2, VOCABULARY, size=count).tolist()

    beginning, made = words(20), []
    for task in range(tasks):
        question = words(6)
        for run in range(runs):
            conversation = beginning + question
            calls = 1 + (run + task) % most_calls
            for call in range(calls):
                response = words(int(random.integers(3, 9)))
                tokens = conversation + response
                made.append(
                    Experience(
                        eid=EID(batch=1, task=task, run=run, step=call),
                        tokens=torch.tensor(tokens, dtype=torch.int32),
                        prompt_length=len(conversation),
                        logprobs=torch.full((len(response),), -3.0),
                        reward=float(run % 2),
                        info={"model_version": version, "env_state_hash": f"{task}-{call}"},
                    )
                )
                conversation = tokens + words(4)
    return made


def with_advantages(config: Config, experiences: List[Experience]) -> List[Experience]:
    """What Trinity's pipeline does before the trainer: group advantages, where there are any."""
    if ALGORITHM_TYPE.get(config.algorithm.algorithm_type).compute_advantage_in_trainer:
        return experiences
    function = ADVANTAGE_FN.get(config.algorithm.advantage_fn)
    if function.compute_in_trainer():
        return experiences
    return function(**config.algorithm.advantage_fn_args).process(experiences)[0]


def prepared(config: Config) -> EmbeddedTrainer:
    """A trainer after prepare()."""
    trainer = EmbeddedTrainer(config)
    asyncio.run(trainer.prepare())
    return trainer


def step(trainer: EmbeddedTrainer, seed: int = 0) -> Dict[str, float]:
    """One training step on made-up experiences."""
    experiences = make_experiences(seed, version=trainer.train_step_num)
    return asyncio.run(trainer.train_step(with_advantages(trainer.config, experiences)))


def train(trainer: EmbeddedTrainer, steps: int) -> EmbeddedTrainer:
    """Train steps on experiences that follow from the step's number."""
    for _ in range(steps):
        step(trainer, seed=trainer.train_step_num)
    return trainer


def save(trainer: EmbeddedTrainer, **options: Any) -> Path:
    """Save a checkpoint; returns its folder."""
    asyncio.run(trainer.save_checkpoint(block_until_saved=True, **options))
    return trainer.root / f"global_step_{trainer.train_step_num}"


def weights(trainer: EmbeddedTrainer) -> Dict[str, torch.Tensor]:
    """A copy of the trained weights."""
    assert trainer.learner is not None
    return {k: v.detach().clone() for k, v in trainer.learner.model.state_dict().items()}


def largest_difference(left: Dict[str, torch.Tensor], right: Dict[str, torch.Tensor]) -> float:
    """Largest absolute difference between two sets of weights."""
    return max(float((left[name] - right[name]).abs().max()) for name in left)
