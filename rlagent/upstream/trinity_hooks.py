"""Methods of Trinity's that our subclasses replace or call, though Trinity does not offer them.

The subclasses are in rlagent.trinity and rlagent.backends; here is what each counts on. A patch
changes nothing: its `apply`, called when such an object is made, makes sure that Trinity still has
these methods and calls them.
"""

from rlagent.upstream.patch import Relies, patch
from rlagent.upstream.trinity_imports import LIBRARY, SOURCE, VERSIONS


def _replaced(cls: str, **signatures: str) -> list[Relies]:
    """Methods by name with their parameters, which their class calls: `cls` is `module:class`."""
    called = [Relies(f"trinity.{cls}", None, f"self.{name}(") for name in signatures]
    return [*_called(cls, **signatures), *called]


def _called(cls: str, **signatures: str) -> list[Relies]:
    return [Relies(f"trinity.{cls}.{name}", names) for name, names in signatures.items()]


@patch(
    LIBRARY,
    VERSIONS,
    f"{SOURCE}/explorer/explorer.py#L284",
    "Trinity's explorer raises, and can evaluate after the last step",
    [
        *_replaced("explorer.explorer:Explorer", _finish_explore_step="self, step"),
        *_called(
            "explorer.explorer:Explorer",
            explore_step="self",
            need_sync="self",
            sync_weight="self",
            finish_current_steps="self",
            eval="self",
            _pull_latest_weights="self",
            _nccl_weights_update="self",
        ),
    ],
)
def explorer_loop() -> None:
    """A loop of the explorer's own methods that fails loudly and evaluates on the edges.

    Trinity's own, which it is copied from, logs an error and goes on as if it had finished, and
    evaluates before it takes over the new weights.
    """


@patch(
    LIBRARY,
    VERSIONS,
    f"{SOURCE}/trainer/trainer.py#L104",
    "Trinity's trainer raises, and can be asked to stop",
    _called(
        "trainer.trainer:Trainer",
        _sample_data="self",
        train_step="self, exps",
        need_sync="self",
        need_save="self",
        sync_weight="self",
        save_checkpoint="self, block_until_saved, save_as_hf",
    ),
)
def trainer_loop() -> None:
    """A loop of the trainer's own methods that fails loudly and can be asked to stop.

    Trinity's own, which it is copied from, logs an error and goes on as if it had finished, and
    looks for new samples once a second.
    """


@patch(
    LIBRARY,
    VERSIONS,
    f"{SOURCE}/explorer/scheduler.py#L58",
    "Trinity's scheduler takes runners that share processes, and waits for events",
    [
        *_replaced("explorer.scheduler:RunnerWrapper", _create_runner="self"),
        *_called(
            "explorer.scheduler:RunnerWrapper",
            run_with_retry="self, task, repeat_times, run_id_base, timeout, collect_partial_runs",
        ),
        Relies("trinity.explorer.scheduler:Scheduler", None, ".run_with_retry("),
        *_replaced(
            "explorer.scheduler:Scheduler",
            _accumulate_task_result="self, task, status, experience_payload",
            _build_task_result="self, task",
            _split_and_submit_tasks="self, tasks, batch_id",
            _restart_runner="self, runner_id",
            _scheduler_loop="self",
            _schedule_pending_tasks="self",
            _wait_for_batch_results=(
                "self, batch_id, min_num, scheduled_num, timeout, clear_timeout_tasks, "
                "return_partial_tasks"
            ),
        ),
        *_called("explorer.scheduler:Scheduler", _create_runner="self, runner_id"),
        Relies("trinity.explorer.scheduler:Scheduler", None, "self._create_runner("),
    ],
)
def scheduler_slots() -> None:
    """Runners that are slots of a few processes, each rollout of a task by itself.

    Trinity gives each running task a process of its own, which costs seconds and some 400 MB, and
    looks for what there is to do every 10 ms.
    """


@patch(
    LIBRARY,
    VERSIONS,
    f"{SOURCE}/explorer/rollout_coordinator.py#L314",
    "Trinity's results count rollouts and keep their first errors",
    _replaced(
        "explorer.rollout_coordinator:RolloutCoordinator",
        _init_scheduler="self",
        _init_experience_pipeline="self",
        _build_batch_result="self, batch_state, pipeline_metrics",
    ),
)
def coordinator_results() -> None:
    """Results of a batch that also say which rollouts failed, and why; with our scheduler."""


@patch(
    LIBRARY,
    VERSIONS,
    f"{SOURCE}/explorer/workflow_runner.py#L252",
    "Trinity's runner runs many rollouts at once, each of which fails alone",
    _replaced(
        "explorer.workflow_runner:WorkflowRunner",
        _execute_single_run="self, workflow, task, run_index, run_id_base",
        _run_workflow="self, workflow_instance",
    ),
)
def runner_rollouts() -> None:
    """Rollouts with a key of their own; none ends its process, whatever it raises."""


@patch(
    LIBRARY,
    VERSIONS,
    f"{SOURCE}/buffer/storage/queue.py#L371",
    "Trinity's queue hands on whole steps, and knows what can no longer come",
    [
        *_called(
            "buffer.storage.queue:QueueStorage",
            put_batch="self, exp_bytes",
            get_batch="self, batch_size, timeout, min_model_version",
            length="self",
        ),
        Relies("trinity.buffer.storage.queue:QueueStorage.exp_pool"),
        Relies("trinity.buffer.storage.queue:QueueStorage.queue"),
        Relies("trinity.buffer.storage.queue:QueueStorage.writer"),
    ],
)
def queue_of_steps() -> None:
    """A queue that is read one explore step at a time, or whose batches are short at the end.

    Trinity's gives a fixed number of experiences, or waits for them until its time is over.
    """


@patch(
    LIBRARY,
    VERSIONS,
    f"{SOURCE}/buffer/task_scheduler.py#L84",
    "Trinity reads further tasks for a step whose groups say nothing",
    [
        *_called("buffer.reader.file_reader:FileReader", _read_sync="self, batch_size, **kwargs"),
        Relies("trinity.buffer.reader.file_reader:FileReader.reader"),
        Relies("trinity.buffer.reader.file_reader:_HFBatchReader.total_samples"),
        Relies("trinity.buffer.task_scheduler:SimpleTasksetScheduler.reader"),
        Relies("trinity.buffer.task_scheduler:TasksetScheduler.tasksets"),
        Relies("trinity.buffer.task_scheduler:TasksetScheduler.base_taskset_ids"),
    ],
)
def refilled_steps() -> None:
    """Tasks read beyond those of the steps; Trinity's filter of groups explores no others."""


@patch(
    LIBRARY,
    VERSIONS,
    f"{SOURCE}/trainer/verl/trainer.py#L793",
    "Trinity's verl trainer takes steps of any size, in one update",
    [
        *_replaced(
            "trainer.verl.trainer:VERLTrainer",
            _balance_batch="self, batch, metrics",
            _compute_old_log_prob="self, batch, metrics",
            _compute_ref_log_prob="self, batch",
            _compute_values="self, batch",
            _update_actor="self, batch, metrics",
            _update_critic="self, batch, metrics",
            _get_dp_size="self",
        ),
        Relies("trinity.trainer.verl.trainer:VERLTrainer.use_reference_policy"),
        Relies("trinity.trainer.verl.monkey_patch:left_right_2_no_padding", "data"),
        Relies(
            "trinity.algorithm.policy_loss_fn.policy_loss_fn:PolicyLossFnMeta", None, "_select_keys"
        ),
    ],
)
def verl_steps() -> None:
    """Whole steps for verl, padded to what its ranks divide; no reference model that nothing reads.

    `_update_actor` is copied from Trinity's, which fixes mini-batches to train_batch_size.
    """


@patch(
    LIBRARY,
    VERSIONS,
    f"{SOURCE}/common/models/vllm_worker.py#L20",
    "Trinity patches mixtures of experts only where the model is one",
    [
        Relies("trinity.common.models.vllm_worker:TrinityGPUWorker.apply_patches", "self"),
        Relies("trinity.common.models.vllm_worker:_suppress_layerwise_reload_warnings", ""),
        Relies(
            "trinity.common.models.vllm_patch.worker_patch:patch_vllm_prompt_logprobs",
            "model_runner",
        ),
    ],
)
def vllm_worker_patches() -> None:
    """Trinity's patches to vLLM without the one for mixtures of experts, where the model is none.

    That one imports verl and eight model classes, seconds in which all else waits for the engine.
    """
