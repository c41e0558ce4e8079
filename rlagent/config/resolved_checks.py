"""What only shows once `auto` is filled: what a recipe brought, rows, columns, divisibility."""

import math

from rlagent.backends.registry import engine_named, trainer_named
from rlagent.base.errors import Problem
from rlagent.config.batch import count_rows
from rlagent.config.check import algorithm_problems, value_problems
from rlagent.config.contradictions import number_contradictions
from rlagent.config.conversations import file_problems
from rlagent.config.held_out import splits_itself
from rlagent.config.lora import lora_problems
from rlagent.config.mix import parts_of
from rlagent.config.overruled import overruled_problems
from rlagent.config.row_folders import files_of, size_of
from rlagent.config.row_view import view_of
from rlagent.config.schema import DatasetConfig, LearnConfig
from rlagent.config.shapes import read_positions
from rlagent.config.step_workload import TOKENS_PER_GPU, asked_tokens_per_gpu
from rlagent.config.supervised import is_supervised
from rlagent.config.task_files import (
    CHECKED_EARLY,
    is_function,
    is_table,
    missing_split,
    scan,
    split_file,
    table_problems,
)
from rlagent.config.trinity_checks import override_problems
from rlagent.planner.layout import Layout


def resolved_problems(config: LearnConfig, layout: Layout, measures: bool = False) -> list[Problem]:
    """Return what is wrong in a resolved configuration; `measures`: nothing is trained."""
    # Recipes and presets of one's own fill `auto` with whatever they hold.
    problems = value_problems(config)
    if problems:
        return problems
    problems = number_contradictions(config) + algorithm_problems(config)
    problems += _positions(config)
    if measures:
        return problems + _dataset(config, trained=splits_itself(config.dataset))
    problems += _batch(config, layout) + _micro_batch(config, layout) + lora_problems(config)
    contradicted = overruled_problems(config)
    said = {problem.key for problem in contradicted}
    on_gpus = engine_named(config.hardware.engine).on_gpus
    found = override_problems(config, on_cpu=not on_gpus)
    problems += contradicted + [problem for problem in found if problem.key not in said]
    return problems + _dataset(config)


def _positions(config: LearnConfig) -> list[Problem]:
    longest, positions = int(config.model.max_model_len), read_positions(config.model.path)
    scaled = "rope_scaling" in (config.trinity.get("model") or {})
    if positions is None or longest <= positions or scaled:
        return []
    return [
        Problem(
            "model.max_model_len",
            longest,
            f"the model's positions end at {positions} (max_position_embeddings of config.json)",
            "lower it, or scale the positions with trinity.model.rope_scaling",
        )
    ]


def _micro_batch(config: LearnConfig, layout: Layout) -> list[Problem]:
    """verl takes no sequence that is longer than a micro-batch (prepare_micro_batches)."""
    trainer = trainer_named(engine_named(config.hardware.engine).trainer)
    asked = asked_tokens_per_gpu(config)
    longest = int(config.model.max_model_len)
    least = math.ceil(longest / layout.sequence_parallel)
    if asked is None or asked >= least or not trainer.micro_batches:
        return []
    return [
        Problem(
            f"trinity.{TOKENS_PER_GPU}",
            asked,
            f"the longest sequence has {longest} tokens, model.max_model_len, "
            f"on {layout.sequence_parallel} GPU{'s' * (layout.sequence_parallel > 1)}",
            f"take at least {least}, or leave it to be chosen",
        )
    ]


def _batch(config: LearnConfig, layout: Layout) -> list[Problem]:
    algorithm, problems = config.algorithm, []
    rollouts = int(algorithm.batch_size) * int(algorithm.repeat_times)
    fixed = algorithm.train_batch_size
    if isinstance(fixed, int) and fixed % layout.data_parallel:
        problems.append(
            Problem(
                "algorithm.train_batch_size",
                fixed,
                f"is no multiple of the trainer's {layout.data_parallel} data-parallel parts",
                "take a multiple, or auto",
            )
        )
    noun = "conversations" if is_supervised(config) else "training tasks"
    for dataset in (part.dataset for part in parts_of(config.dataset)):
        rows = count_rows(dataset)
        if rows and int(algorithm.batch_size) > rows:
            problems.append(
                Problem(
                    "algorithm.batch_size",
                    algorithm.batch_size,
                    f"{dataset.path} has only {rows} {noun}",
                    f"take at most {rows}",
                )
            )
    if rollouts < layout.data_parallel:
        problems.append(
            Problem(
                "algorithm.batch_size",
                algorithm.batch_size,
                f"{rollouts} rollouts per step are fewer than the trainer's "
                f"{layout.data_parallel} data-parallel parts",
                "raise it",
            )
        )
    return problems


def _dataset(config: LearnConfig, trained: bool = True) -> list[Problem]:
    problems = [
        problem
        for part in parts_of(config.dataset)
        for problem in _taskset(part.dataset, part.key, trained)
    ]
    return problems or (_conversations(config.dataset) if trained and is_supervised(config) else [])


def _conversations(dataset: DatasetConfig) -> list[Problem]:
    """What is wrong with the conversations of files that are read in a moment, as they stand."""
    places = [("dataset.path", dataset.path, dataset.split)]
    if dataset.eval_split and not splits_itself(dataset):
        path = dataset.eval_path or dataset.path
        places.append(("dataset.eval_path", path, dataset.eval_split))
    problems = []
    for key, path, split in places if view_of(dataset).as_is else ():
        file = split_file(path, split)
        if file and not is_table(file) and size_of(file) <= CHECKED_EARLY:
            problems += [item for each in files_of(file) for item in file_problems(each, key, path)]
    return problems


def _taskset(dataset: DatasetConfig, prefix: str, trained: bool) -> list[Problem]:
    key = f"{prefix}.path"
    problems = _split(dataset, prefix, key, dataset.path, dataset.split) if trained else []
    if dataset.eval_split:
        key = f"{prefix}.eval_path" if dataset.eval_path else f"{prefix}.eval_split"
        path = dataset.eval_path or dataset.path
        if not problems or path != dataset.path:
            problems += _split(dataset, prefix, key, path, dataset.eval_split)
    return problems


def _split(dataset: DatasetConfig, prefix: str, key: str, path: str, split: str) -> list[Problem]:
    if is_function(path):
        return []
    file, view = split_file(path, split), view_of(dataset, prefix).without_code()
    if file is None:
        problem = missing_split(key, path, split)
        return [] if problem is None else [problem]
    if size_of(file) > CHECKED_EARLY:
        return []
    if is_table(file):
        return table_problems(file, dataset.columns, key, path, view)
    return scan(file, dataset.columns, key, path, view).problems
