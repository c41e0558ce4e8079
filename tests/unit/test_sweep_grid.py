"""Planning a grid: every trial composed, checked and resolved before the first starts."""

from pathlib import Path

import pytest

from rlagent import plan as plan_command
from rlagent import train
from rlagent.base.errors import ConfigError
from rlagent.config.command import parse_command
from rlagent.machine.resources import GPU, Machine
from rlagent.sweep.common import (
    command_line,
    impossible,
    impossible_here,
    resources_for,
    sweep_id,
    uses_cluster,
)
from rlagent.sweep.grid import GridSource, plan

CPU = Machine((), 8, 64.0)
H100S = Machine((GPU("H100", 80.0),) * 4, 64, 512.0)
REACT = ("-m", "+experiment=gsm8k_react")


def planned(*words: str, machine: Machine = CPU, plan_only: bool = False):
    command = parse_command([*REACT, *words])
    return plan(command, machine, command.draft(multirun=True), plan_only)


def test_a_grid_is_the_product_of_all_values_in_the_order_typed() -> None:
    grid = planned("hardware=cpu", "algorithm.lr=1e-4,3e-4", "seed=1,2")
    assert [trial.differing for trial in grid.trials] == [
        ("algorithm.lr=1e-4", "seed=1"),
        ("algorithm.lr=1e-4", "seed=2"),
        ("algorithm.lr=3e-4", "seed=1"),
        ("algorithm.lr=3e-4", "seed=2"),
    ]
    assert grid.parameters == ["algorithm.lr", "seed"]
    assert grid.trials[1].params == {"algorithm.lr": 1e-4, "seed": 2}
    assert grid.trials[1].overrides == (
        "+experiment=gsm8k_react",
        "hardware=cpu",
        "algorithm.lr=1e-4",
        "seed=2",
    )
    assert len({trial.trial_id for trial in grid.trials}) == 4


def test_every_mistake_of_every_trial_is_listed_with_its_trial() -> None:
    with pytest.raises(ConfigError) as caught:
        planned("hardware=cpu", "algorithm.lr=1e-4,0", "algorithm.batch_size=4,-1")
    lines = str(caught.value).splitlines()
    assert lines == [
        "algorithm.batch_size=-1: must be at least 1 and at most 100000 (trials 2, 4 of 4)",
        "algorithm.lr=0: must be at least 1e-12 and below 1 (trials 3, 4 of 4)",
    ]


def test_a_mistake_of_one_trial_is_named_with_what_sets_it_apart() -> None:
    with pytest.raises(ConfigError) as caught:
        planned("hardware=cpu", "algorithm.lr=1e-4,0")
    assert str(caught.value) == (
        "algorithm.lr=0: must be at least 1e-12 and below 1 (trial 2 of 2: algorithm.lr=0)"
    )


def test_a_mistake_of_all_trials_is_named_once_and_without_them() -> None:
    with pytest.raises(ConfigError) as caught:
        planned("hardware=cpu", "seed=1,2,3", "model.temperature=-1")
    assert str(caught.value).count("\n") == 0
    assert "trial" not in str(caught.value)


def test_duplicates_run_once_and_this_is_said() -> None:
    grid = planned("hardware=cpu", "seed=1,2,1")
    assert [trial.params["seed"] for trial in grid.trials] == [1, 2]
    assert grid.notes == ["runs once, though it is there twice: seed=1"]


def test_values_that_make_no_run_of_their_own_are_refused() -> None:
    with pytest.raises(ConfigError, match="does not make a run of its own") as caught:
        planned("hardware=cpu", "algorithm.total_steps=5,10")
    assert caught.value.problems[0].key == "algorithm.total_steps"


def test_max_trials_takes_the_first() -> None:
    grid = planned("hardware=cpu", "seed=1,2,3", "sweep.max_trials=2")
    assert [trial.params["seed"] for trial in grid.trials] == [1, 2]
    assert "the first 2 of 3" in grid.notes[0]


def test_parameters_of_a_preset_make_a_grid_and_the_command_line_wins(tmp_path) -> None:
    (tmp_path / "sweep").mkdir()
    (tmp_path / "sweep" / "mine.yaml").write_text(
        "# @package _global_\nhydra:\n  sweeper:\n    params:\n"
        "      algorithm.lr: 1e-4,3e-4\n      seed: range(1,4)\n"
    )
    words = ("--config-dir", str(tmp_path), "+sweep=mine", "hardware=cpu")
    assert len(planned(*words).trials) == 6
    grid = planned(*words, "seed=7")
    assert [trial.params for trial in grid.trials] == [
        {"algorithm.lr": 1e-4},
        {"algorithm.lr": 3e-4},
    ]
    assert all(trial.resolved.config.seed == 7 for trial in grid.trials)
    command = parse_command([*REACT, *words])
    line = command_line(grid.trials[0], command, "sweep-x", shared=False)
    assert line[-2:] == ["--config-dir", str(tmp_path)]


def test_parameters_typed_for_the_sweeper_are_those_of_the_trials() -> None:
    for plus in ("", "+", "++"):
        grid = planned("hardware=cpu", f"{plus}hydra.sweeper.params.seed=1,2")
        assert [trial.differing for trial in grid.trials] == [("seed=1",), ("seed=2",)]
        assert grid.parameters == ["seed"]
        assert [trial.resolved.config.seed for trial in grid.trials] == [1, 2]


def test_parameters_typed_for_the_sweeper_win_over_a_presets(tmp_path) -> None:
    (tmp_path / "sweep").mkdir()
    (tmp_path / "sweep" / "mine.yaml").write_text(
        "# @package _global_\nhydra:\n  sweeper:\n    params:\n      seed: range(1,4)\n"
    )
    words = ("--config-dir", str(tmp_path), "+sweep=mine", "hardware=cpu")
    grid = planned(*words, "hydra.sweeper.params.seed=7,8")
    assert [trial.params for trial in grid.trials] == [{"seed": 7}, {"seed": 8}]


@pytest.mark.parametrize("other", ["seed=3", "seed=3,4", "+hydra.sweeper.params.seed=3,4"])
def test_a_swept_key_given_once_more_is_refused(other) -> None:
    with pytest.raises(ConfigError, match="seed=1,2: is given again: seed=3"):
        planned("hardware=cpu", "seed=1,2", other)
    # Of single values the last counts, as in Hydra.
    assert len(planned("hardware=cpu", "seed=1", "seed=2", "algorithm.lr=1e-4,3e-4").trials) == 2


def test_settings_of_a_search_are_noted_in_a_grid() -> None:
    grid = planned("hardware=cpu", "seed=1,2", "sweep.n_trials=5", "sweep.pruner=asha")
    assert [note.partition(":")[0] for note in grid.notes] == [
        "sweep.n_trials=5 changes nothing",
        "sweep.pruner=asha changes nothing",
    ]
    assert "sweep.sampler=tpe" in grid.notes[0]


def test_other_settings_of_hydra_cannot_be_swept() -> None:
    command = parse_command([*REACT, "hydra.verbose=true,false", "hydra/sweeper=basic,rlagent"])
    problems = command.draft(multirun=True).problems
    assert [str(problem) for problem in problems] == [
        "hydra.verbose=true,false: Hydra's own settings cannot be swept; give it one value",
        "hydra/sweeper=basic,rlagent: Hydra's own settings cannot be swept; give it one value",
    ]


def test_a_mistake_in_a_presets_parameters_is_found_before_anything_starts(tmp_path) -> None:
    (tmp_path / "sweep").mkdir()
    (tmp_path / "sweep" / "mine.yaml").write_text(
        "# @package _global_\nhydra:\n  sweeper:\n    params:\n      algorithm.lrr: 1e-4,3e-4\n"
    )
    with pytest.raises(ConfigError, match=r"did you mean algorithm.lr\?"):
        planned("--config-dir", str(tmp_path), "+sweep=mine", "hardware=cpu")


def test_every_legal_layout_of_the_hardware_is_tried_the_planners_choice_first() -> None:
    grid = planned("hardware=cpu", "hardware.logical_gpus=4", "+sweep=layouts")
    layouts = [trial.params["hardware.layout"] for trial in grid.trials]
    assert layouts[0] == str(planned_alone("hardware.logical_gpus=4"))
    assert {"1x1+3", "2x1+2", "3x1+1", "1x2+2"} <= set(layouts)
    assert len(set(layouts)) == len(layouts)
    assert [str(trial.resolved.layout) for trial in grid.trials] == layouts
    assert grid.parameters == ["hardware.layout"]
    assert int(grid.trials[0].resolved.config.algorithm.total_steps) <= 10


def test_layouts_that_the_batch_does_not_divide_by_are_left_out_and_named() -> None:
    fixed = ("algorithm.train_batch_size=16", "algorithm.batch_size=4", "model=qwen3_0_6b")
    grid = planned(*fixed, "+sweep=layouts", machine=H100S)
    layouts = [trial.params["hardware.layout"] for trial in grid.trials]
    assert "2x1+2" in layouts
    assert "1x1+3" not in layouts
    (note,) = [note for note in grid.notes if note.startswith("left out 1x1+3:")]
    assert "3 data-parallel parts" in note


def planned_alone(*words: str):
    return planned("hardware=cpu", *words).trials[0].resolved.layout


def test_layouts_are_an_ordinary_grid_too_and_take_what_they_need() -> None:
    grid = planned("model=qwen3_0_6b", "hardware.layout=1x1+1,2x1+2,1x1*1", machine=H100S)
    assert [trial.need.gpus for trial in grid.trials] == [2, 4, 1]
    resources = resources_for(H100S, [t.resolved for t in grid.trials], "auto", "4,5,6,7")
    assert resources.gpus == ("4", "5", "6", "7")
    assert not uses_cluster([t.resolved for t in grid.trials])
    assert impossible(grid.trials, resources, shared=False) == []


def test_a_trial_that_can_never_fit_is_refused() -> None:
    grid = planned("hardware=cpu", "seed=1,2", "sweep.memory_gib=100")
    resources = resources_for(CPU, [t.resolved for t in grid.trials], "auto", None)
    (problem,) = impossible(grid.trials, resources, shared=False)
    assert str(problem).startswith("sweep.memory_gib=100: a trial can have at most 63.0 GiB")


@pytest.mark.parametrize(
    ("machine", "hardware", "refused"),
    [
        (CPU, "hardware=cpu", True),
        (H100S, "hardware.gpus=4", True),
        (H100S, "hardware.gpu=h100-80g", True),
        (CPU, "hardware=8gpu", False),
        (H100S, "hardware=8gpu", False),
        (H100S, "hardware=2x8gpu", False),
        (H100S, "hardware.gpu=h200-141g", False),
    ],
)
def test_a_plan_refuses_what_can_never_fit_here_and_leaves_other_machines_alone(
    machine: Machine, hardware: str, refused: bool
) -> None:
    words = ("model=qwen3_0_6b", hardware, "sweep.memory_gib=600", "seed=1,2")
    if machine is CPU and refused:
        words = words[1:]
    grid = planned(*words, machine=machine, plan_only=True)
    problems = [str(item) for item in impossible_here(machine, grid.trials, "auto", None)]
    assert len(problems) == (1 if refused else 0)
    assert all(line.startswith("sweep.memory_gib=600: ") for line in problems)


@pytest.mark.parametrize("swept", ["seed=1,2", "+sweep=optuna_lr"])
def test_plan_and_train_refuse_the_same_memory_before_anything_starts(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, swept: str
) -> None:
    said = []
    words = [*REACT, "hardware=cpu", f"run.dir={tmp_path}", "sweep.memory_gib=1e5", swept]
    for command in (plan_command.main, train.main):
        assert command(words) == 2
        said.append(capsys.readouterr())
    assert said[0] == said[1]
    assert "sweep.memory_gib=100000: a trial can have at most" in said[0].err


def test_colocated_trials_are_refused_on_a_shared_cluster() -> None:
    grid = planned(
        "model=qwen3_0_6b", "hardware.ray=10.0.0.1:6379", "hardware.layout=1x1*1", machine=H100S
    )
    resolved = [trial.resolved for trial in grid.trials]
    assert uses_cluster(resolved)
    resources = resources_for(H100S, resolved, "auto", None)
    (problem,) = impossible(grid.trials, resources, shared=True)
    assert "Ray of their own" in str(problem)


def test_what_the_launcher_adds_to_a_trial_leaves_its_identity_alone() -> None:
    words = ("hardware=cpu", "monitor=wandb", "seed=1,2")
    command = parse_command([*REACT, *words])
    trial = planned(*words).trials[1]
    line = command_line(trial, command, "sweep-gsm8k_react-0a1b2c3d", shared=False)
    again = parse_command(line[3:])
    assert again.problems == []
    draft = again.draft()
    assert draft.problems == []
    assert draft.config.monitor.group == "sweep-gsm8k_react-0a1b2c3d"
    assert draft.config.monitor.name == "seed=2"
    assert draft.config.hardware.ray == "start"
    from rlagent.config.identity import trial_id

    assert trial_id(draft.config) == trial.trial_id


def test_adding_values_goes_on_in_the_same_sweep_other_settings_make_another() -> None:
    one = sweep_id(["+experiment=x", "seed=1,2"], ["seed"], "grid")
    assert one == sweep_id(["seed=1,2,3", "+experiment=x"], ["seed"], "grid")
    for harmless in ("run.dir=/tmp", "monitor=wandb", "sweep.max_parallel=2"):
        assert one == sweep_id(["+experiment=x", "seed=1,2", harmless], ["seed"], "grid")
    assert one == sweep_id(["+experiment=x", "algorithm.total_steps=9"], ["seed"], "grid")
    assert one != sweep_id(["+experiment=x", "model=tiny"], ["seed"], "grid")
    assert one != sweep_id(["+experiment=x", "+sweep=layouts"], ["seed"], "grid")
    assert one != sweep_id(["+experiment=x", "run.name=y"], ["seed"], "grid")
    assert one != sweep_id(["+experiment=x"], ["algorithm.lr"], "grid")
    assert one != sweep_id(["+experiment=x"], ["seed"], "optuna")


def test_a_source_of_a_grid_hands_out_each_trial_once() -> None:
    source = GridSource(planned("hardware=cpu", "seed=1,2").trials)
    assert not source.exhausted()
    assert [source.next().number, source.next().number, source.next()] == [0, 1, None]
    assert source.exhausted()


def test_layouts_of_gpus_are_tried_by_the_planners_estimate_which_each_trial_keeps() -> None:
    asked = ["model=qwen3_1_7b", "hardware.trainer_gpus=2"]
    grid = planned(*asked, "+sweep=layouts", machine=H100S)
    alone = planned(*asked, machine=H100S).trials[0].resolved.layout
    layouts = [str(trial.resolved.layout) for trial in grid.trials]
    assert layouts[0] == str(alone)
    assert len(layouts) > 3
    _, *others = [trial.estimated_step_s for trial in grid.trials]
    assert all(others)
    assert others == sorted(others)
    few = planned(*asked, "+sweep=layouts", "sweep.max_trials=3", machine=H100S)
    assert [str(trial.resolved.layout) for trial in few.trials] == layouts[:3]
    assert few.notes[0].endswith("what auto takes, then the fastest by the planner's estimate")


def test_on_a_cpu_the_estimate_is_of_the_cpu_whatever_the_layout() -> None:
    logical = ("hardware.logical_gpus=8", "hardware.layout=4x1+4,2x2+4")
    first, second = planned("hardware=cpu", *logical).trials
    assert first.estimated_step_s == second.estimated_step_s
    larger = planned("hardware=cpu", "algorithm.repeat_times=16,64").trials
    assert 0 < larger[0].estimated_step_s < larger[1].estimated_step_s


@pytest.mark.parametrize(
    "words",
    [
        ["algorithm.lr=1e-4,abc", "sed=1,2", "model=tinny"],
        ["algorithm.lr=tag(log,interval(-1e-5,1e-3))", "sed=1", "model=tinny", "+sweep=optuna"],
    ],
)
def test_mistakes_of_all_trials_and_of_some_are_listed_together(words: list[str], capsys) -> None:
    for command in (plan_command.main, train.main):
        assert command(["-m", *REACT, "hardware=cpu", *words]) == 2
        lines = capsys.readouterr().err.splitlines()
        heads = sorted(line.split("=")[0] for line in lines)
        assert heads == ["algorithm.lr", "model", "sed"]
