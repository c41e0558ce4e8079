"""What becomes of every setting of Trinity's configuration, with rlagent around it: one table.

A line stands for one setting or for a whole group. A test holds that every setting of the
installed Trinity has a line, and that every line names something.
"""

from collections.abc import Iterable

from rlagent.backends.registry import TRAINERS, automatic_engine, engines, trainer_named
from rlagent.config.trinity_fate import ASIDE, Fate, obeyed, on_gpus, one_of, refused

EXPLORER, TRAINER, DATA = "Trinity's explorer", "both trainers", "Trinity's readers"
ENGINES, VLLM, VERL = "the rollout engines", "vLLM", "verl"
RLAGENT = "rlagent"

_ON_CPU = automatic_engine(on_gpus=False)
CPU_ENGINE_ARGS = _ON_CPU.extra_args
CPU_TRAINER_CONFIG = trainer_named(_ON_CPU.trainer).config_keys

INTERNAL = refused("is Trinity's own to set")
SERVING = refused("is for Trinity's modes bench and serve, which rlagent does not run")
NO_SQL = refused("is for a database, which nothing is read from")
BY_FUNCTION = "what runs is the function given to learn() or named by workflow.function"
BY_ADAPTER = refused(
    BY_FUNCTION,
    "leave it out",
    None,
    # AgentScope's own, in the place of which stands that of rlagent.
    "agentscope_workflow_adapter",
    "agentscope_workflow_adapter_v1",
)
BY_ROW = refused("the workflow gets the whole row as `task`, whatever its columns are called")
OPENAI = "the OpenAI interface, by which agents call the model, has no such setting"


def _under(prefix: str, lines: dict[str, Fate]) -> dict[str, Fate]:
    return {f"{prefix}.{key}" if key else prefix: fate for key, fate in lines.items()}


def _all(names: str, fate: Fate) -> dict[str, Fate]:
    return dict.fromkeys(names.split(), fate)


_TOP = {
    # `colocate` is `both` on one GPU.
    "mode": one_of(
        RLAGENT,
        ("both", "colocate"),
        "rlagent explores and trains in one run, and measures the held-out tasks itself",
        ours="hardware.layout",
    ),
    "project": obeyed(RLAGENT),
    "group": obeyed(RLAGENT),
    "name": obeyed(RLAGENT),
    "checkpoint_root_dir": obeyed(RLAGENT),
    "checkpoint_job_dir": INTERNAL,
    "ray_namespace": refused("each attempt at a run has a namespace of its own"),
    "continue_from_checkpoint": obeyed(RLAGENT, "run.fresh"),
    "ignore_validator_suggestions": obeyed("Trinity's validators"),
    "stages": refused(
        "a run has one stage", "make a run of each, with the model of the one before as model_path"
    ),
    "service.data_juicer": refused("no run starts or asks a Data-Juicer server"),
    "log.level": obeyed("Trinity's logger"),
    "log.group_by_node": obeyed("Trinity's logger"),
    "log.save_dir": INTERNAL,
}

_ALGORITHM = {
    **_all(
        "algorithm_type repeat_times advantage_fn advantage_fn_args policy_loss_fn "
        "policy_loss_fn_args kl_loss_fn kl_loss_fn_args kl_penalty_fn kl_penalty_fn_args "
        "entropy_loss_fn entropy_loss_fn_args loss_agg_mode bypass_old_logprobs "
        "sample_strategy sample_strategy_args",
        obeyed(TRAINER),
    ),
    **_all(
        "optimizer.lr optimizer.lr_warmup_steps optimizer.lr_warmup_steps_ratio "
        "optimizer.min_lr_ratio optimizer.warmup_style optimizer.lr_scheduler_type "
        "optimizer.optimizer_type optimizer.betas optimizer.weight_decay",
        obeyed(TRAINER),
    ),
    "optimizer.clip_grad": on_gpus(VERL, "the CPU trainer clips at trainer.grad_clip"),
    "enable_router_replay": on_gpus(VLLM, "the CPU engine replays no expert routing"),
    "rollout_correction": refused(
        "Trinity 0.6.0 passes it to no trainer",
        "algorithm.bypass_old_logprobs: false has the trainer compute the old log-probabilities",
    ),
}

_MODEL = {
    **_all(
        "model_path trust_remote_code custom_chat_template chat_template_path temperature top_p "
        "top_k max_model_len max_response_tokens enable_thinking",
        obeyed(ENGINES),
    ),
    "critic_model_path": on_gpus(VERL, "the CPU trainer has no critic"),
    "logprobs": refused("the engines return what training needs", "leave it out", 0, None),
    "max_prompt_tokens": obeyed("Trinity's validators, for max_model_len"),
    "min_response_tokens": refused(OPENAI),
    "enable_prompt_truncation": refused(
        "a prompt that is too long is refused, never cut: cut, it would be another task",
        "leave it out",
        False,
    ),
    "repetition_penalty": on_gpus(VLLM, "the CPU engine knows no repetition penalty"),
    "lora_configs[]": Fate(
        VERL,
        cpu="here model.lora asks for an adapter",
        ours="model.lora",
    ),
    "fully_sharded_loras": on_gpus(VLLM),
    "max_cpu_loras": on_gpus(VLLM),
    "rope_scaling": on_gpus(VLLM, "the CPU engine takes positions as the model's config.json says"),
    "rope_theta": on_gpus(VLLM, "the CPU engine takes positions as the model's config.json says"),
    "tinker": refused("the Tinker service is no engine of rlagent"),
    "external_model": refused("a model behind an API cannot be trained"),
}

_CLUSTER = {
    "ray_address": obeyed(RLAGENT, "hardware.ray"),
    "node_num": on_gpus("a cluster"),
    "gpu_per_node": obeyed(RLAGENT, "hardware.gpus"),
    **_all(
        "total_gpu_num rollout_gpu_num auxiliary_model_gpu_num explorer_gpu_num trainer_gpu_num "
        "trainer_node_num trainer_gpu_num_per_node",
        INTERNAL,
    ),
}

_FORMAT = {
    **_all(
        "prompt_type prompt_key response_key system_prompt_key system_prompt messages_key "
        "tools_key image_key video_key reply_prefix chosen_key rejected_key "
        "enable_concatenated_multi_turn chat_template enable_thinking",
        BY_ROW,
    ),
    "workflow_key": refused(BY_FUNCTION, "leave it out; the function may look at the row"),
    "reward_fn_key": refused("the reward is what the function or the judge returns"),
}


_COLUMNS = _all(
    "format.prompt_key format.response_key",
    obeyed("rlagent, which asks every row for that column", "dataset.columns"),
)


def _taskset(ours: str) -> dict[str, Fate]:
    """A taskset; `ours` is the key of rlagent that stands for all of it."""
    lines = {
        **_all("name path split subset_name enable_progress_bar", obeyed(DATA, ours)),
        "storage_type": one_of(DATA, ("file",), "tasks come from files or a hub", ours=ours),
        "default_workflow_type": BY_ADAPTER,
        "default_reward_fn_type": refused("the reward is what the function or the judge returns"),
        **_all("rollout_args.temperature rollout_args.top_p", obeyed(ENGINES, ours)),
        **_all("rollout_args.top_k rollout_args.max_tokens", obeyed(ENGINES, ours)),
        "rollout_args.logprobs": refused(
            "the engines return what training needs", "leave it out", 0, None
        ),
        "rollout_args.n": refused("is Trinity's own to set", "set algorithm.repeat_times"),
        "workflow_args": obeyed("the workflow, as task['workflow_args']", ours),
        "reward_fn_args": refused("there is no reward function of Trinity's to take them"),
        **_under("data_selector", _selector(ours)),
        **_under("task_selector", _selector(ours)),
        **_under("format", _FORMAT),
        **_all("max_retry_times max_retry_interval", NO_SQL),
        "repeat_times": refused("training tasks are repeated algorithm.repeat_times times"),
        **_all("index is_eval batch_size total_epochs total_steps ray_namespace", INTERNAL),
    }
    return lines


def _selector(ours: str) -> dict[str, Fate]:
    return _all("selector_type seed feature_keys kwargs", obeyed(DATA, ours))


_QUEUE = obeyed("Trinity's queue", whole=True)
_BUFFER = {
    **_all("batch_size train_batch_size total_epochs total_steps", obeyed(RLAGENT)),
    **_all("tokenizer_path cache_dir explorer_output", INTERNAL),
    **_under("explorer_input.taskset", _taskset("dataset.path") | _COLUMNS),
    **_under("explorer_input.tasksets[]", _taskset("dataset.path") | _COLUMNS),
    **_under("explorer_input.eval_tasksets[]", _taskset("dataset.eval_path") | _COLUMNS),
    "explorer_input.eval_tasksets[].repeat_times": obeyed(EXPLORER, "dataset.eval_path"),
    **_all(
        "explorer_input.default_workflow_type explorer_input.default_eval_workflow_type",
        BY_ADAPTER,
    ),
    "explorer_input.default_reward_fn_type": refused(
        "the reward is what the function or the judge returns"
    ),
    "trainer_input.auxiliary_buffers": refused(
        "nothing but rollouts is trained on, so no algorithm here reads another buffer"
    ),
    **_under(
        "trainer_input.experience_buffer",
        {
            "name": obeyed("Trinity's queue"),
            "storage_type": one_of(
                RLAGENT, ("queue",), "experiences go from explorer to trainer through a queue"
            ),
            **_all("path capacity max_read_timeout", _QUEUE),
            **_under(
                "replay_buffer",
                _all("enable priority_fn reuse_cooldown_time priority_fn_args", _QUEUE),
            ),
            **_all("max_retry_times max_retry_interval", NO_SQL),
            **_all(
                "split subset_name format enable_progress_bar data_selector",
                refused("is for experiences in files, which nothing is read from"),
            ),
            **_all(
                "schema_type index batch_size tokenizer_path total_epochs total_steps "
                "ray_namespace",
                INTERNAL,
            ),
        },
    ),
}

_MODEL_SAYS = "is taken from `model`"


def _engine(own: Iterable[tuple[str, Fate]]) -> dict[str, Fate]:
    """A rollout engine or auxiliary model; `own` holds the lines in which the two differ."""
    return {
        **_all(
            "seed chat_template enable_thinking enable_auto_tool_choice "
            "reasoning_parser ignore_eos",
            obeyed(ENGINES),
        ),
        **_all(
            "engine_num tensor_parallel_size data_parallel_size pipeline_parallel_size "
            "enable_expert_parallel use_v1 enforce_eager enable_prefix_caching "
            "enable_chunked_prefill gpu_memory_utilization dtype enable_log_requests base_port "
            "tool_call_parser "
            "weight_sync_buffer_size",
            on_gpus(VLLM),
        ),
        "extra_engine_args": on_gpus(VLLM, cpu_keys=CPU_ENGINE_ARGS),
        "enable_multimodal": on_gpus(VLLM, "the CPU engine reads text only"),
        "enable_openai_api": refused("agents call the model by it", "leave it out", True),
        "enable_history": refused("rlagent records the calls itself", "leave it out", True, False),
        "api_key": refused("rlagent reaches its engines by itself"),
        "external_model_config": refused("a model behind an API cannot be trained"),
        **_all("min_response_tokens", refused(OPENAI)),
        "enable_prompt_truncation": refused(OPENAI, "leave it out", False, None),
        **_all(
            "gpu_per_engine nnodes node_rank enable_return_routed_experts bundle_indices "
            "engine_id ray_namespace ray_actor_name sync_method checkpoint_job_dir "
            "cuda_visible_devices enable_lora enable_runtime_lora_updating lora_modules "
            "lora_kwargs",
            INTERNAL,
        ),
        **dict(own),
    }


_ENGINE_TYPE = one_of(
    RLAGENT,
    tuple(name for each in engines() if each.trainer for name in each.trinity_types),
    "rlagent runs vLLM on GPUs and its own engine on a CPU",
    "write vllm",
    "hardware.engine",
)
_ROLLOUT_MODEL = _engine(
    [
        ("engine_type", _ENGINE_TYPE),
        *_all(
            "model_path name trust_remote_code temperature top_p top_k logprobs max_model_len "
            "max_prompt_tokens max_response_tokens repetition_penalty rope_scaling rope_theta",
            refused(_MODEL_SAYS, "set it in `model`"),
        ).items(),
    ]
)
_AUXILIARY_MODEL = _engine(
    [
        ("engine_type", _ENGINE_TYPE),
        *_all(
            "model_path name trust_remote_code temperature top_p top_k max_model_len "
            "max_response_tokens",
            obeyed(ENGINES),
        ).items(),
        *_all("logprobs max_prompt_tokens", refused(OPENAI)).items(),
        *_all(
            "repetition_penalty rope_scaling rope_theta",
            on_gpus(VLLM, "the CPU engine knows no such setting"),
        ).items(),
    ]
)

_EXPLORER = {
    "name": refused("the records of a run are found by the name explorer"),
    "runner_per_model": obeyed("the scheduler: so many rollouts at once per engine"),
    "runner_prepare_concurrency": obeyed(EXPLORER),
    "runner_prepare_max_retries": obeyed(EXPLORER),
    "max_timeout": obeyed("the workflow adapter, as workflow.timeout", "workflow.timeout"),
    "max_retry_times": obeyed(EXPLORER),
    "env_vars": obeyed("the processes that run agent code"),
    "concurrent_mode": refused(
        "the rollouts of a task run side by side; a function that is not async has a thread",
        "leave it out",
        "asynchronous",
    ),
    "max_repeat_times_per_runner": refused(
        "every rollout is run by itself", "leave it out", None, 1
    ),
    "runner_num": refused("Trinity dropped it", "set explorer.runner_per_model"),
    **_under("rollout_model", _ROLLOUT_MODEL),
    **_under("auxiliary_models[]", _AUXILIARY_MODEL),
    "eval_interval": obeyed(EXPLORER),
    "eval_on_startup": obeyed(RLAGENT),
    **_all(
        "bench_on_latest_checkpoint proxy_port listen_address service_status_check_interval "
        "min_running_model_num db_url",
        SERVING,
    ),
    **_all(
        "over_rollout.ratio over_rollout.wait_after_min over_rollout.return_partial_tasks "
        "dynamic_timeout.enable dynamic_timeout.warmup_min_steps dynamic_timeout.ratio "
        "runner_state_report_interval max_inflight_batches",
        obeyed(EXPLORER),
    ),
}

_TRAINER = {
    "name": refused("the records of a run are found by the name trainer"),
    "trainer_type": one_of(
        RLAGENT,
        TRAINERS,
        "rlagent trains with verl on GPUs and its own trainer on a CPU",
        "write verl",
        "hardware.engine",
    ),
    "trainer_strategy": one_of(
        VERL, ("fsdp2", "fsdp"), "rlagent's trainer shards with FSDP", cpu=ASIDE
    ),
    **_all(
        "save_interval total_steps save_hf_checkpoint grad_clip max_checkpoints_to_keep",
        obeyed(TRAINER),
    ),
    "enable_preview": refused("every rollout is kept", "`rlagent rollouts RUN` shows them"),
    **_all(
        "use_dynamic_bsz use_remove_padding balance_batch max_token_len_per_gpu "
        "ulysses_sequence_parallel_size fix_actor_microbatch_loss_scale param_offload "
        "optimizer_offload grad_offload offload_policy save_strategy",
        on_gpus(VERL),
    ),
    "trainer_config": on_gpus(VERL, cpu_keys=CPU_TRAINER_CONFIG),
    "critic_warmup": on_gpus(VERL, "the CPU trainer has no critic to warm up"),
    "megatron": refused("rlagent's trainer shards with FSDP"),
    "trust_remote_code": INTERNAL,
    "trainer_config_path": refused("Trinity dropped it", "set trainer.trainer_config"),
}

_MONITOR = {
    "monitor_type": one_of(
        RLAGENT,
        ("wandb", "tensorboard"),
        "a run is mirrored to W&B or TensorBoard, and always has its report",
        ours="monitor.type",
    ),
    "monitor_args": refused("the mirror takes none", "WANDB_* variables reach W&B"),
    "detailed_stats": refused("evaluations log the same metrics in every run"),
    "enable_ray_timeline": refused("no timeline is written"),
    "cache_dir": INTERNAL,
}

_SYNCHRONIZER = {
    # On a CPU weights go by memory, unless by checkpoint.
    "sync_method": Fate("NCCL", cpu=ASIDE, gpu_values=("nccl", "online")),
    **_all(
        "sync_style sync_interval explorer_sync_interval trainer_sync_interval sync_offset "
        "sync_timeout",
        obeyed("Trinity's synchronizer"),
    ),
    "group_name": on_gpus("NCCL"),
    "wait_for_checkpoint": refused("Trinity 0.6.0 does not read it"),
    **_all("explorer_world_size ray_namespace", INTERNAL),
}

_DATA_PROCESSOR = {
    "task_pipeline": refused(
        "tasks are read as they are", "process the dataset before, and name the result as path"
    ),
    **_all(
        "experience_pipeline.operators[].name experience_pipeline.operators[].args "
        "experience_pipeline.save_input experience_pipeline.input_save_path",
        obeyed("Trinity's experience pipeline"),
    ),
    "experience_pipeline.inputs": refused("experiences come from the explorer alone"),
    "experience_pipeline.output": refused("experiences go to the trainer's queue"),
}

TABLE: dict[str, Fate] = {
    **_TOP,
    **_under("algorithm", _ALGORITHM),
    **_under("model", _MODEL),
    **_under("cluster", _CLUSTER),
    **_under("buffer", _BUFFER),
    **_under("explorer", _EXPLORER),
    **_under("trainer", _TRAINER),
    **_under("monitor", _MONITOR),
    **_under("synchronizer", _SYNCHRONIZER),
    **_under("data_processor", _DATA_PROCESSOR),
}
"""Every setting of Trinity, by its key; `[]` stands for each place of a list, `{}` for each name.
"""
