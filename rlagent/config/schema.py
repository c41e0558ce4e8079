"""The structured configuration: every group, every field, its meaning, unit and allowed values.

This module holds data only. The comment above a field is its meaning; its declaration holds the
bounds or words, what `auto` becomes, and the fields of Trinity that say the same (limits.py).
Checks, docs/reference.md and `--help` read it here (check.py, knobs.py), and so does the list of
what `trinity.*` overrules (overruled.py). Imports are light: no torch, ray, trinity, agentscope or
wandb.

A field typed `Union[int, str]` or `Union[float, str]` takes a number or the word `auto`.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Dict, List, Optional, Union

from rlagent.backends.registry import ENGINES
from rlagent.base.groups import FILTERS
from rlagent.base.limits import DAY, finite, number, place, plain, text, word
from rlagent.base.lora import LoraConfig
from rlagent.base.model_shape import ModelShape
from rlagent.base.origins import AUTO as AUTO
from rlagent.base.origins import Recorded
from rlagent.base.treatment import CUT
from rlagent.config.algorithms import AGGREGATIONS, CORRECTIONS, GROUPS

_RECIPE = "the model's recipe"
_ROLLOUT, _OPTIMIZER = "explorer.rollout_model", "algorithm.optimizer"

ADDED = ("sweep",)
"""Groups that the defaults list leaves out: a preset of them is added with `+`."""

MOST_STEPS = 10_000_000
MOST_TOKENS = 10_000_000
"""Of one sequence: the longest that any published model claims."""
MOST_TRIALS = 100_000
GPUS_OF_NODE, MOST_GPUS = 64, 1024
"""GPUs of one node, and of a run: weighing more layouts takes minutes."""


@dataclass
class Recipe(Recorded):
    """What `auto` fields of the other groups take for this model; what was written wins."""

    # Learning rate (algorithm.lr).
    lr: float = number(1e-6, 1e-12, below=1)
    # The same where model.lora is on; 0: ten times `lr`.
    lora_lr: float = number(0.0, 0, below=1, note="0: ten times lr")
    # Tasks per step (algorithm.batch_size).
    batch_size: int = number(32, 1, 100_000)
    # Rollouts per task (algorithm.repeat_times), the group size of GRPO.
    repeat_times: int = number(8, 1, 10_000)
    # Training steps (algorithm.total_steps).
    total_steps: int = number(100, 1, MOST_STEPS)
    # Tokens of one prompt and its response together (model.max_model_len).
    max_model_len: int = number(4096, 1, MOST_TOKENS)
    # Tokens of one response (model.max_response_tokens).
    max_response_tokens: int = number(1024, 1, MOST_TOKENS)
    # Weight of the KL loss (algorithm.kl_coef); null: the algorithm's own.
    kl_coef: Optional[float] = number(None, 0, 1000)
    # Steps between weight syncs (algorithm.sync_interval).
    sync_interval: int = number(1, 1, MOST_STEPS)
    # Steps between checkpoints (algorithm.save_interval); 0: a tenth of the run, at most 100.
    save_interval: int = number(0, 0, MOST_STEPS)


@dataclass
class ModelConfig(Recorded):
    """Which model is trained and how it samples. `auto` in any field: as if nobody wrote it."""

    # ---- core ----
    # Name of the preset, for display and for the run's tags.
    name: str = plain(AUTO, auto="follows the path")
    # Hugging Face hub id, local folder, `builtin:tiny`, or another run's checkpoint: RUN@STEP, with
    # a step, `best`, `last` or `base` (what that run began from); RUN alone is its best, or its
    # last where none was measured. Shape, dtype and recipe are then those of that run.
    path: str = place(
        AUTO,
        "give a hub id, a folder, a run, or auto",
        auto="without a GPU the tiny model, with GPUs the largest of `candidates` that fits, if "
        "possible without hardware.offload",
        trinity="model.model_path",
        binding=True,
    )
    # Most tokens of prompt and response together.
    max_model_len: Union[int, str] = number(
        AUTO, 1, MOST_TOKENS, auto=_RECIPE, trinity="model.max_model_len", binding=True
    )
    # Most tokens of one response.
    max_response_tokens: Union[int, str] = number(
        AUTO, 1, MOST_TOKENS, auto=_RECIPE, trinity="model.max_response_tokens", binding=True
    )
    # Sampling temperature, > 0.
    temperature: float = number(1.0, 0.01, 100, trinity="model.temperature")

    # ---- advanced ----
    # Nucleus sampling, in (0, 1]; 1 keeps every token.
    top_p: float = number(1.0, 1e-6, 1, trinity="model.top_p")
    # Sample among the k likeliest tokens; -1 keeps every token.
    top_k: int = number(-1, 1, 10_000_000, also=-1, note="all tokens", trinity="model.top_k")
    # Whether a hybrid model thinks before it answers; null leaves the chat template's default.
    enable_thinking: Optional[bool] = plain(None, trinity="model.enable_thinking")
    # Chat template, as a Jinja file, in place of the tokenizer's; checked against the tokenizer. It
    # is exported with the model. `builtin:chatml_tools.jinja` is ChatML with tools. null: the
    # tokenizer's own.
    chat_template: Optional[str] = place(
        AUTO,
        auto="the tokenizer's own; of a local model whose own is ChatML without tools, "
        "builtin:chatml_tools.jinja",
        trinity="model.chat_template_path model.custom_chat_template",
        binding=True,
    )
    # Parser of tool calls for vLLM (`hermes` for Qwen); null: none.
    tool_call_parser: Optional[str] = plain("hermes", trinity=f"{_ROLLOUT}.tool_call_parser")
    # How a tool call that an agent requires is sampled. `as_asked`: only calls can be decoded; vLLM
    # does that in a form that the model may not know, and what is forbidden is never learnt.
    # `free`: sampling is free, and calls are read from the text.
    tool_choice: str = word(
        AUTO,
        (AUTO, "as_asked", "free"),
        auto="free on vLLM with a tool_call_parser, else as asked: the embedded engine decodes the "
        "model's own form, and its trainer knows what was forbidden",
    )
    # Parser of reasoning text for vLLM (`deepseek_r1` for thinking Qwen3); null: none.
    reasoning_parser: Optional[str] = plain(None, trinity=f"{_ROLLOUT}.reasoning_parser")
    # Weights and activations on GPUs: bfloat16, float16 or float32.
    dtype: str = word("bfloat16", ("bfloat16", "float16", "float32"), trinity=f"{_ROLLOUT}.dtype")
    # Address of an OpenAI-compatible endpoint that runs the model, such as
    # http://127.0.0.1:8000/v1; model.name is the model's name there. For measuring, not for
    # training. null: the model runs here.
    url: Optional[str] = plain(None)
    # Environment variable that holds the endpoint's key, which is never written; null: no key.
    key_env: Optional[str] = plain(None)
    # Run code that comes with the model. Off: a model is data.
    trust_remote_code: bool = plain(False, trinity="model.trust_remote_code")
    # Experiment whose run is trained first where it is not there yet; this run then starts from its
    # last checkpoint. It begins from this model, on the same hardware. null: none.
    warm_start: Optional[str] = plain(None)
    # What the warm start learns from: conversations that `rlagent data` writes of dataset.path's
    # training rows. null: the experiment has its own dataset.
    warm_start_data: Optional[str] = word(None, ("gsm8k_tools",))
    # Overrides for the warm start alone, such as ["algorithm.total_steps=100"].
    warm_start_overrides: List[str] = field(default_factory=list)
    # Presets that `auto` may take when there are GPUs, smallest first.
    candidates: List[str] = field(default_factory=list)
    # Checked against config.json where there is one.
    shape: ModelShape = field(default_factory=ModelShape)
    # Train an adapter instead of the whole model; off unless its rank is set.
    lora: LoraConfig = field(default_factory=LoraConfig)
    # Values for the `auto` fields of the other groups.
    recipe: Recipe = field(default_factory=Recipe)


@dataclass
class MixedTasks:
    """A further taskset, whose tasks are mixed with those of dataset.path. Its rows have the same
    columns, and it is held out from as that is."""

    # Name, by which evaluations and curves show it.
    name: str = ""
    # As dataset.path.
    path: str = place("")
    # Subset (configuration) of a hub dataset; null: the default one.
    subset: Optional[str] = None
    # Split for training.
    split: str = "train"
    # Split of its held-out tasks, in the same place, of a single file a tenth; null: none.
    eval_split: Optional[str] = "test"
    # Share of the tasks of a step, against dataset.weight and the other weights.
    weight: float = number(1.0, 1e-3, 1000)
    # As dataset.args.
    args: Dict[str, Any] = field(default_factory=dict)
    # As dataset.map, which is not this one's.
    map: Dict[str, str] = field(default_factory=dict)
    # As dataset.filter, which is not this one's.
    filter: Optional[str] = None


@dataclass
class DatasetConfig(Recorded):
    """Where tasks come from. A task is one row, which the workflow gets as its author wrote it, in
    objects of its own: a dict without keys that the row lacks. `auto` in any field: as if nobody
    wrote it."""

    # ---- core ----
    # Name of the preset.
    name: str = plain(AUTO, auto="follows the model: gsm8k_tiny for tiny, else gsm8k")
    # Hugging Face hub id, folder with {split}.jsonl (or .json, .csv), with a folder {split} of JSON
    # files, or with what else `datasets` reads, one .jsonl, .json, .csv or .parquet file, a folder
    # of several of one form, not named by splits, or `builtin:gsm8k_tiny`. JSON values arrive
    # as JSON values. Of .csv, .parquet and hub data each column has one type, the same in training
    # and evaluation, as `datasets` reads it: numbers in .csv arrive as int or float, empty cells
    # and NA as None; timestamps in .parquet as datetime; what a row lacks as None. Or a function
    # that makes the rows of a split, `module:function` or `FILE.py:FUNCTION`, called with
    # (split, **dataset.args).
    path: str = place(AUTO, "give a hub id, a folder, or auto", auto="follows the name")
    # Subset (configuration) of a hub dataset; null: the default one.
    subset: Optional[str] = None
    # Split for training.
    split: str = "train"
    # Where held-out tasks come from, as `path`; null: the same place, of a single file, or of
    # files not named by splits, a tenth of the rows (equal ones on one side).
    eval_path: Optional[str] = place(None)
    # Split of the held-out tasks; null: no evaluation.
    eval_split: Optional[str] = "test"
    # Held-out tasks used by one evaluation; 0: all of them.
    eval_tasks: int = number(256, 0, 10_000_000, note="0: all")

    # ---- advanced ----
    # Keyword arguments of the function that dataset.path names.
    args: Dict[str, Any] = field(default_factory=dict)
    # Names for the workflow, each with the column that it is taken from, or a path with dots within
    # nested values: {question: prompt, answer: reward_model.ground_truth}. Others stay.
    map: Dict[str, str] = field(default_factory=dict)
    # Which rows are tasks, by their names for the workflow: a comparison of columns, such as
    # "level <= 3 and subject == 'algebra'" (also in, not, or, len()), which is read and not run; or
    # a function (row) -> bool, `module:function` or `FILE.py:FUNCTION`. null: all rows.
    filter: Optional[str] = None
    # Columns that every row must have; checked before anything starts.
    columns: List[str] = field(default_factory=lambda: ["question", "answer"])
    # Further tasksets; evaluations and curves show each by its name. Each step takes from all, by
    # their weights, in the order below.
    mix: List[MixedTasks] = field(default_factory=list)
    # Share of this dataset's tasks against the weights of dataset.mix.
    weight: float = number(1.0, 1e-3, 1000)
    # Order of the training tasks: sequential, shuffle, random, or difficulty: tasks that earned
    # about half of the reward 1 so far are the likeliest (Trinity's selector by difficulty).
    order: str = word("shuffle", ("sequential", "shuffle", "random", "difficulty"))


@dataclass
class AlgorithmConfig(Recorded):
    """How experiences become gradients. One step explores, trains and syncs weights once."""

    # ---- core ----
    # Trinity's algorithm type.
    name: str = plain("multi_step_grpo", trinity="algorithm.algorithm_type", binding=True)
    # Learning rate of the optimizer.
    lr: Union[float, str] = number(AUTO, 1e-12, below=1, auto=_RECIPE, trinity=f"{_OPTIMIZER}.lr")
    # Training steps.
    total_steps: Union[int, str] = number(
        AUTO,
        1,
        MOST_STEPS,
        auto="the model's recipe; with `total_epochs`, as many as the epochs take",
        trinity="buffer.total_steps trainer.total_steps",
        binding=True,
    )
    # Tasks per step.
    batch_size: Union[int, str] = number(
        AUTO, 1, 100_000, auto=_RECIPE, trinity="buffer.batch_size", binding=True
    )
    # Rollouts per task: rollouts per step = batch_size x repeat_times.
    repeat_times: Union[int, str] = number(
        AUTO, 1, 10_000, auto=_RECIPE, trinity="algorithm.repeat_times", binding=True
    )
    # Held-out success is measured before the first step, every `eval_interval` steps and after
    # the last; 0: only before and after. It is that of the weights synced last: of an earlier
    # step between two syncs and with lag, which is said then (`eval/model_version`).
    eval_interval: int = number(
        0,
        0,
        MOST_STEPS,
        note="0: before and after only",
        trinity="explorer.eval_interval",
        binding=True,
    )

    # ---- advanced ----
    # Passes over the training tasks; sets total_steps when that is `auto`; null: no.
    total_epochs: Optional[int] = number(
        None, 1, MOST_STEPS, trinity="buffer.total_epochs", binding=True
    )
    # Experiences per update. A number takes as many, in the order in which they come, and leaves
    # the rest for later steps. It takes fewer, all that are there, where no more can come: when
    # exploring waits for the weights of this step (rollouts failed or were filtered away, or the
    # number is larger than what the explored steps make), and when it has ended; with none the
    # weights stay. What is left when all steps are trained, or when a run is resumed, is dropped.
    train_batch_size: Union[int, str] = number(
        AUTO,
        1,
        100_000_000,
        auto="all that the step produced, whatever their number",
        trinity="buffer.train_batch_size",
        binding=True,
    )
    # Steps that exploring may run ahead of training; 0 is on-policy.
    max_lag: int = number(
        0, 0, MOST_STEPS, note="0: on-policy", trinity="synchronizer.sync_offset", binding=True
    )
    # Steps between weight syncs (>= 1).
    sync_interval: Union[int, str] = number(
        AUTO, 1, MOST_STEPS, auto=_RECIPE, trinity="synchronizer.sync_interval", binding=True
    )
    # Steps between checkpoints.
    save_interval: Union[int, str] = number(
        AUTO,
        1,
        MOST_STEPS,
        auto="the model's recipe, else eval_interval where keep_best keeps one of those, else a "
        "tenth of the run, at most 100",
        trinity="trainer.save_interval",
    )
    # Checkpoints kept; 0 keeps all.
    keep_checkpoints: int = number(
        2, 0, MOST_STEPS, note="0: all", trinity="trainer.max_checkpoints_to_keep", binding=True
    )
    # Keep the checkpoint with the best held-out success beside the newest ones, where evaluations
    # happen between (eval_interval). It must be saved to be kept: see save_interval.
    keep_best: bool = True
    # Who computes the old log-probabilities: true = the trainer; false = taken from the rollout
    # engine.
    recompute_old_logprobs: Union[bool, str] = plain(
        AUTO,
        auto="true, since sampling may be constrained or truncated (tools, grammars, top_p, "
        "top_k): on-policy then means on-policy",
    )
    # How the policy loss weights samples that older weights drew: by the ratio of the proximal
    # policy (at the start of the update) to the behaviour policy (that sampled). tis: truncated
    # importance sampling, per token; mis: tokens out of bounds are masked; seq_tis, seq_mis: one
    # weight per experience, the product of its tokens'.
    off_policy: str = word(
        AUTO,
        (AUTO, *CORRECTIONS),
        auto="tis with lag, or with a sync_interval above 1; else none. With old log-probabilities "
        "of the rollout engine none: the loss's own ratio is to the behaviour policy",
    )
    # Largest importance weight: tis truncates to it, mis masks what is above.
    off_policy_max: float = number(2.0, 1, 1000)
    # Smallest: mis masks what is below; null: nothing.
    off_policy_min: Optional[float] = number(None, 1e-6, 1)
    # Train on samples of older weights with off_policy=none, as if the weights at hand had drawn
    # them. For showing what that does.
    allow_uncorrected_lag: bool = False
    # Mini-batches, of about equal numbers of experiences, that a pass over a step's experiences is
    # split into; each is one update. With several the old log-probabilities, those of the weights
    # at the start of the step, take a pass of their own, and the loss clips the ratio to them.
    updates_per_step: int = number(
        1, 1, 10_000, trinity="trainer.trainer_config.updates_per_step", binding=True
    )
    # Passes over a step's experiences (PPO epochs).
    epochs_per_step: int = number(
        1, 1, 1000, trinity="trainer.trainer_config.epochs_per_step", binding=True
    )
    # PPO clip range (low and high alike); null: the algorithm's own.
    clip_range: Optional[float] = number(
        None, 1e-6, below=1, trinity="algorithm.policy_loss_fn_args.clip_range"
    )
    # Weight of the KL loss towards the reference model; null: the algorithm's own; 0: off, and no
    # reference model is kept. Where nobody wrote it, or wrote `auto`: the recipe's.
    kl_coef: Optional[float] = number(None, 0, 1000, trinity="algorithm.kl_loss_fn_args.kl_coef")
    # Weight of the entropy bonus; null: the algorithm's own, 0: off.
    entropy_coef: Optional[float] = number(
        None, 0, 1000, trinity="algorithm.entropy_loss_fn_args.entropy_coef"
    )
    # token-mean, seq-mean-token-sum, seq-mean-token-mean or seq-mean-token-sum-norm;
    # null: the algorithm's own.
    loss_agg_mode: Optional[str] = word(None, AGGREGATIONS, trinity="algorithm.loss_agg_mode")
    # What a reward is worth a turn earlier: a call is trained on with what its agent earns from
    # it on, each further call of that agent discounted by this. 1: all alike.
    discount: float = number(1.0, 0, 1)
    # What is compared with each other: the rollouts of a task, those of a task by agent (role), or
    # the calls of a task by agent and turn. The algorithms say which of them they take.
    group_by: str = word(
        AUTO,
        (AUTO, *GROUPS),
        auto="turn where a workflow returns rewards by call and the algorithm takes turns, role "
        "where it returns them by agent, else task",
    )
    # Arguments of Trinity's advantage function; what is left out keeps its own default.
    advantage_args: Dict[str, Any] = field(default_factory=dict)
    # Arguments of Trinity's policy loss function; what is left out keeps its own default.
    policy_loss_args: Dict[str, Any] = field(default_factory=dict)
    # Learning-rate schedule: constant or cosine.
    lr_schedule: str = word(
        "constant", ("constant", "cosine"), trinity=f"{_OPTIMIZER}.lr_scheduler_type"
    )
    # Steps of linear warm-up.
    lr_warmup_steps: int = number(0, 0, MOST_STEPS, trinity=f"{_OPTIMIZER}.lr_warmup_steps")
    # Optimizer's weight decay.
    weight_decay: float = number(0.01, 0, 10, trinity=f"{_OPTIMIZER}.weight_decay")
    # Largest norm of the gradient; larger ones are scaled down to it.
    grad_clip: float = number(1.0, 1e-6, 1e12, trinity=f"{_OPTIMIZER}.clip_grad trainer.grad_clip")
    # What becomes of a group whose rewards are all equal, from which nothing is learnt. keep: it is
    # trained on, at no gradient but for KL and entropy; drop: it is left out; refill: it is left
    # out, and others are explored until the step has `batch_size` groups that differ.
    filter_groups: str = word("keep", FILTERS)
    # Groups explored for a step with filter_groups=refill, at most, in multiples of batch_size; the
    # step is trained on what it has then.
    refill_limit: int = number(4, 2, 1000)
    # Steps in a row with a gradient that is not finite after which the run fails; each such step
    # leaves the weights as they are, is said and counted (actor/skipped_updates).
    skip_limit: int = number(5, 1, MOST_STEPS, unit="steps")
    # Control experiment: give each rollout the reward of another one of its step, so that
    # nothing can be learnt. A rise that survives this is not learning.
    shuffle_rewards: bool = False


@dataclass
class HardwareConfig(Recorded):
    """What the run uses, and how GPUs are shared between rollout engines and the trainer."""

    # ---- core ----
    # Name of the preset.
    name: str = plain(AUTO, auto="follows engine and GPUs")
    # Rollout engine and trainer: `embedded` (CPU), `vllm` (vLLM rollouts, verl training),
    # `external` (the endpoint at model.url; it cannot be trained).
    engine: str = word(
        AUTO,
        (AUTO, *ENGINES),
        auto="external with model.url, else vllm when there is a GPU, else embedded",
    )
    # GPUs per node.
    gpus: Union[int, str] = number(AUTO, 0, GPUS_OF_NODE, auto="those found (through NVML)")
    # Nodes.
    nodes: Union[int, str] = number(
        AUTO,
        1,
        MOST_GPUS,
        auto="those of the running Ray cluster, else 1",
        trinity="cluster.node_num",
        binding=True,
    )
    # One value for the layout: `4x1+4s2` = 4 engines of tensor parallel 1, 4 trainer GPUs with
    # sequence parallel 2; `1x1*1` = colocated on one GPU.
    layout: str = plain(AUTO, auto="the one with the fastest step by the planner's estimate")

    # ---- advanced ----
    # Rollout engines; says the same as the layout; null: the layout decides.
    engines: Optional[int] = number(
        None, 1, MOST_GPUS, trinity=f"{_ROLLOUT}.engine_num", binding=True
    )
    # GPUs of one engine; null: the layout decides.
    tensor_parallel: Optional[int] = number(
        None, 1, GPUS_OF_NODE, trinity=f"{_ROLLOUT}.tensor_parallel_size", binding=True
    )
    # GPUs of the trainer; null: the layout decides.
    trainer_gpus: Optional[int] = number(None, 1, MOST_GPUS)
    # Trainer GPUs that share one sequence (Ulysses); null: the layout decides.
    sequence_parallel: Optional[int] = number(
        None, 1, GPUS_OF_NODE, trinity="trainer.ulysses_sequence_parallel_size", binding=True
    )
    # Attention of the trainer on GPUs: flash_attention_2; packed = torch's own kernel, without
    # padding as well; sdpa = padded.
    attention: str = word(
        AUTO,
        (AUTO, "flash_attention_2", "packed", "sdpa"),
        auto="flash_attention_2 when it is installed, else packed",
    )
    # Keep the trainer's parameters, gradients and optimizer state in host memory, which takes
    # several times longer.
    offload: Union[bool, str] = plain(
        AUTO,
        auto="only when they would not fit otherwise",
        trinity="trainer.offload_policy",
        binding=True,
    )
    # GPU model to plan for on a machine that lacks it, such as h100-80g.
    gpu: str = plain(AUTO, auto="the one found")
    # Address of the Ray cluster to join; `start`: always start one on loopback.
    ray: str = plain(
        AUTO, auto="join RAY_ADDRESS or a running head of this user, else start one on loopback"
    )
    # Pretended GPUs for trying layouts on a CPU; timings then say nothing about GPUs.
    logical_gpus: int = number(0, 0, GPUS_OF_NODE)
    # CPU threads of the embedded engine and trainer.
    threads: Union[int, str] = number(
        AUTO, 1, 1024, auto="the cores of the machine", trinity="trainer.trainer_config.threads"
    )
    # Processes that run agent code.
    runners: Union[int, str] = number(AUTO, 1, 1024, auto="1 for embedded, else 4 per engine")
    # Share of GPU memory that vLLM takes, in (0, 1).
    gpu_memory_utilization: Union[float, str] = number(
        AUTO,
        0.01,
        below=1,
        auto="0.9, or less where the weights that arrive at each sync need more room beside it; "
        "colocated 0.25",
        trinity=f"{_ROLLOUT}.gpu_memory_utilization",
        binding=True,
    )
    # Skip CUDA graphs in vLLM: slower, starts faster.
    enforce_eager: bool = plain(False, trinity=f"{_ROLLOUT}.enforce_eager")
    # Reuse the KV cache of equal prompt beginnings in vLLM.
    prefix_caching: bool = plain(True, trinity=f"{_ROLLOUT}.enable_prefix_caching")


@dataclass
class AuxiliaryModel:
    """A further model that workflow or judge may call; it is not trained. GPU only."""

    # Key in the `auxiliary_models` argument.
    name: str = ""
    # Hugging Face hub id or local folder.
    path: str = place("")
    # Engines of it.
    engines: int = number(1, 1, MOST_GPUS)
    # GPUs of one engine.
    tensor_parallel: int = number(1, 1, GPUS_OF_NODE)


@dataclass
class WorkflowConfig(Recorded):
    """The user's agent: an async function `(task, model) -> reward`."""

    # ---- core ----
    # `module:function`, or `path/to/file.py:function`.
    function: str = place("")
    # Judge `module:function` over (task, response), for workflows that return no reward;
    # null: none.
    judge: Optional[str] = place(None)
    # Keyword arguments handed to the function beside task and model. They are written to the run
    # folder, so a key or password is given as '${oc.env:NAME}': the process that calls the function
    # reads it from its environment. What looks like a secret by name or form is refused.
    args: Dict[str, Any] = field(default_factory=dict)

    # ---- advanced ----
    # A rollout succeeds when its reward is at least this.
    success_reward: float = finite(1.0)
    # Seconds one rollout may take, judge included, before it counts as failed; those in which
    # another one blocks its process are not counted.
    timeout: float = number(600.0, 0.001, 30 * DAY, unit="seconds")
    # Rollouts that run side by side at most, over all processes that run agent code, such as for
    # environments that are slow to start or few; null: all of a step.
    concurrency: Optional[int] = number(None, 1, 100_000, note="null: all of a step")
    # Packages that the workflow imports beside rlagent's own; a missing one is refused before
    # anything starts.
    packages: List[str] = field(default_factory=list)
    # Reward of a rollout whose conversation outgrows model.max_model_len: its calls are trained
    # on, so that going on for ever does not pay. null: it counts as failed, and is left out.
    overlong_reward: Optional[float] = finite(0.0)
    # What becomes of a rollout with a response that was cut at model.max_response_tokens. train: it
    # is trained on with its reward; mask: that response is not trained on, while its reward counts
    # in its group; drop: the rollout counts as failed, and is left out. Evaluations keep it.
    truncated: str = word("train", CUT)
    # What else the workflow needs of the machine, asked before Ray starts and by `rlagent doctor`:
    # each a function `module:function` without arguments that returns why the workflow cannot run
    # here, with the remedy, and an empty text where it can.
    requires: List[str] = field(default_factory=list)
    # Further models for workflow or judge.
    auxiliary_models: List[AuxiliaryModel] = field(default_factory=list)


@dataclass
class EvaluateConfig(Recorded):
    """How held-out tasks are measured: in training, and by `rlagent evaluate`."""

    # ---- core ----
    # Rollouts of each held-out task.
    samples: int = number(1, 1, 10_000)
    # Sampling temperature of evaluations; 0 takes the likeliest token.
    temperature: Union[float, str] = number(AUTO, 0, 100, auto="model.temperature")
    # Held-out tasks that `rlagent evaluate` asks; training has dataset.eval_tasks.
    tasks: Union[int, str] = number(AUTO, 0, 10_000_000, note="0: all", auto="dataset.eval_tasks")
    # `rlagent evaluate` measures from scratch also what it has measured already.
    fresh: bool = False

    # ---- advanced ----
    # Where a run on conversations (algorithm=sft) takes the held-out tasks of its workflow from: a
    # preset of `dataset`, such as gsm8k, or a place as of dataset.eval_path. Success is measured
    # before and after training, in which no engine runs. null: success is not measured.
    dataset: Optional[str] = plain(None)
    # Nucleus sampling of evaluations, in (0, 1]; 1 keeps every token.
    top_p: Union[float, str] = number(AUTO, 1e-6, 1, auto="model.top_p")
    # Folder of the results of `rlagent evaluate`, below evaluations/.
    name: str = plain(AUTO, auto="dataset.name, and a hash of all that the numbers depend on")


@dataclass
class MonitorConfig(Recorded):
    """Where metrics are mirrored to. The run folder always holds them all."""

    # ---- core ----
    # wandb, tensorboard or local (the run folder only).
    type: str = word("local", ("wandb", "tensorboard", "local"))
    # W&B project.
    project: str = plain("rlagent", trinity="project", binding=True)
    # W&B entity (user or team); null: the account's default.
    entity: Optional[str] = None
    # W&B while the run trains; what is made offline, `rlagent sync` uploads later.
    mode: str = word(AUTO, (AUTO, "online", "offline"), auto="online with a key, else offline")

    # ---- advanced ----
    # W&B group; null: the experiment, or the sweep.
    group: Optional[str] = plain(None, trinity="group", binding=True)
    # Name of the W&B run; null: the run folder's, in a sweep what sets the trial apart.
    name: Optional[str] = None
    # Further W&B tags.
    tags: List[str] = field(default_factory=list)


@dataclass
class RunConfig(Recorded):
    """The run itself: its name, its folder, what is shown, when to give up."""

    # ---- core ----
    # Name of the experiment; the run folder is {dir}/{name}-{trial id}.
    name: str = plain("run", trinity="name", binding=True)
    # Where run folders go.
    dir: str = place("outputs", "give a folder, such as outputs, or . for this one")
    # Start from scratch even when the same run is finished or unfinished.
    fresh: bool = False

    # ---- advanced ----
    # Resume an unfinished run though its workflow's source or its dataset changed since it began:
    # what was learnt before stays.
    resume_changed: bool = False
    # Progress on the screen.
    display: str = word(
        AUTO, (AUTO, "live", "plain", "none"), auto="live on a terminal, else plain"
    )
    # Roll out a small sample of training tasks before the first step, and say what signal their
    # rewards hold: `rlagent doctor --signal` does the same without a run.
    preflight: Union[bool, str] = plain(
        AUTO, auto="true for runs that will take over 30 minutes, by the estimate"
    )
    # Seconds without any sign of progress after which the run fails, naming what stands still.
    stall_timeout: Union[float, str] = number(
        AUTO,
        1,
        30 * DAY,
        unit="seconds",
        auto="20 times the longest step or evaluation so far, at least 300, and at least two "
        "workflow.timeout while every role lives; 1800 until the second step is trained",
    )
    # Room that the run's rollouts may take on disk, compressed. When it is full, the oldest
    # training steps are thinned first; the first and the last evaluation stay.
    rollouts_gib: float = number(4.0, 0, 100_000, unit="GiB")


@dataclass
class SweepConfig(Recorded):
    """Several trials (`-m`): what they are compared by, how many at once, what a failure means."""

    # ---- core ----
    # Metric that trials are compared by, as named in metrics.jsonl: eval/success,
    # rollout/reward/mean, time/step. The value of the last step counts; of time/ and per_second
    # the median.
    metric: str = text("eval/success", "name a metric, such as eval/success")
    # Which way is better: maximize or minimize.
    direction: str = word("maximize", ("maximize", "minimize"))
    # Most trials at once. More than the cores hold share them; GPUs and memory are never shared out
    # twice.
    max_parallel: Union[int, str] = number(
        AUTO, 1, MOST_TRIALS, auto="as many as GPUs, CPU cores and memory hold, at least one"
    )
    # Trials of a grid that run, in its order; 0: all.
    max_trials: int = number(0, 0, MOST_TRIALS, note="0: all")
    # What a failed trial means for the rest: continue, or stop (those that run end cleanly).
    on_failure: str = word("continue", ("continue", "stop"))
    # Further tries of a failed trial; a wrong configuration is not tried again.
    retries: int = number(0, 0, 1000)

    # ---- core, of a search ----
    # none: a grid of all values. Otherwise Optuna suggests the trials: tpe (learns from those
    # that ended), random, grid (every combination once), cmaes (two numbers or more).
    sampler: str = word("none", ("none", "tpe", "random", "grid", "cmaes"))
    # Trials of a search, those of an earlier launch included; raise it to go on.
    n_trials: Union[int, str] = number(AUTO, 1, MOST_TRIALS, auto="20; of a grid every combination")
    # Ends hopeless trials early, by sweep.metric at algorithm.eval_interval: none, asha
    # (successive halving), hyperband, median.
    pruner: str = word("none", ("none", "asha", "hyperband", "median"))

    # ---- advanced ----
    # Seed of the sampler.
    seed: int = number(0, 0, below=2**32)
    # Trials that tpe draws at random, and that median lets finish, before they learn.
    startup_trials: int = number(5, 0, MOST_TRIALS)
    # Training steps that every trial gets before it may be pruned; 0: algorithm.eval_interval.
    prune_after: int = number(0, 0, MOST_STEPS, unit="steps", note="0: algorithm.eval_interval")
    # asha and hyperband: one trial of so many goes on at each rung.
    reduction_factor: int = number(3, 2, 1000)
    # Try every legal layout of the hardware: the one that `auto` takes, then the others in the
    # order of the planner's estimate.
    layouts: bool = False
    # Host memory of one trial in GiB.
    memory_gib: Union[float, str] = number(
        AUTO, 0.1, 100_000, unit="GiB", auto="by engine and layout"
    )


@dataclass
class LearnConfig(Recorded):
    """The whole configuration of one training run."""

    # Seed of sampling, task order and initialisation.
    seed: int = number(1, 0, below=2**32, trinity=f"{_ROLLOUT}.seed trainer.trainer_config.seed")
    # What `rlagent evaluate` measures of a run: `base` (the model before training), `last`, a step,
    # or `all` checkpoints that are kept; several with commas.
    checkpoint: str = text("last", "name checkpoints, such as last or base,last")
    model: ModelConfig = field(default_factory=ModelConfig)
    dataset: DatasetConfig = field(default_factory=DatasetConfig)
    algorithm: AlgorithmConfig = field(default_factory=AlgorithmConfig)
    hardware: HardwareConfig = field(default_factory=HardwareConfig)
    workflow: WorkflowConfig = field(default_factory=WorkflowConfig)
    evaluate: EvaluateConfig = field(default_factory=EvaluateConfig)
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
            path: A YAML file. Its top-level keys show which of the two it is.

        Raises:
            ConfigError: With every mistake found: unknown keys with the nearest valid one,
                wrong types and ranges.
        """
        return reader(path)


def _no_reader(path: str) -> LearnConfig:
    raise NotImplementedError("api.py says which function reads a file")


reader: Callable[[str], LearnConfig] = _no_reader
"""What `LearnConfig.load_config` calls: it composes, which needs this module."""
