"""The run folder survives several writers, kills and resumes; its reads are what was written."""

import json
import math
import multiprocessing
import os
import subprocess
import sys

import pytest

from rlagent.records.folder import RunFolder, RunNotFoundError, find_run


def _write_many(path: str, role: str) -> None:
    folder = RunFolder(path)
    for step in range(200):
        folder.append_metrics(role, step, {"value": step, "padding": 0.1})


def test_rows_of_several_processes_stay_whole(tmp_path):
    roles = ["explorer", "trainer", "driver"]
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=_write_many, args=(str(tmp_path), r)) for r in roles]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert len(lines) == 600
    assert all(set(json.loads(line)["metrics"]) == {"value", "padding"} for line in lines)
    assert len(RunFolder(tmp_path).read_metrics("trainer")) == 200


def test_a_row_torn_by_a_kill_costs_only_itself(tmp_path):
    folder = RunFolder(tmp_path)
    folder.new_attempt()
    folder.append_metrics("trainer", 1, {"loss": 1.0})
    with folder.metrics_jsonl.open("a") as file:
        file.write('{"role": "trainer", "st')
    folder.new_attempt()
    folder.append_metrics("trainer", 2, {"loss": 2.0})
    assert [row["step"] for row in folder.read_metrics()] == [1, 2]


def test_numbers_that_json_lacks_come_back_as_they_were(tmp_path):
    folder = RunFolder(tmp_path)
    folder.append_metrics("trainer", 1, {"a": math.nan, "b": math.inf, "c": -math.inf})
    json.loads(folder.metrics_jsonl.read_text(), parse_constant=pytest.fail)
    metrics = folder.read_metrics()[0]["metrics"]
    assert math.isnan(metrics["a"])
    assert (metrics["b"], metrics["c"]) == (math.inf, -math.inf)


def test_texts_that_utf8_cannot_hold_are_written_out(tmp_path):
    folder = RunFolder(tmp_path)
    folder.append_metrics("explorer", 1, {"seen \ud800": 1})
    folder.write_status(cause="bad \ud800")
    assert folder.read_metrics()[0]["metrics"] == {"seen \\ud800": 1}
    assert folder.read_status()["cause"] == "bad \\ud800"


def test_a_metric_that_is_no_number_is_refused(tmp_path):
    with pytest.raises((TypeError, ValueError)):
        RunFolder(tmp_path).append_metrics("trainer", 1, {"a": "fast"})


def test_status_fields_are_merged_and_the_file_is_never_partial(tmp_path):
    folder = RunFolder(tmp_path / "new" / "run")
    assert folder.read_status() == {}
    folder.write_status(state="starting", pid=os.getpid())
    folder.write_status(state="running", steps_trained=3)
    status = folder.read_status()
    assert (status["state"], status["steps_trained"]) == ("running", 3)
    assert folder.driver_alive()
    assert [p.name for p in folder.path.iterdir()] == ["status.json"]


def test_a_process_that_ended_or_was_replaced_is_not_the_driver(tmp_path):
    folder = RunFolder(tmp_path)
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    folder.write_status(pid=child.pid)
    assert folder.driver_alive()
    folder.write_status(pid_ticks=1)
    assert not folder.driver_alive()
    folder.write_status(pid=child.pid, pid_ticks=None)
    child.communicate(b"\n")
    assert not folder.driver_alive()


def test_attempts_count_up_and_forget_old_stop_requests(tmp_path):
    folder = RunFolder(tmp_path)
    first = folder.new_attempt()
    folder.request_stop()
    assert folder.stop_requested()
    second = folder.new_attempt()
    assert (first.number, second.number) == (1, 2)
    assert second.logs.is_dir()
    assert not folder.stop_requested()
    folder.append_metrics("driver", 0, {"x": 1})
    assert folder.read_metrics()[0]["attempt"] == 2


def test_a_run_is_found_by_folder_name_trial_id_and_latest(tmp_path):
    for name in ("a-11111111", "b-22222222"):
        folder = RunFolder(tmp_path / name)
        folder.write_status(state="finished")
        folder.point_latest()
    for text in ("b-22222222", "22222222", "latest", str(tmp_path / "b-22222222")):
        assert find_run(text, tmp_path).name == "b-22222222"


def test_a_run_that_is_not_there_is_answered_with_those_that_are(tmp_path):
    with pytest.raises(RunNotFoundError, match="there are no runs"):
        find_run("x", tmp_path)
    RunFolder(tmp_path / "a-11111111").write_status(state="finished")
    with pytest.raises(RunNotFoundError, match="a-11111111"):
        find_run("x", tmp_path)
    RunFolder(tmp_path / "b-11111111").write_status(state="finished")
    with pytest.raises(RunNotFoundError, match="several"):
        find_run("11111111", tmp_path)


def test_reading_a_run_folder_imports_nothing_heavy():
    heavy = ["torch", "ray", "trinity", "agentscope", "wandb", "numpy", "matplotlib", "rich"]
    code = (
        "import sys, rlagent.records.folder, rlagent.base.stats\n"
        f"print([m for m in {heavy} if m in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stdout.strip() == "[]", result.stderr
