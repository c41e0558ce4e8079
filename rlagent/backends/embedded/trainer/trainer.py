"""The train engine for machines without a GPU: torch on the CPU behind Trinity's interface.

Trinity's Trainer keeps its loop, its sampling and its monitor; this wrapper only does what verl's
would do on GPUs: train on a step's experiences, keep checkpoints and hand weights over. The
training itself is in learner.py, the files in checkpoint.py.
"""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Tuple, TypeVar

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel
from trinity.common.config import Config
from trinity.common.constants import SyncMethod
from trinity.common.experience import Experience
from trinity.manager.synchronizer import Synchronizer
from trinity.trainer.trainer import TrainEngineWrapper
from trinity.utils.log import get_logger

from rlagent.backends.embedded.answers import TRAINER
from rlagent.backends.embedded.checkpoint import (
    Checkpoint,
    read_latest,
    write_checkpoint,
    write_weights,
)
from rlagent.backends.embedded.loading import TOKENIZER, WEIGHTS, loading
from rlagent.backends.embedded.trainer.learner import Learner
from rlagent.backends.embedded.trainer.lora import Adapter
from rlagent.backends.updates import Updates
from rlagent.machine.resources import threads
from rlagent.records import warnings

T = TypeVar("T")

NO_NCCL = (
    "synchronizer.sync_method=nccl needs GPUs; the embedded trainer hands weights over with "
    "sync_method=memory (default) or checkpoint"
)


class EmbeddedTrainer(TrainEngineWrapper):
    """Trains any Hugging Face causal language model that fits memory, in float32.

    Beside Trinity's own fields it reads keys of `trainer.trainer_config`, all optional: `threads`,
    `updates_per_step`, `epochs_per_step` and `mini_batch_size` (see backends/updates.py),
    `micro_batch_tokens` (tokens per forward pass; 0: chosen for the model), `seed`, and `lora`
    (rank, alpha, dropout, target_modules): then an adapter is trained, and handed over alone.

    Args:
        config: Trinity's Config after its validators.

    Raises:
        ValueError: If a key of trainer_config is unknown.
    """

    def __init__(self, config: Config):
        self.config = config
        self.logger = get_logger("embedded_trainer", in_ray_actor=True)
        self.options = _options(config.trainer.trainer_config)
        self.root = Path(config.checkpoint_job_dir)
        # A thread of its own for all computing: the actor stays reachable while it trains.
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="embedded_trainer")
        self._synchronizer: Any = None
        self._step = 0
        self.learner: Optional[Learner] = None

    @property
    def synchronizer(self) -> Any:
        """Trinity's Synchronizer actor, looked up when first used."""
        if self._synchronizer is None:
            namespace = self.config.synchronizer.ray_namespace
            self._synchronizer = Synchronizer.get_actor(namespace=namespace)
        return self._synchronizer

    @property
    def train_step_num(self) -> int:
        """Training steps done."""
        return self._step

    async def prepare(self) -> None:
        """Load the model, and the latest usable checkpoint if the run is to go on.

        Raises:
            OSError: If the model or a checkpoint cannot be read.
            ValueError: If the configuration asks for what this trainer does not do.
            RuntimeError: If there are checkpoints, but not one is usable.
        """
        await self._compute(self._prepare)

    async def train_step(self, batch_exps: List[Experience]) -> Dict:
        """Train on every experience of a step; on nothing, the weights stay.

        Raises:
            ValueError: If experiences lack what the algorithm reads.
        """
        if not batch_exps:
            self._step += 1
            return {}
        metrics = await self._compute(lambda: self._learner.train(batch_exps, self._step + 1))
        self._step += 1
        return metrics

    async def mean_loss(self, given: List[Experience]) -> float:
        """Mean of -log p over the actions of experiences that are not trained on, in nats."""
        return await self._compute(lambda: self._learner.mean_loss(given))

    async def save_checkpoint(
        self, block_until_saved: bool = False, save_as_hf: bool = False
    ) -> None:
        """Save weights, optimizer, random state; always complete when this returns.

        Raises:
            OSError: If it cannot be written; the checkpoint before is then still there.
        """
        await self._compute(lambda: self._save(save_as_hf))

    async def upload_state_dict(self) -> None:
        """Hand the weights to the Synchronizer (sync_method `memory`)."""
        weights = await self._compute(lambda: _handed_over(self._learner))
        await self.synchronizer.set_model_state_dict.remote(weights, self._step)

    async def save_state_dict(self) -> None:
        """Hand the weights over through a file (sync_method `checkpoint`)."""
        await self._compute(self._write_weights)

    def sync_weight_nccl(self) -> None:
        """Refused: there is no NCCL without GPUs."""
        raise NotImplementedError(NO_NCCL)

    async def get_weight_sync_info(self) -> Optional[Tuple[str, int, List]]:
        """Refused: there is no NCCL without GPUs."""
        raise NotImplementedError(NO_NCCL)

    async def setup_weight_sync_group(
        self, master_address: str, master_port: int, world_size: int, group_name: str, timeout: int
    ) -> None:
        """Refused: there is no NCCL without GPUs."""
        raise NotImplementedError(NO_NCCL)

    async def teardown_weight_sync_group(self) -> None:
        """Nothing to tear down."""

    @property
    def _learner(self) -> Learner:
        if self.learner is None:
            raise RuntimeError("the embedded trainer is used before prepare()")
        return self.learner

    async def _compute(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._executor, work)

    def _prepare(self) -> None:
        lanes = int(self.options.get("threads") or 0) or threads()
        # Of this process: the learner uses the cores by running micro-batches side by side.
        torch.set_num_threads(1)
        torch.manual_seed(int(self.options.get("seed") or 0))
        path, trust = self.config.model.model_path, self.config.model.trust_remote_code
        model, lora = load_model(path, trust), self.options.get("lora")
        self.learner = Learner(
            self.config,
            model,
            reference=lambda: load_model(path, trust),
            adapter=Adapter(model, lora, path) if lora else None,
            token_budget=int(self.options.get("micro_batch_tokens") or 0),
            updates=Updates.of(self.options, int(self.options.get("seed") or 0)),
            lanes=lanes,
        )
        for note in self.learner.scorer.abilities.notes:
            warnings.say(f"training is slower for this model: {note}")
        if not self.config.continue_from_checkpoint:
            return
        checkpoint = read_latest(self.root, warnings.say)
        if checkpoint is not None:
            restore(self.learner, checkpoint)
            self._step = checkpoint.step
            self.logger.info(f"Continuing after step {checkpoint.step} from {self.root}.")

    def _save(self, save_as_hf: bool) -> None:
        write_checkpoint(
            self.root,
            snapshot(self._learner, self._step),
            keep=self.config.trainer.max_checkpoints_to_keep or 0,
            export=self._export if save_as_hf else None,
        )
        if self.config.synchronizer.sync_method == SyncMethod.CHECKPOINT:
            self._write_weights()

    def _write_weights(self) -> None:
        learner = self._learner
        given = _stored(learner.model) if learner.adapter is None else _handed_over(learner)
        write_weights(self.root, self._step, given)

    def _export(self, folder: Path) -> None:
        adapter = self._learner.adapter
        model = self._learner.model if adapter is None else adapter.merged()
        model.save_pretrained(folder)
        path = self.config.model.model_path
        trust = self.config.model.trust_remote_code
        with loading(path, TOKENIZER):
            tokenizer = AutoTokenizer.from_pretrained(path, trust_remote_code=trust)
        tokenizer.save_pretrained(folder)


def load_model(path: str, trust_remote_code: bool = False) -> PreTrainedModel:
    """A causal language model in float32, dropout off."""
    with loading(path, WEIGHTS):
        model = AutoModelForCausalLM.from_pretrained(
            path, dtype=torch.float32, trust_remote_code=trust_remote_code
        )
    return model.eval()


def snapshot(learner: Learner, step: int) -> Checkpoint:
    """All that `restore` needs; the tensors are the live ones, not copies."""
    optimizer: Dict[str, torch.Tensor] = {"rng": torch.get_rng_state()}
    for name, parameter in zip(learner.parameter_names, _parameters(learner), strict=True):
        for key, value in learner.optimizer.state[parameter].items():
            optimizer[f"{key}/{name}"] = value
    state: Dict[str, Any] = {}
    if learner.trainer_advantage is not None:
        state["trainer_advantage"] = learner.trainer_advantage.state()
    if learner.adapter is not None:
        adapter = learner.adapter
        return Checkpoint(step, adapter.weights(), optimizer, state, adapter.config())
    return Checkpoint(step, _stored(learner.model), optimizer, state)


def restore(learner: Learner, checkpoint: Checkpoint) -> None:
    """Put a learner where `snapshot` found another one.

    Raises:
        ValueError: If the checkpoint is of another model.
    """
    adapter = learner.adapter
    own = set(adapter.weights() if adapter else _stored(learner.model))
    if own != set(checkpoint.weights):
        odd = sorted(own ^ set(checkpoint.weights))[:3]
        raise ValueError(
            f"the checkpoint of step {checkpoint.step} is of another model (differs in "
            f"{', '.join(odd)}, ...); start from scratch with run.fresh=true"
        )
    if adapter:
        adapter.load(checkpoint.weights)
    else:
        learner.model.load_state_dict(dict(checkpoint.weights), strict=False)
    for name, parameter in zip(learner.parameter_names, _parameters(learner), strict=True):
        entries = {
            key: checkpoint.optimizer[f"{key}/{name}"].clone()
            for key in ("step", "exp_avg", "exp_avg_sq")
            if f"{key}/{name}" in checkpoint.optimizer
        }
        if entries:
            learner.optimizer.state[parameter] = entries
    torch.set_rng_state(checkpoint.optimizer["rng"])
    if learner.trainer_advantage is not None:
        learner.trainer_advantage.load_state(checkpoint.state.get("trainer_advantage", {}))


def _parameters(learner: Learner) -> List[torch.nn.Parameter]:
    return [p for group in learner.optimizer.param_groups for p in group["params"]]


def _handed_over(learner: Learner) -> Dict[str, torch.Tensor]:
    """What an engine needs: all weights under all their names, as load_state_dict wants them; with
    LoRA the adapter alone."""
    if learner.adapter is not None:
        return learner.adapter.handed_over()
    return {name: value.detach() for name, value in learner.model.state_dict().items()}


def _stored(model: PreTrainedModel) -> Dict[str, torch.Tensor]:
    """The weights once each: of tied ones the first name only, as files of weights have it."""
    seen: set = set()
    unique: Dict[str, torch.Tensor] = {}
    for name, value in model.state_dict().items():
        if value.data_ptr() in seen and value.numel() > 0:
            continue
        seen.add(value.data_ptr())
        unique[name] = value.detach()
    return unique


def _options(trainer_config: Any) -> Dict[str, Any]:
    options = dict(trainer_config or {})
    known = set(TRAINER.config_keys)
    unknown = sorted(set(options) - known)
    if unknown:
        raise ValueError(
            f"trainer.trainer_config.{unknown[0]}: the embedded trainer knows "
            f"{', '.join(sorted(known))}"
        )
    return options
