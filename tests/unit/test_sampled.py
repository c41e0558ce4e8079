"""What a sample of rollouts says of a training before it begins."""

import pytest

from rlagent import doctor
from rlagent.base.sampled import Sampled, sampled, step_seconds
from rlagent.config.estimate import planned_parts, preflight_asked
from rlagent.config.resolve import resolve
from rlagent.machine.resources import GPU, Machine
from tests.configured import configured

CPU = Machine((), 2, 24)


def group(*rewards: float | None, **more: float) -> dict:
    """A group with these rewards; None: a rollout that failed."""
    reports = [
        {"reward": reward, "success": float(reward >= 1), "overlong": 0.0, "truncated": 0.0}
        | {"response_tokens": 50.0, "model_calls": 2.0}
        | more
        for reward in rewards
        if reward is not None
    ]
    return {"rollouts": len(rewards), "metrics": reports}


def of(*groups: dict) -> Sampled:
    return sampled(groups, seconds=4.0, step_seconds=12.0)


def test_a_sample_counts_groups_rollouts_and_what_became_of_them() -> None:
    found = of(group(0.0, 1.0), group(1.0, 1.0), group(0.0, None), group(None, None))
    assert (found.tasks, found.rollouts) == (4, 8)
    assert found.reward == 3 / 5
    assert found.dead == 3 / 4
    assert found.success == 3 / 8
    assert found.failed == 3 / 8
    assert found.valid is None
    assert of(group(0.0, 1.0, valid=1.0)).valid == 1.0
    assert found.metrics()["signal/dead"] == 0.75
    assert "signal/valid" not in found.metrics()


def test_what_is_said_holds_the_numbers_and_what_they_mean() -> None:
    said = of(*[group(0.0, 1.0, valid=0.5)] * 3).lines()
    assert said[0].startswith("signal: mean reward 0.5, spread within groups 0.5, dead groups 0 %")
    assert "valid 50 %, success 50 %, failed 0 %, over-long 0 %, cut 0 %" in said[1]
    assert "50 tokens in 2.0 calls a rollout; a step will take about 12 s" in said[1]
    assert said[2] == "signal: rewards differ within 100 % of groups: there is something to learn"


@pytest.mark.parametrize(
    ("groups", "meaning"),
    [
        (
            [group(0.0, 0.0)] * 15 + [group(0.0, 1.0)],
            "94 % of groups would give no gradient: e",
        ),
        (
            [group(1.0, 1.0)] * 15 + [group(0.0, 1.0)],
            "94 % of groups would give no gradient: h",
        ),
        ([group(0.0, 0.0)] * 3 + [group(0.0, 1.0)] * 2, "it will learn slowly"),
        ([group(0.5, 0.5)] * 4, "the reward is the same in every rollout (0.5)"),
        ([group(0.0, None, None)] * 4, "67 % of rollouts fail"),
        ([group(0.0, 1.0, truncated=1.0)] * 4, "100 % of rollouts are cut or over-long"),
        ([group(0.0, 1.0)] * 4, "there is something to learn"),
    ],
)
def test_the_sentence_names_what_stands_in_the_way_of_learning(groups, meaning) -> None:
    assert meaning in of(*groups).meaning()


def test_a_steps_seconds_follow_from_the_samples() -> None:
    # Half of the step's rollouts took 3 s; all else takes as planned half as long as exploring.
    assert step_seconds(3.0, 32, 64, explore=8.0, learn=4.0, lag=0) == 9.0
    assert step_seconds(3.0, 32, 64, explore=8.0, learn=4.0, lag=1) == 6.0
    for overrides, machine in (
        ((), CPU),
        (("hardware=2gpu", "model=qwen3_4b"), Machine((GPU("NVIDIA H200", 141.0),) * 2, 16, 128)),
    ):
        resolved = resolve(configured(*overrides), machine)
        assert all(part > 0 for part in planned_parts(resolved.config, resolved.layout, machine))


def test_long_runs_are_sampled_first_and_others_where_it_is_asked_for() -> None:
    def asked(*overrides: str) -> bool:
        return preflight_asked(resolve(configured(*overrides), CPU))

    assert not asked()
    assert asked("run.preflight=true")
    long = "algorithm.total_steps=100000"
    assert asked(long)
    assert not asked(long, "run.preflight=false")


def test_the_doctor_samples_only_where_nothing_else_fails(monkeypatch, capsys) -> None:
    from rlagent.health.row import FAIL, OK, Row
    from rlagent.launch import sampling

    rows = [Row(OK, "model", "tiny")]
    monkeypatch.setattr(
        doctor, "configuration", lambda arguments: (rows, resolve(configured(), CPU))
    )
    monkeypatch.setattr(doctor, "machine_rows", lambda resolved: [])
    monkeypatch.setattr(doctor, "reach_rows", lambda resolved: [])
    monkeypatch.setattr("rlagent.health.parts.part_rows", lambda engine: [])
    monkeypatch.setattr("rlagent.health.patches.patch_rows", lambda engine: [])
    asked = []
    monkeypatch.setattr(sampling, "sample", lambda resolved: asked.append(resolved) or "it broke")
    assert doctor.main(["+experiment=gsm8k_react"]) == 0
    assert not asked
    assert doctor.main(["--signal", "+experiment=gsm8k_react"]) == 1
    assert len(asked) == 1
    assert "no sample: it broke" in capsys.readouterr().out
    rows.append(Row(FAIL, "model", "gone", remedy="find it"))
    assert doctor.main(["--signal", "+experiment=gsm8k_react"]) == 2
    assert len(asked) == 1
