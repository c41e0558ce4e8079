"""The doctor's decisions: what is fine, what is not, and what to do about it."""

import re
import shutil
import sys
import tomllib
from pathlib import Path
from types import SimpleNamespace

import pytest
from packaging.specifiers import SpecifierSet

from rlagent import doctor
from rlagent.config.schema import DatasetConfig, MonitorConfig
from rlagent.health import reachable as reach
from rlagent.health.headroom import disk_row, shared_memory_row
from rlagent.health.parts import (
    constraints_file,
    install_command,
    judge,
    pinned_versions,
    wanted_ranges,
)
from rlagent.health.row import FAIL, OK, SKIP, WARN, Answer, Row, render, run_python
from rlagent.machine.gpu_memory import gpu_memory

GOOD = Answer(True, "")
ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("found", "imported", "needed", "state"),
    [
        ("2.13.0+cpu", GOOD, True, OK),
        ("2.13.1", GOOD, True, WARN),
        ("2.14.0", GOOD, True, FAIL),
        (None, GOOD, True, FAIL),
        (None, GOOD, False, SKIP),
        ("2.13.0", Answer(False, "", "ImportError: no"), True, FAIL),
        ("2.13.0", Answer(False, "", "ImportError: no"), False, SKIP),
    ],
)
def test_a_part_is_judged_by_range_import_and_need(found, imported, needed, state):
    row = judge("torch", found, ">=2.11,<2.14", "2.13.0", imported, needed, "pip install torch")
    assert row.state == state
    assert row.remedy.startswith("pip install") == (state == FAIL)


def test_the_reason_of_a_failed_import_is_shown():
    row = judge("mcp", "2.0", "", "", Answer(False, "", "ImportError: no x"), True, "pip")
    assert "ImportError: no x" in row.found


def test_only_the_gpus_that_cuda_shows_are_looked_at(monkeypatch):
    nvml = SimpleNamespace(
        nvmlInit=lambda: None,
        nvmlShutdown=lambda: None,
        nvmlDeviceGetCount=lambda: 3,
        nvmlDeviceGetHandleByIndex=lambda index: index,
        nvmlDeviceGetName=lambda index: f"GPU number {index}",
        nvmlDeviceGetUUID=lambda index: f"GPU-{index}",
        nvmlDeviceGetMemoryInfo=lambda index: SimpleNamespace(free=index, total=9),
    )
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,0")
    assert gpu_memory() == [("GPU number 2", 2, 9), ("GPU number 0", 0, 9)]
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    assert len(gpu_memory()) == 3


def test_a_folder_of_parquet_files_is_a_dataset_one_without_the_split_is_not(tmp_path):
    (tmp_path / "main").mkdir()
    (tmp_path / "main" / "train-00000-of-00001.parquet").touch()
    row = reach.dataset_row("dataset", "dataset.path", str(tmp_path), "train", DatasetConfig())
    assert row.state == OK
    (tmp_path / "test.jsonl").write_text("{}\n")
    row = reach.dataset_row("dataset", "dataset.path", str(tmp_path), "train", DatasetConfig())
    assert row.state == FAIL


def test_a_failing_row_without_a_remedy_cannot_be_made():
    with pytest.raises(ValueError, match="names no remedy"):
        Row(FAIL, "disk", "full")


def test_vllm_is_wanted_from_the_version_on_that_has_what_trinity_imports():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = SpecifierSet(wanted_ranges(project["optional-dependencies"]["gpu"])["vllm"])
    assert "0.21.0" not in wanted
    assert "0.22.0" in wanted
    assert pinned_versions(constraints_file(gpu=True).read_text())["vllm"] in wanted


def test_wanted_versions_come_from_requirements_and_the_shipped_constraints():
    assert wanted_ranges(["ray[default]<3,>=2.60"]) == {"ray": ">=2.60,<3"}
    pins = pinned_versions(constraints_file(gpu=False).read_text())
    assert {"torch", "ray", "trinity-rft", "agentscope", "wandb"} <= pins.keys()
    command = install_command("mcp", "<2,>=1.30", constraints_file(gpu=False))
    assert re.search(r"-m pip install --constraint \S*cpu.txt 'mcp<2,>=1.30'$", command)


def test_a_broken_part_cannot_take_the_doctor_down():
    assert run_python("print(1); print(2)", 30) == Answer(True, "2")
    assert "boom" in run_python("raise ValueError('boom')", 30).error
    assert "SIGKILL" in run_python("import os; os.kill(os.getpid(), 9)", 30).error
    assert "no answer within" in run_python("import time; time.sleep(60)", 0.5).error


def test_the_table_is_aligned_and_fits():
    rows = [
        Row(OK, "torch", "2.13.0", ">=2.11"),
        Row(FAIL, "shared memory", "long " * 40, "1 GiB", "do this " * 20),
    ]
    lines = render("Title", rows).splitlines()
    assert max(len(line) for line in lines) <= 100
    assert lines[1].index("2.13.0") == lines[2].index("long")
    assert any("remedy: do this" in line for line in lines)


def test_models_and_datasets_are_looked_for_where_they_are_said_to_be(tmp_path):
    assert reach.model_row("model", "model.path", str(tmp_path)).state == FAIL
    (tmp_path / "config.json").touch()
    (tmp_path / "model.safetensors").touch()
    assert reach.model_row("model", "model.path", str(tmp_path)).state == OK
    (rows := tmp_path / "rows").mkdir()
    (rows / "notes.txt").touch()
    data = DatasetConfig()
    assert reach.dataset_row("d", "dataset.path", str(rows), "train", data).state == FAIL
    (rows / "train.jsonl").touch()
    assert reach.dataset_row("d", "dataset.path", str(rows), "train", data).state == OK
    assert reach.model_row("model", "model.path", "builtin:nothing").state == FAIL


def test_offline_only_the_local_cache_counts(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    row = reach.model_row("model", "model.path", "some/model")
    assert (row.state, "HF_HUB_OFFLINE" in row.remedy) == (FAIL, True)
    (tmp_path / "models--some--model" / "snapshots" / "abc").mkdir(parents=True)
    assert reach.model_row("model", "model.path", "some/model").state == OK


def test_the_hubs_answers_have_their_remedies():
    assert "hf auth login" in reach.hub_remedy("GatedRepoError: 403", "model.path")
    assert "spelling" in reach.hub_remedy("RepositoryNotFoundError: 404", "model.path")
    assert "HF_ENDPOINT" in reach.hub_remedy("ConnectError: no route", "dataset.path")


def test_wandb_fails_only_when_online_is_asked_without_a_key(tmp_path, monkeypatch):
    for name in ("WANDB_API_KEY", "WANDB_MODE", "NETRC", "WANDB_IDENTITY_TOKEN_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    row = reach.wandb_row(MonitorConfig(type="wandb"))
    assert (row.state, row.found) == (OK, "offline, because no key was found")
    asked = reach.wandb_row(MonitorConfig(type="wandb", mode="offline"))
    assert asked.found == "offline, because monitor.mode=offline; no key"
    assert reach.wandb_row(MonitorConfig(type="wandb", mode="online")).state == FAIL
    monkeypatch.setenv("WANDB_API_KEY", "sesame")
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    row = reach.wandb_row(MonitorConfig(type="wandb"))
    assert row.state == WARN
    assert "sesame" not in repr(row)


def test_a_mistake_in_the_command_is_named_as_typed():
    rows, _ = doctor.configuration(["model.temperature=-1"])
    assert [row.name for row in rows] == ["model.temperature=-1", "workflow.function"]


def test_disk_and_shared_memory_are_compared_to_what_is_needed(tmp_path, monkeypatch):
    assert disk_row(str(tmp_path / "not" / "yet"), 1.0).state == OK
    assert disk_row(str(tmp_path), 1e18).state == FAIL
    little = SimpleNamespace(total=64 << 20, free=32 << 20)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: little)
    # A run still starts: Ray goes elsewhere.
    assert shared_memory_row(str(tmp_path)).state == WARN
    assert "temporary folder" in shared_memory_row(str(tmp_path)).found
    assert shared_memory_row(str(tmp_path / "none")).state == WARN
