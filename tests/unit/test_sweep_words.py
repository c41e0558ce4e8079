"""What a sweep shows and says."""

import io
import time
from dataclasses import replace

from rlagent.records.objective import ranked, value_of
from rlagent.records.sweep_store import Sweep, SweepFolder, TrialRow
from rlagent.sweep.closing import closing_words, failure_lines
from rlagent.sweep.live_table import cells, ended_words, make_display, started_words, table


def row(number: int, state: str = "finished", **fields) -> TrialRow:
    return TrialRow(
        number,
        [f"seed={number}"],
        {"seed": number},
        f"t{number}",
        f"../run-t{number}",
        state,
        **fields,
    )


SWEEP = Sweep(
    "sweep-x-1",
    "1",
    ["-m", "+experiment=x", "seed=1,2,3,4,5"],
    state="failed",
    trials=[
        row(1, objective=0.5),
        row(2, objective=0.75),
        row(3, "failed", failure="out of memory", cause="no room", exit_code=1),
        row(4, "failed", failure="timeout", cause="too slow", exit_code=1),
        row(5, "pruned", objective=0.9),
    ],
)


def test_the_end_names_the_best_the_failures_and_how_to_go_on(tmp_path) -> None:
    text = "\n".join(closing_words(SWEEP, SweepFolder(tmp_path / "s"), ["+experiment=x"]))
    assert "sweep-x-1 failed: 2 finished, 2 failed, 1 pruned" in text
    assert "1. 0.75     seed=2" in text
    assert "3. 0.9      seed=5 (pruned)" in text
    assert "-m rlagent.train +experiment=x seed=2\n" in text
    assert "failed, out of memory: 1\n  trial 4 (seed=3): no room" in text
    assert text.endswith("-m rlagent.train -m +experiment=x seed=1,2,3,4,5")


def test_the_command_that_finishes_a_sweep_does_not_start_it_from_scratch(tmp_path) -> None:
    sweep = replace(SWEEP, argv=["-m", "run.fresh=true", "seed=1,2,3,4,5"])
    text = "\n".join(closing_words(sweep, SweepFolder(tmp_path / "s")))
    assert text.endswith("-m rlagent.train -m seed=1,2,3,4,5")


def test_the_end_counts_suggestions_that_were_not_legal(tmp_path) -> None:
    none = Sweep("s", "1", ["-m", "seed=1,2"], state="failed")
    lines = closing_words(none, SweepFolder(tmp_path / "s"), illegal=(2, 2))
    assert lines[1:3] == [
        "s failed: no trial",
        "no legal configuration: 2 of 2 suggestions, recorded as failed",
    ]
    assert not any("no legal" in line for line in closing_words(SWEEP, SweepFolder(tmp_path)))


def test_a_python_in_a_folder_with_a_space_stays_one_word(tmp_path, monkeypatch) -> None:
    for room in ("report.sweep_names", "sweep.closing"):
        monkeypatch.setattr(f"rlagent.{room}.python_command", lambda: "my env/bin/python")
    text = "\n".join(closing_words(SWEEP, SweepFolder(tmp_path / "s")))
    assert text.count("'my env/bin/python' -m rlagent.train") == 2


def test_no_secret_is_said_at_the_end(tmp_path) -> None:
    secrets = ["workflow.args={api_key:sk-1}", "a={token:sk-1},{token:sk-2}", "+b.api_key='sk-3'"]
    trials = [row(1, objective=0.5), row(2, "failed", failure="killed", cause="x")]
    for trial in trials:
        trial.overrides += secrets
    sweep = Sweep("s", "1", ["-m", "seed=1,2", *secrets], state="failed", trials=trials)
    text = "\n".join(closing_words(sweep, SweepFolder(tmp_path / "s"), secrets))
    assert "sk-" not in text
    assert "workflow.args=(hidden)" in text
    assert "seed=1,2" in text


def test_pruned_trials_stand_below_finished_ones_and_minimizing_turns_the_order() -> None:
    assert [one.number for one in ranked(SWEEP)] == [2, 1, 5]
    lowest = Sweep("s", "1", [], direction="minimize", trials=SWEEP.trials)
    assert [one.number for one in ranked(lowest)] == [1, 2, 5]


def test_failures_come_by_class_with_their_causes() -> None:
    assert failure_lines(SWEEP)[2] == "failed, timeout: 1"
    assert failure_lines(Sweep("s", "1", [])) == []


def test_a_metric_that_nothing_measured_is_said(tmp_path) -> None:
    sweep = Sweep("s", "1", [], metric="eval/acc", state="finished", trials=[row(1)])
    text = "\n".join(closing_words(sweep, SweepFolder(tmp_path / "s")))
    assert "eval/acc was not measured by any trial; measured were nothing" in text


def test_the_last_step_counts_and_of_durations_the_median() -> None:
    rows = [
        {"role": "explorer", "step": step, "metrics": {"eval/success": value, "time/step": value}}
        for step, value in ((3, 9.0), (1, 1.0), (2, 2.0))
    ]
    assert value_of(rows, "eval/success") == 9.0
    assert value_of(rows, "time/step") == 2.0
    assert value_of(rows, "eval/reward") is None
    nan = [{"role": "explorer", "step": 1, "metrics": {"eval/success": float("nan")}}]
    assert value_of(nan, "eval/success") is None


def test_the_table_shows_what_waits_runs_and_failed() -> None:
    from rich.console import Console

    waiting = row(7, "waiting", waits_for="2 GPUs (1 free)")
    running = row(8, "running", gpus=[0, 3])
    sweep = Sweep("sweep-x", "1", [], trials=[*SWEEP.trials, waiting, running])
    console = Console(file=io.StringIO(), width=140)
    console.print(table(sweep, {}, time.time()))
    text = console.file.getvalue()
    assert "sweep-x: 5 of 7 trials ended, 2 failed" in text
    assert "waits for 2 GPUs (1 free)" in text
    assert "failed: out of memory" in text
    assert cells(running, None, 0.0)[-1] == "0,3"
    assert started_words(running, resumed=True) == "trial 9 (seed=8) resumes on GPUs 0, 3"


def test_no_secret_is_shown_while_trials_run() -> None:
    one = row(1, "failed", failure="killed", cause="x")
    one.overrides += ["workflow.args={api_key:sk-1}", "+b.api_key='sk-3'"]
    lines = [cells(one, None, 0.0)[1], started_words(one, resumed=False), ended_words(one)]
    for line in lines:
        assert "sk-" not in line
        assert "seed=1 workflow.args=(hidden) +b.api_key=(hidden)" in line


def test_what_looks_like_markup_is_shown_as_it_is() -> None:
    from rich.console import Console

    one = row(1, "running")
    one.overrides = ["layout=[2x1+2]", "a=[bold]"]
    console = Console(file=io.StringIO(), width=140)
    console.print(table(Sweep("sweep-[red]x-1", "1", [], trials=[one]), {}, 0.0))
    text = console.file.getvalue()
    assert "layout=[2x1+2] a=[bold]" in text
    assert "sweep-[red]x-1: 0 of 1 trials ended" in text
    live = make_display("live", said := io.StringIO())
    live.message("trial 1 (layout=[2x1+2] a=[bold]) starts")
    live.close()
    assert "layout=[2x1+2] a=[bold]" in said.getvalue()


def test_a_sweep_longer_than_the_screen_shows_what_matters() -> None:
    from rich.console import Console

    rows = [row(n) for n in range(100)] + [
        row(100, "running"),
        row(101, "failed", failure="killed"),
    ]
    console = Console(file=io.StringIO(), width=120)
    console.print(table(Sweep("s", "1", [], trials=rows), {}, 0.0))
    text = console.file.getvalue()
    assert "seed=100" in text
    assert "seed=101" in text
    assert "and 62 more" in text


def test_without_a_terminal_lines_are_plain_and_none_is_silent() -> None:
    text = io.StringIO()
    make_display("none", text).message("nothing")
    assert text.getvalue() == ""
    make_display("auto", text).ended(SWEEP.trials[2])
    assert text.getvalue() == "trial 4 (seed=3) failed: out of memory: no room\n"
