"""One recorded batch, and the numbers that a step of either trainer makes of it.

parity_verl.py and parity_trl.py have those of verl's and TRL's own functions.
"""

import asyncio
import copy
import functools
import gc
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
import verl_trainer
from torch.nn.utils.rnn import pad_sequence
from trainer_fixtures import VOCABULARY, make_model, prepared, with_advantages
from transformers import AutoModelForCausalLM

LR, CLIP_GRAD, WEIGHT_DECAY = 1e-3, 0.5, 0.0
TASKS, RUNS = 2, 4


@dataclass(frozen=True)
class Recorded:
    """What a rollout engine with older weights has sampled.

    Attributes:
        reference: Folder of the reference model.
        policy: Weights of the policy that is trained.
        prompts: Token ids, one list per rollout; those of a task are equal and neighbours.
        responses: Token ids.
        masks: 1 at tokens of the response that the model chose, 0 at a tool's.
        logprobs: As recorded, one per token of the response.
        rewards: One per rollout.
    """

    reference: Path
    policy: dict[str, torch.Tensor]
    prompts: list[list[int]]
    responses: list[list[int]]
    masks: list[list[int]]
    logprobs: list[list[float]]
    rewards: list[float]

    @property
    def without_tools(self) -> "Recorded":
        """The same rollouts, with every token chosen by the model."""
        masks = [[1] * len(mask) for mask in self.masks]
        return Recorded(**{**vars(self), "masks": masks})

    def model(self, policy: bool = True) -> Any:
        """The policy's model, or the reference's."""
        model = AutoModelForCausalLM.from_pretrained(self.reference, dtype=torch.float32).eval()
        if policy:
            model.load_state_dict(self.policy)
        return model

    def experiences(self) -> list[Any]:
        """The batch as Trinity's experiences."""
        from trinity.common.experience import EID, Experience

        made = []
        for index, prompt in enumerate(self.prompts):
            made.append(
                Experience(
                    eid=EID(batch=0, task=index // RUNS, run=index % RUNS),
                    tokens=torch.tensor(prompt + self.responses[index]),
                    prompt_length=len(prompt),
                    reward=self.rewards[index],
                    logprobs=torch.tensor(self.logprobs[index]),
                    action_mask=torch.tensor(self.masks[index], dtype=torch.bool),
                )
            )
        return made


def record(folder: Path) -> Recorded:
    """Sample a batch with weights that are neither the reference's nor those that are trained."""
    reference = make_model(folder)
    chance = torch.Generator().manual_seed(4)

    def moved(by: float) -> dict[str, torch.Tensor]:
        model = AutoModelForCausalLM.from_pretrained(reference, dtype=torch.float32)
        with torch.no_grad():
            for value in model.parameters():
                value += by * torch.randn(value.shape, generator=chance)
        return model.state_dict()

    def number(low: int, high: int) -> int:
        return int(torch.randint(low, high, (1,), generator=chance))

    behaviour = AutoModelForCausalLM.from_pretrained(reference, dtype=torch.float32).eval()
    behaviour.load_state_dict(moved(0.02))
    recorded = Recorded(reference, moved(0.03), [], [], [], [], [])
    for _ in range(TASKS):
        prompt = torch.randint(2, VOCABULARY, (number(4, 9),), generator=chance).tolist()
        for _ in range(RUNS):
            response: list[int] = []
            logprobs: list[float] = []
            for _ in range(number(4, 12)):
                with torch.no_grad():
                    logits = behaviour(torch.tensor([prompt + response])).logits[0, -1]
                every = logits.log_softmax(-1)
                token = int(torch.multinomial(every.exp(), 1, generator=chance))
                response.append(token)
                logprobs.append(float(every[token]))
            recorded.prompts.append(prompt)
            recorded.responses.append(response)
            recorded.logprobs.append(logprobs)
            recorded.masks.append([1] * len(response))
            recorded.rewards.append(number(0, 100) / 100)
    # A tool's answer of two tokens within two of the responses.
    for index in (1, 6):
        recorded.masks[index][1:3] = [0, 0]
    return recorded


@dataclass
class Numbers:
    """What a step computed; None where it does not show it.

    Attributes:
        advantages: Shape (rollouts, longest response), 0 where there is no action.
        policy_loss: Without KL and entropy.
        kl: KL loss, without its coefficient.
        entropy: Entropy, as the bonus averages it.
        loss: All of it.
        grad_norm: Before clipping.
        weights: After the step.
        importance: Importance weights of the correction, 0 where there is no action.
        proximal: Log-probabilities that they are of.
        behaviour: Likewise.
        mask: True at actions.
    """

    weights: dict[str, torch.Tensor]
    grad_norm: float
    loss: float
    advantages: torch.Tensor
    policy_loss: float | None = None
    kl: float | None = None
    entropy: float | None = None
    importance: torch.Tensor | None = None
    proximal: torch.Tensor | None = None
    behaviour: torch.Tensor | None = None
    mask: torch.Tensor | None = None


def trinity_config(*overrides: str) -> Any:
    """Trinity's configuration of a shipped preset, with the optimizer of all these steps.

    Beside the algorithm nothing differs, and is built once.
    """
    from omegaconf import OmegaConf
    from trinity.common.config import AlgorithmConfig
    from trinity.common.config_validator import AlgorithmConfigValidator

    from rlagent.trinity import build

    tree = verl_trainer.trinity_tree(*_OPTIMIZER, *overrides)["algorithm"]
    config = copy.deepcopy(_base())
    merged = OmegaConf.merge(OmegaConf.structured(AlgorithmConfig), tree)
    config.algorithm = OmegaConf.to_object(merged)
    build._complete_arguments(config)
    AlgorithmConfigValidator().validate(config)
    return config


_OPTIMIZER = (
    f"algorithm.lr={LR}",
    f"algorithm.grad_clip={CLIP_GRAD}",
    f"algorithm.weight_decay={WEIGHT_DECAY}",
)


@functools.cache
def _base() -> Any:
    return verl_trainer.trinity_config(*_OPTIMIZER)


class _Seen:
    """An advantage function that keeps what it returned."""

    def __init__(self, function: Any) -> None:
        self.function = function
        self.advantages: Any = None

    def __call__(self, *given: Any) -> Any:
        result = self.function(*given)
        step = result[0]
        self.advantages = (step if isinstance(step, dict) else step.batch)["advantages"].clone()
        return result


def embedded(recorded: Recorded, config: Any, folder: Path) -> Numbers:
    """A step of the embedded trainer.

    Args:
        config: As from `trinity_config`.
        folder: Of its checkpoints, which it does not write.
    """
    config = copy.deepcopy(config)
    config.model.model_path = str(recorded.reference)
    config.checkpoint_job_dir = str(folder)
    config.trainer.trainer_config = {}
    trainer = prepared(config)
    learner = trainer.learner
    assert learner is not None
    learner.model.load_state_dict(recorded.policy)
    seen = None
    if learner.trainer_advantage is not None:
        learner.trainer_advantage.advantage = seen = _Seen(learner.trainer_advantage.advantage)
    experiences = with_advantages(config, recorded.experiences())
    metrics = asyncio.run(trainer.train_step(experiences))
    return _ours(metrics, learner.model, experiences, seen)


def verl_backend(recorded: Recorded, config: Any) -> Numbers:
    """A step of the trainer for GPUs, with verl's engine on a CPU (within `verl_on_cpu`).

    Args:
        config: As from `trinity_config`.
    """
    trainer, engine = verl_trainer.step_trainer(config, recorded.reference)
    engine.module.load_state_dict(recorded.policy)
    seen = None
    if trainer.algorithm.compute_advantage_in_trainer:
        trainer.advantage_fn = seen = _Seen(trainer.advantage_fn)
    experiences = with_advantages(config, recorded.experiences())
    metrics = asyncio.run(trainer.train_step(experiences))
    return _ours(metrics, engine.module, experiences, seen)


def _ours(metrics: dict[str, float], model: Any, experiences: list[Any], seen: Any) -> Numbers:
    if seen is None:
        advantages = pad_sequence([e.advantages.float() for e in experiences], batch_first=True)
    else:
        advantages = seen.advantages
    return Numbers(
        weights=weights_of(model),
        grad_norm=metrics["actor/grad_norm"],
        advantages=advantages,
        policy_loss=metrics["actor/pg_loss"],
        kl=metrics.get("actor/kl_loss"),
        entropy=metrics.get("actor/entropy_loss"),
        loss=metrics["actor/final_loss"],
    )


@contextmanager
def verl_on_cpu(folder: Path, patch: Any) -> Iterator[None]:
    """verl's engine in this process, without others beside it; what is patched is put back.

    Args:
        folder: For the rendezvous of one process with itself.
        patch: pytest's MonkeyPatch.
    """
    import torch.distributed as dist
    import verl.workers.engine_workers as workers
    from verl.utils import attention_utils, torch_functional
    from verl.workers.engine.fsdp import transformer_impl

    engine = transformer_impl.FSDPEngineWithLMHead
    for owner, names in (
        (attention_utils, ["_get_attention_functions"]),
        (torch_functional, ["entropy_from_logits"]),
        (transformer_impl, ["logprobs_from_logits"]),
        (engine, ["prepare_model_outputs", "prepare_model_inputs"]),
        (transformer_impl.FSDPEngine, ["_build_module", "save_checkpoint"]),
    ):
        for name in names:
            patch.setattr(owner, name, getattr(owner, name))
    patch.setattr(transformer_impl.FSDPEngine, "_patched", False, raising=False)
    # Memory is asked of a GPU.
    none = SimpleNamespace(max_memory_allocated=lambda: 0, max_memory_reserved=lambda: 0)
    patch.setattr(workers, "get_torch_device", lambda: none)
    store = dist.FileStore(str(folder / "store"), 1)
    dist.init_process_group("gloo", store=store, rank=0, world_size=1)
    # verl collects garbage after each computation: of all that was imported until here, else.
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
        dist.destroy_process_group()


def weights_of(model: Any) -> dict[str, torch.Tensor]:
    """A copy of the weights."""
    return {name: value.detach().clone() for name, value in model.named_parameters()}
