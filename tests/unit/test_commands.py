"""The commands as a person calls them, in processes of their own."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from rlagent import cli, plan, train
from rlagent.config.load import load_config
from rlagent.config.resolve import Resolved
from rlagent.records.sweep_store import SweepFolder
from rlagent.sweep.source import Trial

HEAVY = ("torch", "ray", "trinity", "agentscope", "vllm", "wandb", "numpy", "pandas")
HEAVY += ("optuna", "sqlalchemy")
WATCHED = f"""
import sys
from rlagent import cli
code = cli.main(sys.argv[1:])
loaded = sorted(set({HEAVY!r}) & set(sys.modules))
sys.exit(f"imported {{loaded}}" if loaded else code)
"""


def call(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess:
    environment = {**os.environ, "PYTHONPATH": str(Path(train.__file__).parent.parent)}
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, cwd=cwd, env=environment
    )


@pytest.mark.parametrize(
    "arguments",
    [
        ["train", "+experiment=gsm8k_react", "--cfg", "job"],
        ["plan", "+experiment=gsm8k_react", "hardware=8gpu", "trinity.trainer.save_interval=5"],
        ["plan", "-m", "+experiment=gsm8k_react", "+sweep=optuna_lr"],
        ["plan", "-m", "+experiment=gsm8k_react", "+sweep=layouts", "hardware=8gpu"],
        ["train", "--help"],
        ["runs", "--root", "."],
        ["sync", "--root", ".", "--dry-run"],
        ["report", "--help"],
        *([name, "--help"] for name in ("export", "serve", "chat", "try")),
        ["view", "--help"],
    ],
)
def test_composing_checking_and_planning_import_nothing_heavy(
    arguments: list[str], tmp_path: Path
) -> None:
    done = call("-c", WATCHED, *arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert list(tmp_path.iterdir()) == []


def test_five_mistakes_of_five_kinds_give_five_lines_and_status_2(tmp_path: Path) -> None:
    done = call(
        *("-m", "rlagent.train", "+experiment=gsm8k_react"),
        "model=tinyy",  # a preset that does not exist
        "+algorithm.lrr=1",  # an unknown key
        "seed=many",  # a wrong type
        "algorithm.batch_size=0",  # out of range
        "workflow.function=rlagent.workflows.gsm8k_react:react_agnt",  # cannot be found
        cwd=tmp_path,
    )
    assert done.returncode == 2
    assert done.stdout == ""
    lines = done.stderr.splitlines()
    assert len(lines) == 5
    assert "Traceback" not in done.stderr
    for line, start in zip(
        lines,
        ["model=tinyy", "algorithm.lrr=1", "seed=many", "algorithm.batch_size=0", "workflow.f"],
        strict=True,
    ):
        assert line.startswith(start)


def test_train_shows_the_composed_configuration(capsys) -> None:
    assert train.main(["+experiment=gsm8k_react", "--cfg", "job", "seed=3"]) == 0
    assert yaml.safe_load(capsys.readouterr().out)["seed"] == 3
    assert train.main(["--cfg", "job", "-p", "algorithm"]) == 0
    assert capsys.readouterr().out.startswith("# @package algorithm\nname:")
    assert train.main(["-m", "--cfg", "job", "seed=1,2"]) == 0


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--cgf", "job"], "--cgf: there is no such flag; did you mean --cfg?"),
        (["--cfg", "jobb"], "invalid choice: 'jobb'"),
        (["--cfg"], "expected one argument"),
        (["--seed=1"], "an override has no dashes: seed=1"),
        (["--config-dir", "/no/such", "--cfg", "job"], "there is no such folder"),
        (["--cfg", "job", "-p", "nothing"], "there is no such group"),
        (["--experimental-rerun", "x.pickle"], "is not supported"),
        (["--info", "defaults", "modl=tiny"], "did you mean model?"),
        (["seed=${nowhere}"], "nowhere"),
        (["--config-name", "nothing"], "Cannot find primary config 'nothing'"),
    ],
)
def test_a_wrong_flag_is_a_wrong_configuration(arguments: list[str], reason: str, capsys) -> None:
    assert train.main(arguments) == 2
    assert reason in capsys.readouterr().err


def test_flags_and_overrides_may_stand_in_any_order(capsys) -> None:
    assert train.main(["seed=2", "--cfg", "job", "run.name=mine"]) == 0
    shown = yaml.safe_load(capsys.readouterr().out)
    assert (shown["seed"], shown["run"]["name"]) == (2, "mine")


def test_a_sweep_with_a_wrong_trial_starts_none(capsys) -> None:
    arguments = ["-m", "+experiment=gsm8k_react", "hardware=cpu", "algorithm.batch_size=0,5"]
    assert train.main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("algorithm.batch_size=0")


def test_a_failed_trial_does_not_stop_the_others(monkeypatch, capsys, tmp_path) -> None:
    def stand_in(trial: Trial, *rest: object) -> list[str]:
        code = f"import sys; print('broken'); sys.exit({int('seed=1' in trial.overrides)})"
        return [sys.executable, "-c", code]

    monkeypatch.setattr("rlagent.sweep.main.command_line", stand_in)
    words = ["-m", "+experiment=gsm8k_react", "hardware=cpu", f"run.dir={tmp_path}", "seed=1,2,3"]
    words.append("monitor=local")
    assert train.main(words) == 1
    text = capsys.readouterr().out
    assert "2 finished, 1 failed" in text
    assert "failed, unknown: 1\n  trial 1 (seed=1): broken\n" in text
    assert f"-m rlagent.train {' '.join(words)}" in text
    (sweep,) = tmp_path.glob("sweep-gsm8k_react-*")
    assert [row.state for row in SweepFolder(sweep).read().trials] == [
        "failed",
        "finished",
        "finished",
    ]


def test_a_sweep_over_what_matches_a_pattern_makes_one_trial_each(capsys) -> None:
    arguments = [
        "-m",
        "+experiment=gsm8k_react",
        "hardware=cpu",
        "model=tiny",
        "algorithm=glob(g*)",
    ]
    assert plan.main(arguments) == 0
    text = capsys.readouterr().out
    assert "\n# 3 trials\n" in text
    assert all(f"  algorithm={name} " in text for name in ("gigpo", "grpo", "gspo"))
    assert plan.main([*arguments, "--all"]) == 0
    text = capsys.readouterr().out
    assert "\n# trial 1 of 3: +experiment=gsm8k_react" in text
    assert all(f"algorithm={name}\n" in text for name in ("gigpo", "grpo", "gspo"))


def test_plan_says_what_every_auto_became(capsys) -> None:
    pytest.importorskip("rlagent.trinity.translate")
    assert plan.main(["+experiment=gsm8k_react", "hardware=8gpu"]) == 0
    text = capsys.readouterr().out
    assert "qwen3_8b, the largest that fits 8 x 80 GiB" in text
    assert "4 rollout engines on 1 GPU each, trainer on 4 GPUs" in text
    assert "256 = 32 x 8" in text
    assert yaml.safe_load(text)["algorithm"]["algorithm_type"] == "multi_step_grpo"


def test_plan_prints_what_load_config_reads(capsys, tmp_path: Path) -> None:
    file = tmp_path / "plan.yaml"
    assert plan.main(["+experiment=gsm8k_react", "hardware=cpu", "--yaml"]) == 0
    file.write_text(capsys.readouterr().out)
    assert load_config(str(file)).model.path == "auto"
    assert plan.main(["+experiment=gsm8k_react", "hardware=cpu", "--yaml", "--resolve"]) == 0
    file.write_text(capsys.readouterr().out)
    assert load_config(str(file)).model.path == "builtin:tiny"


def test_plan_says_of_each_value_where_it_comes_from(capsys) -> None:
    words = ["+experiment=gsm8k_react", "hardware=cpu", "model.top_p=1", "--origin"]
    assert plan.main(words) == 0
    text = capsys.readouterr().out
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    found = {key: tuple(rest) for key, *rest in (re.split(r"  +", line) for line in lines)}
    assert found["model.top_p"] == ("1", "command line")
    assert found["hardware.gpus"] == ("0", "conf/hardware/cpu.yaml")
    assert found["model.dtype"] == ("float32", "auto: conf/model/tiny.yaml")
    assert found["algorithm.lr"] == ("0.0003", "auto: model.recipe.lr (conf/model/tiny.yaml)")
    assert found["hardware.threads"][1] == "auto: the cores of this machine"
    assert found["monitor.mode"] == ("auto", "auto: left to the launch")
    assert found["seed"] == ("1", "default")
    assert len({line.rindex(found[line.split()[0]][-1]) for line in lines}) == 1
    assert plan.main([*words, "-m", "seed=1,2"]) == 2
    assert "--origin: is for one run" in capsys.readouterr().err


def test_help_names_plan_and_its_yaml(capsys) -> None:
    assert train.main(["--help"]) == 0
    text = capsys.readouterr().out
    assert "rlagent plan +experiment=gsm8k_react --yaml" in text
    assert "qwen3_8b" in text
    assert re.search(r"\n  lr: auto +# Learning rate of the optimizer\n", text)
    assert plan.main(["--help"]) == 0
    assert "--yaml" in capsys.readouterr().out


def test_the_console_script_lists_its_commands(capsys) -> None:
    assert cli.main(["--help"]) == 0
    text = capsys.readouterr().out
    assert all(name in text for name in ("train", "plan", "doctor", "report", "stop"))
    assert cli.main(["trian"]) == 2
    assert "did you mean train?" in capsys.readouterr().err


@pytest.fixture
def launched(monkeypatch) -> list:
    """Stands in for the launch, which needs Ray; keeps what it was called with."""
    calls = []

    def launch(resolved: Resolved, command: Callable) -> SimpleNamespace:
        calls.append((resolved, command))
        return SimpleNamespace(exit_code=1 if resolved.config.seed == 13 else 0)

    monkeypatch.setitem(sys.modules, "rlagent.launch.launch", SimpleNamespace(launch=launch))
    return calls


def test_train_hands_over_what_it_resolved_and_ends_as_the_launch_does(launched: list) -> None:
    arguments = ["+experiment=gsm8k_react", "hardware=cpu", "+debug=fast"]
    assert train.main(arguments) == 0
    assert train.main([*arguments, "seed=13"]) == 1
    (resolved, command), _ = launched
    assert resolved.config.algorithm.total_steps == 3
    assert "algorithm.total_steps=6" in command({"algorithm.total_steps": 6})


def test_an_interruption_before_the_launch_exits_130(monkeypatch, capsys) -> None:
    def interrupt(command: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(train, "_train", interrupt)
    assert train.main(["+experiment=gsm8k_react", "hardware=cpu"]) == 130
    assert "interrupted" in capsys.readouterr().err


def test_nothing_is_launched_from_a_wrong_configuration(launched: list, capsys) -> None:
    assert train.main(["+experiment=gsm8k_react", "hardware=cpu", "seed=x"]) == 2
    assert "seed=x" in capsys.readouterr().err
    assert launched == []


@pytest.mark.parametrize(
    ("sweep", "setting"),
    [("optuna_lr", "sweep.sampler=tpe"), ("layouts", "sweep.layouts=true")],
)
def test_a_sweep_without_m_is_said_to_be_one_run(sweep: str, setting: str, capsys) -> None:
    words = ["+experiment=gsm8k_react", "hardware=cpu", f"+sweep={sweep}"]
    assert plan.main(words) == 0
    said = f"{setting} changes nothing without -m: this is one run\n"
    assert capsys.readouterr().err == said
    assert plan.main(["-m", *words]) == 0
    assert "without -m" not in capsys.readouterr().err
