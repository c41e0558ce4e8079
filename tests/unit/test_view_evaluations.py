"""The view's pages of evaluations: what was measured of each checkpoint, and its rollouts."""

import json
import random

import pytest

from rlagent.records.folder import RunFolder
from tests.fabricated import HOSTILE, fabricate, rollout
from tests.viewing import asked

RUN = "gsm8k_react-1a2b3c4d"
NAME = "gsm8k-0a1b2c3d"


def measured(step, success, **more):
    return {
        "checkpoint": "base" if not step else f"step {step}", "step": step, "success": success,
        "success_low": success - 0.05, "success_high": success + 0.05, "tasks": 256, "samples": 4,
        "pass_at": {"1": success, "2": success + 0.1, "4": success + 0.2}, "failed": 1,
        "failures": [{"row": {"index": 7}, "run": 2, "error": f"ValueError: {HOSTILE}"}],
        "tokens": 120.5, "turns": 2.0, "valid": None, "seconds": 3.5, "metrics": {"accuracy": 0.5},
    } | more  # fmt: skip


def evaluate(root, results, rollouts=()):
    folder = RunFolder(root / "evaluations" / NAME)
    folder.path.mkdir(parents=True)
    (folder.path / "results.json").write_text(json.dumps(results))
    for row in rollouts:
        folder.rollouts.append(row)
    folder.rollouts.seal()


@pytest.fixture
def run(tmp_path):
    return fabricate(tmp_path, steps=4, asked=4)


def test_a_run_leads_to_its_evaluations_their_checkpoints_and_rollouts(run, tmp_path):
    chance = random.Random(1)
    assert "Evaluations" not in asked(tmp_path, f"/run/{RUN}").text
    rows = [rollout(group, step, chance, 1.0, "") for step in (0, 4) for group in (0, 1)]
    evaluate(run.path, {"measured": [measured(4, 0.75), measured(0, 0.5)]}, rows)
    own, every, one, of_step = asked(
        tmp_path, f"/run/{RUN}", f"/run/{RUN}/evaluations", f"/run/{RUN}/evaluation?of={NAME}",
        f"/run/{RUN}/rollouts?of={NAME}&first=4&last=4",
    )  # fmt: skip
    assert f'href="/run/{RUN}/evaluations"' in own.text
    assert f'href="/run/{RUN}/evaluation?of={NAME}"' in every.text
    for page in (every, one):
        assert page.text.index("base") < page.text.index("step 4")
        assert "75.0 %" in page.text
        assert "[70.0, 80.0]" in page.text
        assert "pass@4" in page.text
        # No checkpoint has it.
        assert "valid" not in page.text
    assert "256 held-out tasks, 4 rollouts of each" in one.text
    assert one.text.count("<svg") == 1
    assert f'href="/run/{RUN}/rollouts?of={NAME}&amp;first=4&amp;last=4"' in one.text
    assert "task 7, rollout 2: ValueError: &lt;/script&gt;" in one.text
    assert of_step.text.count('name="pick"') == 2
    picks = [f"{RUN}|{NAME}|eval|{step}||0|0" for step in (0, 4)]
    sides = asked(tmp_path, f"/sides?pick={picks[0]}&pick={picks[1]}")
    assert sides.text.count('<div class="side">') == 2


def test_evaluations_of_bare_models_are_reached_from_the_list(tmp_path):
    evaluate(tmp_path, {"measured": [measured(0, 0.5)]})
    home, every, one, rollouts = asked(
        tmp_path, "/", "/run/@/evaluations", f"/run/@/evaluation?of={NAME}",
        f"/run/@/rollouts?of={NAME}",
    )  # fmt: skip
    assert 'href="/run/%40/evaluations"' in home.text
    assert "50.0 %" in every.text
    assert "50.0 %" in one.text
    assert "No rollout has been recorded yet." in rollouts.text


@pytest.mark.parametrize("results", ["{", "[]", '{"measured": 3}', '{"measured": ["a"]}'])
def test_damaged_results_cost_a_sentence(run, tmp_path, results):
    evaluate(run.path, {})
    (run.path / "evaluations" / NAME / "results.json").write_text(results)
    every, one = asked(tmp_path, f"/run/{RUN}/evaluations", f"/run/{RUN}/evaluation?of={NAME}")
    for page in (every, one):
        assert "results.json is damaged" in page.text
        assert "evaluate.fresh=true" in page.text


@pytest.mark.parametrize("path", [f"/run/{RUN}/evaluation?of=no", f"/run/{RUN}/rollouts?of=..",
                                  "/run/@/evaluation?of=no", "/run/no/evaluations"])  # fmt: skip
def test_an_evaluation_that_is_not_there_is_named(run, tmp_path, path):
    assert asked(tmp_path, path).status == 404


def test_runs_that_are_ticked_in_the_list_are_compared(run, tmp_path):
    fabricate(tmp_path, name="other-1", steps=4, asked=4)
    home, page = asked(tmp_path, "/", f"/compare?run={RUN}&run=other-1")
    assert home.text.count('type="checkbox" name="run"') == 2
    assert page.status == 200
    assert f"{RUN} against other-1" in page.text
    assert "Task by task" in page.text
    assert "Held-out success over steps" in page.text


@pytest.mark.parametrize("query", ["", f"run={RUN}", f"run={RUN}&run={RUN}"])
def test_one_run_alone_is_compared_with_nothing(run, tmp_path, query):
    assert asked(tmp_path, f"/compare?{query}").status == 400


@pytest.mark.parametrize("other", ["no", "..", f"{RUN}/no", "/etc"])
def test_what_is_not_there_is_not_compared(run, tmp_path, other):
    assert asked(tmp_path, f"/compare?run={RUN}&run={other}").status == 404
