"""What is shown while a run goes and when it ends."""

import io
import re
import subprocess
import sys

import pytest

from rlagent.base.measures import evaluation_metrics
from rlagent.base.stats import difference
from rlagent.base.words import same_command
from rlagent.records.checkpoints import MANIFEST, step_folder
from rlagent.records.display import LiveDisplay, PlainDisplay, make_display
from rlagent.records.folder import RunFolder
from rlagent.records.progress import Progress
from rlagent.records.summary import after_lines, how_it_ended, summary_lines
from tests.fabricated import fabricate


def rows_of(folder):
    return folder.read_metrics()


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return fabricate(tmp_path / "outputs", steps=20, asked=60)


def trained(step, at):
    return {"role": "trainer", "step": step, "attempt": 1, "time": at, "metrics": {"x": 1.0}}


def test_time_left_follows_the_pace_of_the_last_steps():
    progress = Progress(total_steps=10)
    assert progress.seconds_left(0.0) is None
    progress.take([trained(1, 100.0)])
    assert progress.seconds_left(100.0) is None
    progress.take([trained(2, 103.0), trained(3, 106.0)])
    assert progress.seconds_per_step == 3.0
    assert progress.seconds_left(106.0) == 21.0
    assert progress.seconds_left(107.0) == 20.0


def test_a_resumed_run_counts_on_from_its_checkpoint():
    progress = Progress(total_steps=10, first_step=6)
    assert progress.take([trained(6, 0.0), trained(7, 1.0)]) == [7]
    assert progress.line(7, 1.0).startswith("step  7/10")


def explored(step, **metrics):
    named = {key.replace("__", "/"): value for key, value in metrics.items()}
    return {"role": "explorer", "step": step, "attempt": 1, "time": 0.0, "metrics": named}


def test_beside_a_step_stand_its_own_numbers_however_far_exploring_is_ahead():
    out = io.StringIO()
    display = PlainDisplay(out)
    display.start([], 4)
    rewards = {1: 0.125, 2: 0.25, 3: 0.5, 4: 1.0}
    ahead = [
        explored(step, rollout__reward__mean=reward, rollout__failed_share=reward / 2)
        for step, reward in rewards.items()
    ]
    display.update(ahead[:3])
    speed = {"role": "driver", "step": 1, "time": 1.0, "metrics": {"tokens/per_second": 111.0}}
    display.update([trained(1, 1.0), explored(1, eval__success=0.5), speed])
    speeds = [{**speed, "step": step, "metrics": {"tokens/per_second": 100.0 * step}}
              for step in (2, 3)]  # fmt: skip
    display.update([trained(2, 2.0), trained(3, 3.0), ahead[3], *speeds])
    display.update([trained(4, 4.0)])
    lines = [line for line in out.getvalue().splitlines() if line.startswith("step")]
    assert lines == [
        "step 1/4  reward 0.125  failed 6 %  111 tok/s",
        "step 2/4  reward 0.250  failed 12 %  200 tok/s",
        "step 3/4  reward 0.500  failed 25 %  300 tok/s  1 s left",
        "step 4/4  reward 1.000  failed 50 %",
    ]


def test_an_evaluation_says_which_weights_it_measured_and_what_of_each_set():
    out = io.StringIO()
    display = PlainDisplay(out)
    display.start([], 4)
    sets = {
        "a": {"tasks": [{"rollouts": 1, "metrics": [{"success": 1.0}]}] * 4},
        "b": {"tasks": [{"rollouts": 2, "metrics": [{"success": 0.0}] * 2}] * 8},
    }
    metrics = evaluation_metrics(sets) | {"eval/model_version": 2.0}
    display.update([{**explored(3), "metrics": metrics}])
    display.update([{**explored(4), "metrics": {"eval/success": 1.0, "eval/model_version": 4}}])
    assert out.getvalue().splitlines() == [
        "held-out success at step 3 (weights of step 2): 20.0 % [7.1, 44.9], "
        "12 tasks, 20 rollouts: a 100.0 %, b 0.0 %",
        "held-out success at step 4: 100.0 % [100.0, 100.0]",
    ]


def test_plain_lines_fit_80_columns_and_name_every_step(run):
    out = io.StringIO()
    display = PlainDisplay(out)
    display.start(["hardware: cpu (no GPU was found; hardware=1gpu plans for one)"], 60)
    display.phase("starting Ray")
    display.update(rows_of(run))
    display.finish(run.read_status(), run)
    lines = out.getvalue().splitlines()
    steps = [line for line in lines if line.startswith("step ")]
    assert len(steps) == 20
    assert "reward" in steps[-1]
    assert "tok/s" in steps[-1]
    assert "left" in steps[-1]
    assert max(len(line) for line in steps) <= 80
    assert any(line.startswith("held-out success at step 0: ") for line in lines)


def test_the_live_display_fits_80_columns_and_leaves_what_counts(run, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "xterm-256color")
    out = io.StringIO()
    display = LiveDisplay(out)
    display._console.width = 80
    display.start(["one choice"], 60)
    display.update(rows_of(run))
    with display._console.capture() as capture:
        display._console.print(display._render())
    shown = capture.get()
    assert "step 20/60" in shown
    assert "success" in shown
    assert all(len(line) <= 80 for line in shown.splitlines())
    display.finish(run.read_status(), run)
    assert "Finished: 20 of 60 steps" in out.getvalue()


def test_brackets_in_messages_are_no_markup():
    out = io.StringIO()
    LiveDisplay(out).message("reward [bold] [/] 3")
    assert out.getvalue() == "reward [bold] [/] 3\n"


def test_no_terminal_means_plain_lines_and_a_wrong_word_is_refused():
    assert isinstance(make_display("auto", io.StringIO()), PlainDisplay)
    with pytest.raises(ValueError, match=r"run\.display=loud"):
        make_display("loud")


def test_the_summary_names_success_places_and_a_command_that_works(run):
    lines = summary_lines(run.read_status(), run, "python -m rlagent.train +experiment=x")
    text = "\n".join(lines)
    assert re.search(r"before  \d\d\.\d % \[\d\d\.\d, \d\d\.\d\], 256 tasks", text)
    assert "outputs/gsm8k_react-1a2b3c4d" in text
    # Nothing that does not exist is pointed at.
    assert "report.html" not in text
    command = lines[-1].strip()
    result = subprocess.run(command, shell=True, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert "| step | held-out success |" in result.stdout


def test_a_failure_is_shown_with_its_cause_in_one_line():
    status = {"state": "failed", "steps_asked": 60, "steps_trained": 12, "cause": "no space left"}
    assert how_it_ended(status) == "Failed after 12 of 60 steps: no space left"
    status = {"state": "stopped", "steps_asked": 60, "steps_trained": 12}
    assert how_it_ended(status) == "Stopped on request after 12 of 60 steps."


def test_a_run_that_was_never_evaluated_says_so(tmp_path):
    folder = fabricate(tmp_path)
    folder.metrics_jsonl.unlink()
    assert "Held-out success was not measured." in summary_lines(folder.read_status(), folder)


def test_the_same_command_is_given_with_its_override_replaced():
    argv = [sys.executable, "-m", "rlagent.train", "algorithm.total_steps=3", "run.name=a b"]
    command = same_command({"algorithm.total_steps": 6}, argv)
    assert command.endswith("-m rlagent.train 'run.name=a b' algorithm.total_steps=6")


def test_the_interval_of_a_rise_agrees_with_published_values():
    # Newcombe 1998 (Statistics in Medicine 17:873), table II, method 10: 56/70 - 48/80.
    low, high = difference(48 / 80, 80, 56 / 70, 70)
    assert (low, high) == pytest.approx((0.0524, 0.3339), abs=5e-5)


def test_steps_without_experiences_are_counted_at_the_end(tmp_path):
    folder = RunFolder(tmp_path)
    for step, count in enumerate((8, 0, 5, 0), start=1):
        folder.append_metrics("trainer", step, {"sample/experiences": count})
    said = "2 of 4 trained steps had nothing to train on."
    assert said in summary_lines({"state": "finished"}, folder)
    folder.append_metrics("trainer", 2, {"sample/experiences": 1})
    folder.append_metrics("trainer", 4, {"sample/experiences": 1})
    assert said not in "\n".join(summary_lines({"state": "finished"}, folder))


@pytest.mark.parametrize("kind", [PlainDisplay, LiveDisplay])
def test_what_a_stream_has_no_bytes_for_is_written_out(kind):
    file = io.BytesIO()
    stream = io.TextIOWrapper(file, encoding="ascii", write_through=True)
    kind(stream).message("caf\u00e9 \ud800")
    assert file.getvalue() == b"caf\\xe9 \\ud800\n"


@pytest.mark.parametrize(("encoding", "kind"), [("utf-8", LiveDisplay), ("ascii", PlainDisplay)])
def test_a_terminal_that_cannot_show_a_curve_gets_lines(monkeypatch, encoding, kind):
    monkeypatch.setenv("TERM", "xterm")
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    monkeypatch.setattr(stream, "isatty", lambda: True, raising=False)
    assert type(make_display("auto", stream)) is kind


def test_what_can_be_done_with_checkpoints_is_said_once_there_are_some(run):
    assert after_lines(run) == []
    step_folder(run.checkpoints, 10).mkdir(parents=True)
    (step_folder(run.checkpoints, 10) / MANIFEST).touch()
    commands = [line.split(" -m rlagent.")[1] for line in after_lines(run)[1:]]
    names = [command.split()[0] for command in commands]
    assert names == ["evaluate", "view", "chat", "serve", "export"]
    assert all("outputs/gsm8k_react-1a2b3c4d" in command for command in commands)
    # The step was measured, so the commands find the best one by themselves.
    assert "--step" not in "".join(commands)
    run.metrics_jsonl.unlink()
    assert "".join(after_lines(run)).count("--step last") == 3
