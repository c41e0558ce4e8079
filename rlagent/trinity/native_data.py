"""The tasks of a native Trinity YAML: local JSON files whose rows a function of the user's gets.

They are handed over as written, as those of our own configuration are. Whatever else a taskset
names (tables, the hub, a slice of a split, a workflow of Trinity's, columns that Trinity reads
itself) is left to Trinity.
"""

import copy
from pathlib import Path
from typing import Any

from rlagent.base.errors import raise_if_any
from rlagent.config.task_files import is_table, missing_split, split_file
from rlagent.trinity.kept_tasks import WrittenRows, keep, rows_file


def prepare_native_data(
    buffer: dict[str, Any], run_dir: Path, given: bool
) -> tuple[dict[str, Any], list[str]]:
    """Keep such tasks in the run folder, and have their tasksets read there.

    Args:
        buffer: `buffer` of Trinity's configuration.
        run_dir: The run folder.
        given: Whether a function of the user's runs the tasks.

    Returns:
        `buffer` with those tasksets changed, and what is to be said about the tasks.

    Raises:
        ConfigError: A file or split is not there, or a row is wrong.
        RunError: As for `data.keep`.
    """
    buffer, found = copy.deepcopy(buffer), []
    for key, taskset in tasksets(buffer):
        path, split = str(taskset.get("path") or ""), str(taskset.get("split") or "train")
        if not path or taskset.get("storage_type", "file") != "file":
            continue
        file = split_file(path, split)
        if file is None and split.isidentifier():
            problem = missing_split(f"{key}.path", path, split)
            raise_if_any([problem] if problem else [])
        if file is not None and not is_table(file) and given and not _trinity_reads(taskset):
            found.append((key, path, file, taskset))
    names = [f"{number}-{key.rsplit('.', 1)[-1]}" for number, (key, *_) in enumerate(found)]

    def write(folder: Path) -> list[str]:
        for name, (key, path, file, taskset) in zip(names, found, strict=True):
            columns = named_columns(taskset)
            rows = WrittenRows(file, columns, f"{key}.path", path)
            rows.require(columns)
            rows.write(range(len(rows)), folder, name, "train")
        return []

    said = keep(run_dir, "the configuration", write)
    for name, (_, _, _, taskset) in zip(names, found, strict=True):
        data = run_dir / "data"
        taskset["path"], taskset["split"] = str(data / "tasks" / name), "train"
        taskset.pop("subset_name", None)
        rows = str(rows_file(data, name, "train"))
        taskset["workflow_args"] = {**(taskset.get("workflow_args") or {}), "rows": rows}
    return buffer, said


def tasksets(buffer: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """The tasksets of a configuration, with their keys.

    >>> tasksets({"explorer_input": {"taskset": {"path": "a"}, "eval_tasksets": [{"path": "b"}]}})
    ... # doctest: +NORMALIZE_WHITESPACE
    [('buffer.explorer_input.taskset', {'path': 'a'}),
     ('buffer.explorer_input.eval_tasksets.0', {'path': 'b'})]
    """
    tasks = buffer.get("explorer_input") or {}
    found = [("buffer.explorer_input.taskset", tasks["taskset"])] if tasks.get("taskset") else []
    for name in ("tasksets", "eval_tasksets"):
        several = enumerate(tasks.get(name) or [])
        found += [(f"buffer.explorer_input.{name}.{number}", each) for number, each in several]
    return found


def named_columns(taskset: dict[str, Any]) -> list[str]:
    """The columns that a taskset says its rows have; the function gets the rows whole.

    >>> named_columns({"format": {"prompt_key": "question", "response_key": None}})
    ['question']
    """
    columns = taskset.get("format") or {}
    return [name for key in ("prompt_key", "response_key") if (name := columns.get(key))]


def _trinity_reads(taskset: dict[str, Any]) -> bool:
    """Whether Trinity itself needs columns of the rows."""
    columns = taskset.get("format") or {}
    chosen = columns.get("workflow_key") or columns.get("reward_fn_key")
    return bool(chosen or (taskset.get("data_selector") or {}).get("feature_keys"))
