"""From a resolved configuration to Trinity's, as plain nested dicts: one function per group.

Pure: imports nothing of Trinity, touches no file. Trinity's own schema checks the result in
build.py. Keys keep Trinity's names; a key is written only where it differs from Trinity's default
or where being explicit helps the reader of trinity.yaml.
"""

import math
from pathlib import Path
from typing import Any

from rlagent.base.groups import EQUAL
from rlagent.base.paths import local_path, resolve_path
from rlagent.config.algorithms import BY_STATE, OF_SUCCESSES, OWN_LOSS, WITHOUT_ADVANTAGE
from rlagent.config.chat_templates import template_file
from rlagent.config.mix import parts_of
from rlagent.config.off_policy import rollout_correction
from rlagent.config.resolve import Resolved, keeps_best
from rlagent.config.schema import LearnConfig
from rlagent.trinity import given
from rlagent.trinity.kept_tasks import HELD_OUT, TRAIN, rows_file, taskset
from rlagent.trinity.native import native_tree
from rlagent.trinity.parts import (
    MONITOR_TYPE,
    cluster,
    engine_of,
    merge,
    namespace,
    start_of,
    task_timeout,
    trainer_of,
)

WORKFLOW_TYPE = "rlagent.trinity.workflow.AgentWorkflow"
WHOLE_STEPS = "rlagent.trinity.buffer.WholeStepSampling"
DROP, REFILL = GROUP_FILTERS = "reward_std_filter", "rlagent.trinity.refill.LiveGroups"
WEIGHT = "weight"
"""Share of a taskset among several, beside the settings of its selector."""
DIFFICULTY = "rlagent.trinity.curriculum.MeasuredDifficulty"
CUT_RESPONSE = "response_truncated"
"""Trinity's word for an answer that was cut at its longest."""
CHECKPOINTS = "checkpoints"
WATCHED_SECONDS = 86_400.0
"""Longer than the driver's own patience, which names what stands still."""


def to_trinity(resolved: Resolved, run_dir: str | Path, attempt: int = 1) -> dict[str, Any]:
    """Trinity's configuration for a run.

    Args:
        resolved: Without any `auto`.
        run_dir: The run folder; checkpoints and buffers go below it.
        attempt: Number of the attempt, written into its rows.

    Returns:
        A nested dict for Trinity's schema, `trinity:` overrides applied last.
    """
    config = resolved.config
    run_dir = Path(run_dir)
    native = getattr(resolved.composed, "native", None)
    if native:
        completed = native_tree(native, resolved, run_dir, attempt)
        return merge(completed, checkpoint_place(run_dir))
    workflow = workflow_args(config, run_dir, attempt)
    tree: dict[str, Any] = {
        "mode": "colocate" if resolved.layout.colocated and engine_of(config).on_gpus else "both",
        **checkpoint_place(run_dir),
        "ray_namespace": namespace(run_dir, attempt),
        "continue_from_checkpoint": True,
        "ignore_validator_suggestions": True,
        "algorithm": algorithm(config),
        "model": model(config),
        "cluster": cluster(resolved),
        "buffer": buffer(config, run_dir, workflow) if resolved.layout.engines else {},
        "explorer": explorer(resolved),
        "trainer": trainer(resolved),
        "synchronizer": synchronizer(resolved),
        "data_processor": data_processor(config),
        "monitor": {"monitor_type": MONITOR_TYPE},
    }
    if config.model.lora.rank is not None and resolved.layout.trainer_gpus:
        tree = merge(tree, trainer_of(config).adapter(config.model.lora))
    if not resolved.layout.engines:
        tree = {**merge(tree, given.parts(config, run_dir, workflow)), **given.WITHOUT_EXPLORER}
    return merge(merge(tree, config.trinity), checkpoint_place(run_dir))


def checkpoint_place(run_dir: Path) -> dict[str, Any]:
    """Where Trinity keeps everything of a run: checkpoint_root_dir/project/group/name.

    Always in the run folder: two runs in one folder would continue each other's checkpoints. A
    directory given elsewhere is linked from there, see launch/checkpoint_place.py.
    """
    return {
        "project": "",
        "group": "",
        "name": CHECKPOINTS,
        "checkpoint_root_dir": str(run_dir),
    }


def whole_steps(config: LearnConfig) -> bool:
    """Whether the trainer takes what each step produced, whatever its number."""
    return config.algorithm.train_batch_size == "auto"


def algorithm(config: LearnConfig) -> dict[str, Any]:
    """Trinity's `algorithm`."""
    ours = config.algorithm
    tree: dict[str, Any] = {
        "algorithm_type": ours.name,
        "repeat_times": ours.repeat_times,
        "optimizer": {
            "lr": ours.lr,
            "lr_warmup_steps": ours.lr_warmup_steps,
            "lr_scheduler_type": ours.lr_schedule,
            "weight_decay": ours.weight_decay,
            "clip_grad": ours.grad_clip,
        },
        "bypass_old_logprobs": not ours.recompute_old_logprobs,
    }
    if correction := rollout_correction(config):
        tree["rollout_correction"] = correction
    if ours.name in WITHOUT_ADVANTAGE:
        tree["advantage_fn"] = WITHOUT_ADVANTAGE[ours.name]
    if ours.name in OWN_LOSS:
        tree["policy_loss_fn"] = OWN_LOSS[ours.name]
    if whole_steps(config):
        tree["sample_strategy"] = WHOLE_STEPS
    if ours.loss_agg_mode is not None:
        tree["loss_agg_mode"] = ours.loss_agg_mode
    if ours.advantage_args:
        tree["advantage_fn_args"] = dict(ours.advantage_args)
    if ours.discount != 1 and ours.name in BY_STATE:
        # It discounts the rewards of each call itself, which it gets as they fell.
        tree.setdefault("advantage_fn_args", {}).setdefault("gamma", ours.discount)
    loss = dict(ours.policy_loss_args or {})
    if ours.clip_range is not None:
        loss["clip_range"] = ours.clip_range
    if loss:
        tree["policy_loss_fn_args"] = loss
    if ours.kl_coef is not None:
        if ours.kl_coef == 0:
            tree["kl_loss_fn"] = "none"
        else:
            tree["kl_loss_fn_args"] = {"kl_coef": ours.kl_coef}
    if ours.entropy_coef is not None:
        if ours.entropy_coef == 0:
            tree["entropy_loss_fn"] = "none"
        else:
            tree["entropy_loss_fn_args"] = {"entropy_coef": ours.entropy_coef}
    return tree


def model(config: LearnConfig) -> dict[str, Any]:
    """Trinity's `model`."""
    ours = config.model
    tree = {
        "model_path": resolve_path(ours.path),
        "max_model_len": ours.max_model_len,
        "max_response_tokens": ours.max_response_tokens,
        "temperature": ours.temperature,
        "top_p": ours.top_p,
        "top_k": ours.top_k,
        "trust_remote_code": ours.trust_remote_code,
        # The OpenAI interface refuses a prompt that is too long; it never cuts it.
        "enable_prompt_truncation": False,
    }
    if ours.enable_thinking is not None:
        tree["enable_thinking"] = ours.enable_thinking
    if ours.chat_template:
        tree["chat_template_path"] = str(template_file(ours.chat_template))
    return tree


def workflow_args(config: LearnConfig, run_dir: Path, attempt: int) -> dict[str, Any]:
    """What the workflow adapter is configured with."""
    return {
        "function": config.workflow.function,
        "judge": config.workflow.judge,
        "args": dict(config.workflow.args),
        "success_reward": config.workflow.success_reward,
        "timeout": config.workflow.timeout,
        "overlong_reward": config.workflow.overlong_reward,
        "truncated": config.workflow.truncated,
        "run_folder": str(run_dir),
        "attempt": attempt,
        "algorithm": config.algorithm.name,
        "discount": config.algorithm.discount,
        "group_by": config.algorithm.group_by,
        "free_tool_choice": config.model.tool_choice == "free",
        "keep_checkpoints": config.algorithm.keep_checkpoints if keeps_best(config) else 0,
    }


def buffer(config: LearnConfig, run_dir: Path, workflow: dict[str, Any]) -> dict[str, Any]:
    """Trinity's `buffer`: where tasks come from, and the queue between explorer and trainer."""
    ours, data = config.algorithm, config.dataset
    common = {
        "storage_type": "file",
        "default_workflow_type": WORKFLOW_TYPE,
        "workflow_args": workflow,
    }
    folder, parts = run_dir / "data", parts_of(data)
    training, held_out = [], []
    for part in parts:
        one = part.dataset
        kept, split = taskset(one, run_dir, part.train)
        arguments = {**workflow, "rows": str(rows_file(folder, part.train, TRAIN[1]))}
        train: dict[str, Any] = {
            **common,
            "workflow_args": arguments,
            "name": "train",
            "path": resolve_path(one.path) if kept is None else str(kept),
            "split": split,
            "data_selector": selector(config),
        }
        if len(parts) > 1:
            train["name"] = arguments["taskset"] = one.name
            settings = train["data_selector"].setdefault("kwargs", {})
            settings[WEIGHT] = part.weight
        # A copy on disk has no subsets, only the files of one.
        if one.subset and kept is None and local_path(one.path) is None:
            train["subset_name"] = one.subset
        training.append(train)
        if one.eval_split:
            # A part of the split, drawn once, so that every evaluation asks the same tasks.
            held_out.append(
                {
                    **common,
                    "workflow_args": {
                        **workflow,
                        "rows": str(rows_file(folder, part.held_out, HELD_OUT[1])),
                        "seed": config.seed,
                    },
                    "name": one.name if len(parts) > 1 else HELD_OUT[0],
                    "path": str(folder / "tasks" / part.held_out),
                    "split": HELD_OUT[1],
                    "repeat_times": config.evaluate.samples,
                    "rollout_args": {
                        "temperature": float(config.evaluate.temperature),
                        "top_p": float(config.evaluate.top_p),
                    },
                }
            )
    tree: dict[str, Any] = {
        "batch_size": ours.batch_size,
        "total_steps": ours.total_steps,
        "explorer_input": {"tasksets": training, "eval_tasksets": held_out},
        "trainer_input": {
            "experience_buffer": {
                "name": "experience_buffer",
                "storage_type": "queue",
                "max_read_timeout": stall_seconds(config),
            }
        },
    }
    if ours.total_epochs:
        tree["total_epochs"] = ours.total_epochs
    fixed = ours.train_batch_size
    # Trinity's own default, which a reader of whole steps does not ask for.
    rollouts = int(ours.batch_size) * int(ours.repeat_times)
    tree["train_batch_size"] = rollouts if fixed == "auto" else fixed
    return tree


def selector(config: LearnConfig) -> dict[str, Any]:
    """How tasks are chosen: one of Trinity's selectors, with its settings."""
    chosen: dict[str, Any] = {"selector_type": config.dataset.order, "seed": config.seed}
    if config.dataset.order == "difficulty":
        chosen |= {
            "selector_type": DIFFICULTY,
            "kwargs": curriculum(int(config.algorithm.repeat_times)),
        }
    return chosen


def curriculum(repeat_times: int) -> dict[str, Any]:
    """Settings of the selector by difficulty.

    A task at half of the reward is as likely as e^5 = 148 that earn all of it, or nothing. What was
    measured counts less by a hundredth (`lamb`) each step, for the weights move on, and the mean of
    all tasks stands in for it (`rho`): at Trinity's own 0.2 it would be forgotten long before a
    task comes again.
    """
    return {"target_reward": 0.5, "tau": 0.1, "m": repeat_times, "lamb": 0.01, "rho": 0.01}


def explorer(resolved: Resolved) -> dict[str, Any]:
    """Trinity's `explorer`: engines, and the slots that tasks run in."""
    config, layout = resolved.config, resolved.layout
    engine = engine_of(config)
    rollout: dict[str, Any] = {
        "engine_type": engine.trinity_types[0],
        "engine_num": layout.engines,
        "tensor_parallel_size": layout.tensor_parallel,
        "enable_openai_api": True,
        "enable_history": True,
        "enable_auto_tool_choice": config.model.tool_call_parser is not None,
        "tool_call_parser": config.model.tool_call_parser,
        "reasoning_parser": config.model.reasoning_parser,
        "seed": config.seed,
        **engine.settings(start_of(resolved)),
    }
    return {
        # One slot per task of a step: the tasks of a step all run at once.
        "runner_per_model": math.ceil(int(config.algorithm.batch_size) / max(1, layout.engines)),
        "concurrent_mode": "asynchronous",
        # A rollout that fails is counted, not repeated: repeating hides what goes wrong.
        "max_retry_times": 0,
        "max_timeout": task_timeout(config),
        "eval_interval": config.algorithm.eval_interval,
        "eval_on_startup": config.dataset.eval_split is not None,
        "rollout_model": rollout,
        "auxiliary_models": [
            {
                "name": auxiliary.name,
                "model_path": resolve_path(auxiliary.path),
                "engine_num": auxiliary.engines,
                **engine.auxiliary(auxiliary.tensor_parallel),
            }
            for auxiliary in config.workflow.auxiliary_models
        ],
    }


def trainer(resolved: Resolved) -> dict[str, Any]:
    """Trinity's `trainer`."""
    config, ours = resolved.config, resolved.config.algorithm
    chosen = trainer_of(config)
    # Read by both trainers (backends/updates.py); what verl does not know it leaves alone.
    asked = {name: getattr(ours, name) for name in ("updates_per_step", "epochs_per_step")}
    several = {name: number for name, number in asked.items() if number > 1}
    tree = {
        "trainer_type": chosen.name,
        "total_steps": ours.total_steps,
        "save_interval": ours.save_interval,
        # The best one would be removed too: see trainer.py.
        "max_checkpoints_to_keep": 0 if keeps_best(config) else ours.keep_checkpoints,
        "save_hf_checkpoint": "last",
        "grad_clip": ours.grad_clip,
        **chosen.settings(start_of(resolved)),
    }
    return merge(tree, {"trainer_config": several}) if several else tree


def stall_seconds(config: LearnConfig) -> float:
    """Seconds that Trinity's parts wait for each other: longer than the driver waits for them.

    Else an `asyncio.TimeoutError` of the one that waits would hide the one that stands still.
    """
    asked = config.run.stall_timeout
    return WATCHED_SECONDS if isinstance(asked, str) else max(WATCHED_SECONDS, 2 * asked)


def synchronizer(resolved: Resolved) -> dict[str, Any]:
    """Trinity's `synchronizer`."""
    config = resolved.config
    return {
        "sync_method": trainer_of(config).sync_method(resolved.layout.colocated),
        "sync_style": "fixed",
        "sync_interval": config.algorithm.sync_interval,
        "sync_offset": config.algorithm.max_lag,
        "sync_timeout": max(60, math.ceil(stall_seconds(config))),
    }


def data_processor(config: LearnConfig) -> dict[str, Any]:
    """Trinity's `data_processor`: conversations are kept by us, readable, not in a database."""
    ours = config.algorithm
    pipeline: dict[str, Any] = {"save_input": False}
    operators: list[dict[str, Any]] = []
    if config.dataset.order == "difficulty":
        # Before anything is left out or permuted.
        operators.append({"name": "pass_rate_calculator"})
    if config.workflow.truncated == "mask":
        operators.append({"name": "mask_response_truncated"})
    if ours.shuffle_rewards:
        operators.append(
            {"name": "rlagent.trinity.shuffle.ShuffleRewards", "args": {"seed": config.seed}}
        )
    if ours.filter_groups == "drop":
        operators.append({"name": DROP, "args": {"threshold": EQUAL}})
    elif ours.filter_groups == "refill":
        args = {"threshold": EQUAL, "limit": ours.refill_limit}
        operators.append({"name": REFILL, "args": args})
    if ours.name in OF_SUCCESSES:
        args = {"threshold": config.workflow.success_reward}
        operators.append({"name": "reward_filter", "args": args})
    if operators:
        pipeline["operators"] = operators
    return {"experience_pipeline": pipeline}
