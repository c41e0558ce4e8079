"""`rlagent evaluate` over a real run: the numbers of training's own evaluation, what is cut off,
and what is there already.
"""

import json
import subprocess
import sys

import pytest
from runs import REPOSITORY, Run, environment, ray_processes, run

from rlagent.base.paths import asset_dir
from rlagent.records.evaluations import EvaluationFolder, by_task, evaluations_in
from rlagent.records.rollouts import Query

pytestmark = pytest.mark.slow


def evaluate(trained: Run, *overrides: str) -> subprocess.CompletedProcess:
    folder = trained.folder.path
    line = [sys.executable, "-m", "rlagent.evaluate", folder.name, f"run.dir={folder.parent}"]
    return subprocess.run(
        [*line, *overrides],
        cwd=REPOSITORY,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Run:
    return run(tmp_path_factory.mktemp("evaluate"), "algorithm.total_steps=1")


def of_all_tasks(trained: Run) -> EvaluationFolder:
    """The evaluation of all held-out tasks; another test adds one that is named four."""
    (found,) = [e for e in evaluations_in(trained.folder.path) if e.path.name != "four"]
    return found


def said(row):
    return [call["response"].get("content") for call in row["calls"]], row["reward"]


def test_the_command_gives_the_numbers_of_trainings_own_evaluation(trained) -> None:
    assert trained.returncode == 0, trained.output
    done = evaluate(trained, "checkpoint=base,last")
    assert done.returncode == 0, done.stdout + done.stderr
    found = of_all_tasks(trained)
    status = trained.status
    before, after = found.measured()
    assert (before["step"], after["step"]) == (0, 1)
    assert (before["success"], after["success"]) == (
        status["success_before"],
        status["success_after"],
    )
    for step in (0, 1):
        theirs = by_task(trained.folder.rollouts.read(Query(phase="eval", steps=(step, step))))
        ours = by_task(found.samples(step))
        assert ours.keys() == theirs.keys()
        for key, (row,) in ours.items():
            assert said(row) == said(theirs[key][0])
    # Which would hand weights over from a trainer.
    assert not list(found.path.glob("attempts/*/logs/synchronizer.log"))
    assert not ray_processes()


def test_what_was_cut_off_is_finished_and_what_is_there_answered(trained) -> None:
    evaluate(trained, "checkpoint=last")
    found = of_all_tasks(trained)
    # As if it had been killed: some rollouts are there, and no result.
    results = found.read_results()
    whole = next(each for each in results["measured"] if each["step"] == 1)
    results["measured"] = [each for each in results["measured"] if each["step"] != 1]
    found.write_results(results)
    batch = next(batch for batch in found.rollouts.batches("eval") if batch.step == 1)
    kept = list(found.rollouts.rows_of(batch))[:10]
    found.rollouts.segment_file(batch).unlink()
    for row in kept:
        found.rollouts.append(row)
    done = evaluate(trained, "checkpoint=last")
    assert done.returncode == 0, done.stdout + done.stderr
    again = next(each for each in found.measured() if each["step"] == 1)
    assert (again["success"], again["tasks"]) == (whole["success"], whole["tasks"])
    attempts = found.attempt_numbers()
    done = evaluate(trained, "checkpoint=last")
    assert done.returncode == 0
    assert f"{100 * whole['success']:.1f} %" in done.stdout
    assert found.attempt_numbers() == attempts


def test_of_a_mix_each_taskset_gives_the_numbers_of_trainings_own_evaluation(tmp_path) -> None:
    for number, name in enumerate(("first", "second")):
        (tmp_path / name).mkdir()
        for split in ("train", "test"):
            lines = (asset_dir("gsm8k_tiny") / f"{split}.jsonl").read_text().splitlines(True)
            (tmp_path / name / f"{split}.jsonl").write_text("".join(lines[number::2]))
    first = ["dataset.name=first", f"dataset.path={tmp_path}/first"]
    mix = f"dataset.mix=[{{name: second, path: {tmp_path}/second}}]"
    trained = run(tmp_path, "algorithm.total_steps=1", "algorithm.batch_size=2", *first, mix)
    assert trained.returncode == 0, trained.output
    done = evaluate(trained)
    assert done.returncode == 0, done.stdout + done.stderr
    found = {each.read_results()["dataset"]: each for each in evaluations_in(trained.folder.path)}
    assert list(found) == ["first", "second"]
    for name, folder in found.items():
        (measured,) = folder.measured()
        assert measured["success"] == trained.series(f"eval/{name}/success", "explorer")[1]
        assert folder.report_html.is_file()
        assert folder.picture.is_file()
    assert [line.split()[0] for line in done.stdout.splitlines()[-2:]] == ["first", "second"]


def test_several_rollouts_of_each_task_are_measured_together(trained) -> None:
    done = evaluate(trained, "evaluate.samples=4", "evaluate.tasks=5", "evaluate.name=four")
    assert done.returncode == 0, done.stdout + done.stderr
    results = json.loads((trained.folder.path / "evaluations/four/results.json").read_text())
    (measured,) = results["measured"]
    assert (measured["tasks"], measured["samples"]) == (5, 4)
    assert list(measured["pass_at"]) == ["1", "2", "4"]
    assert list(measured["majority_at"]) == ["2", "4"]
    assert "pass@4" in done.stdout
