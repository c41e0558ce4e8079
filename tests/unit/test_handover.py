"""A trial's process runs what its launcher planned, and derives nothing again."""

import dataclasses
from types import SimpleNamespace

import pytest

from rlagent import train
from rlagent.base.errors import ConfigError
from rlagent.base.origins import origins
from rlagent.config.command import parse_command
from rlagent.config.compose import to_yaml
from rlagent.config.prepare import prepare
from rlagent.launch.record import make_record
from rlagent.machine.resources import GPU, Machine
from rlagent.sweep import grid, handover
from rlagent.sweep.common import added, command_line

CPU = Machine((), 8, 32.0)
H100S = Machine((GPU("NVIDIA H100 80GB HBM3", 80.0),) * 8, 64, 512.0)


def planned(machine, *words):
    command = parse_command(["+experiment=gsm8k_react", *words])
    return command, grid.plan(command, machine, command.draft(multirun=True)).trials


@pytest.mark.parametrize(
    ("machine", "words"),
    [
        (CPU, ["hardware=cpu", "algorithm.lr=1e-4,3e-4", "monitor=local"]),
        (CPU, ["hardware=cpu", "seed=1,2", "monitor=wandb", "run.fresh=true"]),
        (H100S, ["hardware.layout=2x1+2,4x1+4", "model=qwen3_0_6b", "monitor.name='a, b'"]),
    ],
)
def test_what_is_handed_over_is_what_the_trials_command_line_comes_to(machine, words):
    command, trials = planned(machine, *words)
    for trial in trials:
        given = handover.derived(trial, added(trial, "sweep-x", shared=False), 2)
        line = command_line(trial, command, "sweep-x", shared=False)
        typed = parse_command(line[3:])
        itself = prepare(typed.draft(), dataclasses.replace(machine, cores=2), plan_only=True)
        assert given == itself
        assert given.trial_id == trial.trial_id
        assert make_record(given, None) == make_record(itself, None)
        for mine, its in ((given.config, itself.config), (given.composed, itself.composed)):
            assert to_yaml(mine) == to_yaml(its)
            assert origins(mine) == origins(its)


def test_its_process_runs_what_it_was_given_whatever_its_words_come_to_now(monkeypatch, tmp_path):
    _, (trial, *_) = planned(CPU, "hardware=cpu", "seed=1,2", "monitor=local")
    given = handover.derived(trial, {"run.display": "plain"}, 2)
    for name, value in handover.write(given, tmp_path / "trial.config").items():
        monkeypatch.setenv(name, value)
    launched = []

    def launch(resolved, command):
        launched.append(resolved)
        return SimpleNamespace(exit_code=0)

    monkeypatch.setattr("rlagent.launch.launch.launch", launch)
    assert train.main(["+experiment=gone_meanwhile"]) == 0
    assert launched == [given]
    assert origins(launched[0].composed) == origins(given.composed)
    # The next run of this process is one of its own.
    assert handover.taken() is None


def test_what_is_right_no_more_is_refused_where_the_trial_starts(monkeypatch, tmp_path):
    reference = "workflow.args.max_iters='${oc.env:PLANTED}'"
    monkeypatch.setenv("PLANTED", "sesame")
    _, (trial, *_) = planned(CPU, "hardware=cpu", "seed=1,2", reference)
    ((name, value),) = handover.write(
        handover.derived(trial, {}, 2), tmp_path / "trial.config"
    ).items()
    assert b"sesame" not in (tmp_path / "trial.config").read_bytes()
    monkeypatch.setenv(name, value)
    monkeypatch.delenv("PLANTED")
    with pytest.raises(ConfigError, match="export PLANTED"):
        handover.taken()
