"""The structured configuration: every group, every field, its meaning, unit and allowed values.

This module holds data only. What is legal is decided in check.py, what `auto` becomes in
resolve.py. Imports are light: no torch, ray, trinity, agentscope or wandb.

A field typed `Union[int, str]` or `Union[float, str]` takes a number or the word `auto`.
"""

from dataclasses import dataclass, field
from typing import Any, Dict, List, Optional, Union

AUTO = "auto"
"""The word that asks rlagent to choose; resolve.py says what it chose and why."""

ADDED = ("sweep",)
"""Groups that the defaults list leaves out: a preset of them is added with `+`."""


@dataclass
class ModelShape:
    """The numbers of a decoder-only transformer that memory and speed follow from.

    Zeros mean unknown: they are then read from the model's config.json.
    """

    # Number of transformer blocks.
    layers: int = 0
    # Width of the residual stream.
    hidden: int = 0
    # Width of the feed-forward layer (one of the gated pair).
    intermediate: int = 0
    # Number of query heads.
    heads: int = 0
    # Number of key/value heads (grouped-query attention); divides `heads`.
    kv_heads: int = 0
    # Size of one head.
    head_dim: int = 0
    # Rows of the embedding table.
    vocab: int = 0
    # Whether the output layer shares the embedding table.
    tied: bool = False


@dataclass
class Recipe:
    """What `auto` fields of the other groups take for this model; an explicit value wins."""

    # Learning rate (algorithm.lr).
    lr: float = 1e-6
    # Tasks per step (algorithm.batch_size).
    batch_size: int = 32
    # Rollouts per task (algorithm.repeat_times), the group size of GRPO.
    repeat_times: int = 8
    # Training steps (algorithm.total_steps).
    total_steps: int = 100
    # Tokens of one prompt and its response together (model.max_model_len).
    max_model_len: int = 4096
    # Tokens of one response (model.max_response_tokens).
    max_response_tokens: int = 1024
    # Weight of the KL loss (algorithm.kl_coef); null: the algorithm's own.
    kl_coef: Optional[float] = None
    # Steps between weight syncs (algorithm.sync_interval).
    sync_interval: int = 1
    # Steps between checkpoints (algorithm.save_interval); 0: a tenth of the run, at most 100.
    save_interval: int = 0


@dataclass
class ModelConfig:
    """Which model is trained and how it samples."""

    # ---- core ----
    # Name of the preset, for display and for the run's tags; `auto` = chosen by hardware.
    name: str = AUTO
    # Hugging Face hub id, local folder, or `builtin:tiny`. `auto`: without a GPU the tiny model,
    # with GPUs the largest of `candidates` that fits, if possible without hardware.offload.
    path: str = AUTO
    # Most tokens of prompt and response together. `auto`: the recipe's.
    max_model_len: Union[int, str] = AUTO
    # Most tokens of one response. `auto`: the recipe's.
    max_response_tokens: Union[int, str] = AUTO
    # Sampling temperature, > 0.
    temperature: float = 1.0

    # ---- advanced ----
    # Nucleus sampling, in (0, 1]; 1 keeps every token.
    top_p: float = 1.0
    # Sample among the k likeliest tokens; -1 keeps every token.
    top_k: int = -1
    # Whether a hybrid model thinks before it answers; null leaves the chat template's default.
    enable_thinking: Optional[bool] = None
    # Parser of tool calls for vLLM (`hermes` for Qwen); null: none.
    tool_call_parser: Optional[str] = "hermes"
    # What the engine is told when an agent requires a tool call. `as_asked`: it can only decode
    # calls; vLLM does that in a form that the model may not know, and what is forbidden is never
    # learnt. `free`: it samples freely, and calls are read from the text. `auto`: free on vLLM
    # with a tool_call_parser, else as asked: the embedded engine decodes the model's own form,
    # and its trainer knows what was forbidden.
    tool_choice: str = AUTO
    # Parser of reasoning text for vLLM (`deepseek_r1` for thinking Qwen3); null: none.
    reasoning_parser: Optional[str] = None
    # Weights and activations on GPUs: bfloat16, float16 or float32.
    dtype: str = "bfloat16"
    # Run code that comes with the model. Off: a model is data.
    trust_remote_code: bool = False
    # Presets that `auto` may take when there are GPUs, smallest first.
    candidates: List[str] = field(default_factory=list)
    # Checked against config.json where there is one.
    shape: ModelShape = field(default_factory=ModelShape)
    # Values for the `auto` fields of the other groups.
    recipe: Recipe = field(default_factory=Recipe)


@dataclass
class DatasetConfig:
    """Where tasks come from. A task is one row: a dict that the workflow receives unchanged."""

    # ---- core ----
    # Name of the preset; `auto` follows the model (tiny: gsm8k_tiny, else gsm8k).
    name: str = AUTO
    # Hugging Face hub id, folder with {split}.jsonl files, one .jsonl file, or
    # `builtin:gsm8k_tiny`.
    path: str = AUTO
    # Subset (configuration) of a hub dataset; null: the default one.
    subset: Optional[str] = None
    # Split for training.
    split: str = "train"
    # Where held-out tasks come from, as `path`; null: the same place.
    eval_path: Optional[str] = None
    # Split of the held-out tasks; null: no evaluation.
    eval_split: Optional[str] = "test"
    # Held-out tasks used by one evaluation; 0: all of them.
    eval_tasks: int = 256

    # ---- advanced ----
    # Columns that every row must have; checked before anything starts.
    columns: List[str] = field(default_factory=lambda: ["question", "answer"])
    # Order of the training tasks: sequential, shuffle or random.
    order: str = "shuffle"


@dataclass
class AlgorithmConfig:
    """How experiences become gradients. One step explores, trains and syncs weights once."""

    # ---- core ----
    # Trinity's algorithm type.
    name: str = "multi_step_grpo"
    # Learning rate of the optimizer. `auto`: the model's recipe.
    lr: Union[float, str] = AUTO
    # Training steps. `auto`: the recipe's; with `total_epochs`, what the epochs make.
    total_steps: Union[int, str] = AUTO
    # Tasks per step. `auto`: the recipe's.
    batch_size: Union[int, str] = AUTO
    # Rollouts per task: rollouts per step = batch_size x repeat_times. `auto`: the recipe's.
    repeat_times: Union[int, str] = AUTO
    # Held-out success is measured before the first step, every `eval_interval` steps and after
    # the last; 0: only before and after.
    eval_interval: int = 0

    # ---- advanced ----
    # Passes over the training tasks; sets total_steps when that is `auto`; null: no.
    total_epochs: Optional[int] = None
    # Experiences per update. `auto`: all that the step produced, whatever their number; a number
    # takes exactly as many, in the order in which they come, and leaves the rest for later.
    train_batch_size: Union[int, str] = AUTO
    # Steps that exploring may run ahead of training; 0 is on-policy.
    max_lag: int = 0
    # Steps between weight syncs (>= 1). `auto`: the recipe's.
    sync_interval: Union[int, str] = AUTO
    # Steps between checkpoints. `auto`: the recipe's, else a tenth of the run, at most 100.
    save_interval: Union[int, str] = AUTO
    # Checkpoints kept; 0 keeps all.
    keep_checkpoints: int = 2
    # Who computes the old log-probabilities: true = the trainer; false = taken from the rollout
    # engine. `auto`: the trainer whenever sampling may be constrained or truncated (tools,
    # grammars, top_p, top_k), so that on-policy means on-policy.
    recompute_old_logprobs: Union[bool, str] = AUTO
    # PPO clip range (low and high alike); null: the algorithm's own.
    clip_range: Optional[float] = None
    # Weight of the KL loss towards the reference model; null: the recipe's, else the algorithm's
    # own; 0: off, and no reference model is kept.
    kl_coef: Optional[float] = None
    # Weight of the entropy bonus; null: the algorithm's own, 0: off.
    entropy_coef: Optional[float] = None
    # token-mean, seq-mean-token-sum, seq-mean-token-mean or seq-mean-token-sum-norm;
    # null: the algorithm's own.
    loss_agg_mode: Optional[str] = None
    # Arguments of Trinity's advantage function; what is left out keeps its own default.
    advantage_args: Dict[str, Any] = field(default_factory=dict)
    # Arguments of Trinity's policy loss function; likewise.
    policy_loss_args: Dict[str, Any] = field(default_factory=dict)
    # Learning-rate schedule: constant or cosine.
    lr_schedule: str = "constant"
    # Steps of linear warm-up.
    lr_warmup_steps: int = 0
    # Optimizer's weight decay.
    weight_decay: float = 0.01
    # Largest norm of the gradient; larger ones are scaled down to it.
    grad_clip: float = 1.0
    # Control experiment: give each rollout the reward of another one of its step, so that
    # nothing can be learnt. A rise that survives this is not learning.
    shuffle_rewards: bool = False


@dataclass
class HardwareConfig:
    """What the run uses, and how GPUs are shared between rollout engines and the trainer."""

    # ---- core ----
    # Name of the preset.
    name: str = AUTO
    # Rollout engine and trainer: `embedded` (CPU), `vllm` (vLLM rollouts, verl training);
    # `auto`: vllm when there is a GPU, else embedded.
    engine: str = AUTO
    # GPUs per node. `auto`: those found (through NVML).
    gpus: Union[int, str] = AUTO
    # Nodes. `auto`: those of the running Ray cluster, else 1.
    nodes: Union[int, str] = AUTO
    # One value for the layout: `4x1+4s2` = 4 engines of tensor parallel 1, 4 trainer GPUs with
    # sequence parallel 2; `1x1*1` = colocated on one GPU. `auto`: chosen for the GPUs.
    layout: str = AUTO

    # ---- advanced ----
    # Rollout engines; says the same as the layout; null: the layout decides.
    engines: Optional[int] = None
    # GPUs of one engine; null: the layout decides.
    tensor_parallel: Optional[int] = None
    # GPUs of the trainer; null: the layout decides.
    trainer_gpus: Optional[int] = None
    # Trainer GPUs that share one sequence (Ulysses); null: the layout decides.
    sequence_parallel: Optional[int] = None
    # Attention of the trainer on GPUs: flash_attention_2; packed = torch's own kernel, without
    # padding as well; sdpa = padded. `auto`: flash_attention_2 when it is installed, else packed.
    attention: str = AUTO
    # Keep the trainer's parameters, gradients and optimizer state in host memory, which takes
    # several times longer. `auto`: when they would not fit otherwise.
    offload: Union[bool, str] = AUTO
    # GPU model to plan for on a machine that lacks it, such as h100-80g; `auto`: the one found.
    gpu: str = AUTO
    # auto: join RAY_ADDRESS or a running head of this user, else start one on loopback;
    # start: always start one on loopback; otherwise the address to join.
    ray: str = AUTO
    # Pretended GPUs for trying layouts on a CPU; timings then say nothing about GPUs.
    logical_gpus: int = 0
    # CPU threads of the embedded engine and trainer. `auto`: the cores of the machine.
    threads: Union[int, str] = AUTO
    # Processes that run agent code. `auto`: 1 for embedded, else 4 per engine.
    runners: Union[int, str] = AUTO
    # Share of GPU memory that vLLM takes, in (0, 1). `auto`: 0.9, or less where the weights that
    # arrive at each sync need more room beside it; colocated 0.25.
    gpu_memory_utilization: Union[float, str] = AUTO
    # Skip CUDA graphs in vLLM: slower, starts faster.
    enforce_eager: bool = False
    # Reuse the KV cache of equal prompt beginnings in vLLM.
    prefix_caching: bool = True


@dataclass
class AuxiliaryModel:
    """A further model that workflow or judge may call; it is not trained. GPU only."""

    # Key in the `auxiliary_models` argument.
    name: str = ""
    # Hugging Face hub id or local folder.
    path: str = ""
    # Engines of it.
    engines: int = 1
    # GPUs of one engine.
    tensor_parallel: int = 1


@dataclass
class WorkflowConfig:
    """The user's agent: an async function `(task, model) -> reward`."""

    # ---- core ----
    # `module:function`, or `path/to/file.py:function`.
    function: str = ""
    # Judge `module:function` over (task, response), for workflows that return no reward;
    # null: none.
    judge: Optional[str] = None
    # Keyword arguments handed to the function beside task and model. They are written to the run
    # folder, so a key or password is given as '${oc.env:NAME}': the process that calls the function
    # reads it from its environment. What looks like a secret by name or form is refused.
    args: Dict[str, Any] = field(default_factory=dict)

    # ---- advanced ----
    # A rollout succeeds when its reward is at least this.
    success_reward: float = 1.0
    # Seconds one rollout may take before it counts as failed.
    timeout: float = 600.0
    # Reward of a rollout whose conversation outgrows model.max_model_len: its calls are trained
    # on, so that going on for ever does not pay. null: it counts as failed, and is left out.
    overlong_reward: Optional[float] = 0.0
    # Further models for workflow or judge.
    auxiliary_models: List[AuxiliaryModel] = field(default_factory=list)


@dataclass
class MonitorConfig:
    """Where metrics are mirrored to. The run folder always holds them all."""

    # ---- core ----
    # wandb, tensorboard or local (the run folder only).
    type: str = "local"
    # W&B project.
    project: str = "rlagent"
    # W&B entity (user or team); null: the account's default.
    entity: Optional[str] = None
    # W&B mode: auto (online with a key, else offline), online or offline.
    mode: str = AUTO

    # ---- advanced ----
    # W&B group; null: the experiment, or the sweep.
    group: Optional[str] = None
    # Name of the W&B run; null: the run folder's, in a sweep what sets the trial apart.
    name: Optional[str] = None
    # Further W&B tags.
    tags: List[str] = field(default_factory=list)


@dataclass
class RunConfig:
    """The run itself: its name, its folder, what is shown, when to give up."""

    # ---- core ----
    # Name of the experiment; the run folder is {dir}/{name}-{trial id}.
    name: str = "run"
    # Where run folders go.
    dir: str = "outputs"
    # Start anew even when the same run is finished or unfinished.
    fresh: bool = False

    # ---- advanced ----
    # Progress on the screen: auto (live on a terminal, else plain), live, plain or none.
    display: str = AUTO
    # Seconds without any sign of progress after which the run fails.
    stall_timeout: float = 1800.0
    # Training rollouts per step whose conversation is kept (evaluations keep all).
    trajectories_per_step: int = 8


@dataclass
class SweepConfig:
    """Several trials (`-m`): what they are compared by, how many at once, what a failure means."""

    # ---- core ----
    # Metric that trials are compared by, as named in metrics.jsonl: eval/success,
    # rollout/reward/mean, time/step. The value of the last step counts; of time/ and per_second
    # the median.
    metric: str = "eval/success"
    # Which way is better: maximize or minimize.
    direction: str = "maximize"
    # Most trials at once. `auto`: as many as GPUs, CPU cores and memory hold, at least one.
    # More than the cores hold share them; GPUs and memory are never shared out twice.
    max_parallel: Union[int, str] = AUTO
    # Trials of a grid that run, in its order; 0: all.
    max_trials: int = 0
    # What a failed trial means for the rest: continue, or stop (those that run end cleanly).
    on_failure: str = "continue"
    # Further tries of a failed trial; a wrong configuration is not tried again.
    retries: int = 0

    # ---- core, of a search ----
    # none: a grid of all values. Otherwise Optuna suggests the trials: tpe (learns from those
    # that ended), random, grid (every combination once), cmaes (two numbers or more).
    sampler: str = "none"
    # Trials of a search, those of an earlier launch included; raise it to go on. `auto`: 20, of a
    # grid every combination.
    n_trials: Union[int, str] = AUTO
    # Ends hopeless trials early, by sweep.metric at algorithm.eval_interval: none, asha
    # (successive halving), hyperband, median.
    pruner: str = "none"

    # ---- advanced ----
    # Seed of the sampler.
    seed: int = 0
    # Trials that tpe draws at random, and that median lets finish, before they learn.
    startup_trials: int = 5
    # Training steps that every trial gets before it may be pruned; 0: algorithm.eval_interval.
    prune_after: int = 0
    # asha and hyperband: one trial of so many goes on at each rung.
    reduction_factor: int = 3
    # Try every legal layout of the hardware: the one that `auto` takes, then the others in the
    # order of the planner's estimate.
    layouts: bool = False
    # Host memory of one trial in GiB. `auto`: by engine and layout.
    memory_gib: Union[float, str] = AUTO


@dataclass
class LearnConfig:
    """The whole configuration of one training run."""

    # Seed of sampling, task order and initialisation.
    seed: int = 1
    model: ModelConfig = field(default_factory=ModelConfig)
    dataset: DatasetConfig = field(default_factory=DatasetConfig)
    algorithm: AlgorithmConfig = field(default_factory=AlgorithmConfig)
    hardware: HardwareConfig = field(default_factory=HardwareConfig)
    workflow: WorkflowConfig = field(default_factory=WorkflowConfig)
    monitor: MonitorConfig = field(default_factory=MonitorConfig)
    run: RunConfig = field(default_factory=RunConfig)
    sweep: SweepConfig = field(default_factory=SweepConfig)
    # Overrides of Trinity's own configuration, applied last and checked against its schema:
    # trinity.trainer.save_interval=5. What contradicts a key of ours is said with the choices, or
    # refused where more follows from that key (overruled.py).
    trinity: Dict[str, Any] = field(default_factory=dict)

    @classmethod
    def load_config(cls, path: str) -> "LearnConfig":
        """Read a composed configuration of ours, or a native Trinity YAML.

        Args:
            path: A YAML file. Which of the two it is, is told from its top-level keys.

        Raises:
            ConfigError: With every mistake found: unknown keys with the nearest valid one,
                wrong types and ranges.
        """
        from rlagent.config.load import load_config

        return load_config(path)
