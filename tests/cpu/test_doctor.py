"""The doctor on this machine, and on machines with something missing."""

import re

import pytest

from rlagent import doctor
from rlagent.health import parts


@pytest.fixture
def quick(monkeypatch):
    """Only three imports, so that the tests stay short; the real ones are timed by hand."""
    kept = {name: parts.IMPORTS[name] for name in ("omegaconf", "greenlet", "vllm")}
    monkeypatch.setattr(parts, "IMPORTS", kept)


def test_the_default_experiment_could_start_here(quick, capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", "sesame-open")
    assert doctor.main([f"run.dir={tmp_path}"]) == 0
    out = capsys.readouterr().out
    assert re.search(r"ok +Ray +starts its own on 127\.0\.0\.1: works", out)
    assert "It could start here" in out
    assert "sesame-open" not in out
    rows = [line for line in out.splitlines() if re.match(r"  (ok|warn|FAIL|-) ", line)]
    assert len(rows) > 10
    assert max(map(len, rows)) <= 100


def test_what_is_missing_is_named_with_its_remedy(quick, capsys, tmp_path, monkeypatch):
    monkeypatch.setitem(parts.IMPORTS, "greenlet", "import greenlet_that_is_not_here")
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:9")
    code = doctor.main([f"dataset.path={tmp_path}/absent.jsonl", f"run.dir={tmp_path}"])
    out = capsys.readouterr().out
    assert code in (1, 2)
    assert out.count("FAIL") == out.count("remedy: ") >= 3
    assert "ModuleNotFoundError" in out
    assert "'greenlet_that_is_not_here'" in out


def test_a_wrong_configuration_exits_2_and_the_rest_is_still_checked(quick, capsys, monkeypatch):
    monkeypatch.setattr(doctor, "machine_rows", lambda resolved: [])
    assert doctor.main(["algorithm.lrr=1"]) == 2
    out = capsys.readouterr().out
    assert "algorithm.lr" in out
    assert "greenlet" in out
