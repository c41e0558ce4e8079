"""Whether model, dataset and W&B can be reached, without downloading and without showing keys."""

import os
from collections.abc import Sequence
from pathlib import Path

from rlagent.base.paths import local_path
from rlagent.base.words import short_path
from rlagent.config.estimate import is_cached
from rlagent.config.mix import parts_of
from rlagent.config.requirements import required
from rlagent.config.schema import DatasetConfig, LearnConfig, MonitorConfig
from rlagent.config.task_files import is_function, missing_split, split_file
from rlagent.health.row import FAIL, OK, WARN, Answer, Row, run_python
from rlagent.records.parents import run_of_export
from rlagent.records.wandb_access import DEFAULT_URL, NO_KEY, wandb_access

HUB_TIMEOUT = 20.0
"""Seconds for one question to the hub, names and connections included."""

TABLES = ("*.parquet", "*.arrow", "*.csv")

KINDS = {"model": "models", "dataset": "datasets"}


def reach_rows(config: LearnConfig) -> list[Row]:
    """Rows for every model and dataset that the run reads."""
    rows = [model_row("model", "model.path", config.model.path)]
    rows += [
        model_row(f"model {item.name}", "workflow.auxiliary_models", item.path)
        for item in config.workflow.auxiliary_models
    ]
    data = config.dataset
    rows.append(dataset_row("dataset", "dataset.path", data.path, data.split, data))
    if data.eval_path and data.eval_split:
        rows.append(
            dataset_row("held-out", "dataset.eval_path", data.eval_path, data.eval_split, data)
        )
    rows += [
        dataset_row(one.name, f"{part.key}.path", one.path, one.split, one)
        for part in parts_of(data)[1:]
        for one in (part.dataset,)
    ]
    return rows


def required_rows(requires: Sequence[str]) -> list[Row]:
    """A row for each thing that the workflow requires where it runs."""
    found = required(requires)
    return [
        Row(FAIL, each.name, "not here", remedy=each.lack)
        if each.lack
        else Row(OK, each.name, "ok")
        for each in found
    ]


def model_row(label: str, key: str, path: str) -> Row:
    """A local folder with config.json and weights, or a hub id that answers."""
    local = local_path(path)
    if local is None:
        return hub_row(label, key, path, "model")
    if exported := run_of_export(path):
        run, step = exported
        return Row(OK, label, f"step {step} of {run.name}")
    missing = [
        what
        for what, pattern in (("config.json", "config.json"), ("weights", "*.safetensors"))
        if not list(local.glob(pattern))
    ]
    if missing and not (missing == ["weights"] and list(local.glob("*.bin"))):
        return Row(
            FAIL,
            label,
            f"{short_path(local)} has no {' and no '.join(missing)}",
            remedy=f"{key} must be a Hugging Face model folder, a hub id or builtin:tiny",
        )
    return Row(OK, label, path if path.startswith("builtin:") else short_path(local))


def dataset_row(label: str, key: str, path: str, split: str, data: DatasetConfig) -> Row:
    """A file or folder whose rows are found, one for `datasets` to read, or a hub id that answers;
    plan and train read the rows themselves."""
    if is_function(path):
        return Row(OK, label, f"{path} makes them")
    local = local_path(path)
    if local is None:
        return hub_row(label, key, path, "dataset")
    file = split_file(path, split)
    if file is not None:
        return Row(OK, label, path if path.startswith("builtin:") else short_path(file))
    tables = [item for kind in TABLES for item in local.rglob(kind)]
    problem = missing_split(key, path, split)
    if problem is None and tables:
        return Row(OK, label, f"{short_path(local)}, {len(tables)} files for `datasets` to read")
    message = "no rows that `datasets` would read" if problem is None else problem.message
    remedy = f"{key} must be a .jsonl file, a folder with {split}.jsonl, or a hub id"
    return Row(FAIL, label, f"{short_path(local)}: {message}", remedy=remedy)


def hub_row(label: str, key: str, name: str, kind: str) -> Row:
    """Something on the Hugging Face hub: in the local cache, or the hub answers for it."""
    if is_cached(name, KINDS[kind]):
        return Row(OK, label, f"{name}, in the local cache")
    if hub_is_off():
        return Row(
            FAIL,
            label,
            f"{name} is not in the local cache, and HF_HUB_OFFLINE is set",
            remedy=f"unset HF_HUB_OFFLINE, or give a local folder: {key}=PATH",
        )
    answer = ask_hub(name, kind)
    if answer.ok:
        return Row(OK, label, f"{name}, on the hub; will be downloaded")
    return Row(FAIL, label, f"{name}: {answer.error}", remedy=hub_remedy(answer.error, key))


def hub_is_off(environ: "os._Environ[str] | dict[str, str]" = os.environ) -> bool:
    """Whether Hugging Face libraries are set to stay offline."""
    words = (environ.get(name, "") for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"))
    return any(word.upper() in ("1", "TRUE", "YES", "ON") for word in words)


def ask_hub(name: str, kind: str) -> Answer:
    """Ask the hub for one small file's headers: this also finds gated and missing ones."""
    file = "config.json" if kind == "model" else "README.md"
    code = (
        "import sys\n"
        "from huggingface_hub import get_hf_file_metadata, hf_hub_url\n"
        "from huggingface_hub.errors import EntryNotFoundError\n"
        "try:\n"
        f"    get_hf_file_metadata(hf_hub_url({name!r}, {file!r}, repo_type={kind!r}), timeout=8)\n"
        "except EntryNotFoundError:\n"
        "    print('no such file, but the repository is there')\n"
        "except Exception as error:\n"
        "    first = (str(error).strip().splitlines() or [''])[0]\n"
        "    sys.exit(f'{type(error).__name__}: {first}')\n"
    )
    return run_python(code, HUB_TIMEOUT)


def hub_remedy(error: str, key: str) -> str:
    """What to do about the hub's answer."""
    if "Gated" in error:
        return "ask for access on the model's page, then log in: hf auth login"
    if "RepositoryNotFound" in error:
        return f"check the spelling of {key}; a private one needs: hf auth login"
    return f"check the connection (HF_ENDPOINT sets a mirror), or give a local folder: {key}=PATH"


def wandb_row(monitor: MonitorConfig) -> Row:
    """Where W&B's key is and which mode follows. W&B never keeps a run from starting, unless
    the run asks for online without a key."""
    access = wandb_access(monitor.mode)
    key = f"key in {_place(access.key_source)}" if access.key_source else "no key"
    if monitor.type != "wandb":
        return Row(OK, "W&B", f"not used (monitor={monitor.type}); {key}")
    if access.mode == "online" and not access.key_source:
        return Row(
            FAIL,
            "W&B",
            "monitor.mode=online, but there is no key",
            remedy="set WANDB_API_KEY, run `wandb login`, or take monitor.mode=offline",
        )
    if access.mode != "online":
        about_key = "" if access.why == NO_KEY else f"; {key}"
        return Row(OK, "W&B", f"{access.mode}, because {access.why}{about_key}")
    url = os.environ.get("WANDB_BASE_URL") or DEFAULT_URL
    code = (
        "import sys, urllib.request, urllib.error\n"
        "try:\n"
        f"    urllib.request.urlopen({url!r}, timeout=8)\n"
        "except urllib.error.HTTPError:\n"
        "    pass\n"
        "except OSError as error:\n"
        "    sys.exit(str(error))\n"
    )
    answer = run_python(code, HUB_TIMEOUT)
    if answer.ok:
        return Row(OK, "W&B", f"online, {key}")
    return Row(
        WARN, "W&B", f"{url} does not answer: {answer.error}",
        remedy="the run will be kept offline; `rlagent sync` sends it later",
    )  # fmt: skip


def _place(source: str) -> str:
    return short_path(Path(source)) if "/" in source else source
