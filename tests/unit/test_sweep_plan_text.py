"""What `rlagent plan -m` prints: what trials share once, a row for each, and how to see more."""

import itertools
import shlex

import pytest

from rlagent import plan
from rlagent.config.command import parse_command
from rlagent.machine.resources import GPU, Machine
from rlagent.sweep import grid, plan_text

REACT = ("-m", "+experiment=gsm8k_react")
H100S = Machine((GPU("H100", 80.0),) * 8, 64, 512.0)


def printed(capsys, *words: str) -> list[str]:
    assert plan.main([*REACT, *words]) == 0
    return capsys.readouterr().out.splitlines()


def table_of(lines: list[str]) -> list[list[str]]:
    """The rows of the trials as cells."""
    heads = next(line for line in lines if line.startswith("#   trial "))
    starts = [heads.index(name) for name in plan_text.HEAD if f"  {name}" in heads]
    ends = [*starts[1:], None]
    rows = itertools.takewhile(lambda line: line[4:5].isdigit(), lines[lines.index(heads) + 1 :])
    return [
        [line[start:end].strip() for start, end in zip(starts, ends, strict=True)] for line in rows
    ]


def test_a_sweep_of_layouts_is_a_table_with_memory_seconds_and_a_verdict(capsys) -> None:
    lines = printed(capsys, "hardware=8gpu", "+sweep=layouts")
    assert len(lines) < 60
    assert max(line.count("qwen3_8b, the largest that fits") for line in lines) == 1
    rows = table_of(lines)
    assert len(rows) == 21
    assert rows[0] == ["1", "4x1+4s2", "78 (21) GiB", "62 GiB", "150.6 s", "20 minutes",
                       "fits, among the fastest"]  # fmt: skip
    assert rows[-1][1].endswith(" (o)")
    assert rows[-1][-1] == "fits, 10.5 x the fastest"
    assert "#   (o): the trainer's state in host memory" in lines
    refused = lines[lines.index("# layouts refused") + 1]
    assert refused == "#   1x1*1: colocated leaves 7 of 8 GPUs idle"


def test_what_all_trials_have_in_common_is_said_once_and_what_differs_in_the_table(capsys) -> None:
    lines = printed(capsys, "hardware=cpu", "algorithm.lr=1e-4,3e-4", "seed=1,2")
    assert lines.count("#   rollouts per step  128 = 16 x 8") == 1
    assert lines.count("# run folder") == 0
    # Neither memory of GPUs nor layouts: there is one, and it is said above.
    assert "#   rough estimates: time of the whole run" in lines
    rows = [row[:2] for row in table_of(lines)]
    assert rows == [
        ["1", "algorithm.lr=1e-4 seed=1"],
        ["2", "algorithm.lr=1e-4 seed=2"],
        ["3", "algorithm.lr=3e-4 seed=1"],
        ["4", "algorithm.lr=3e-4 seed=2"],
    ]


def test_a_trial_is_seen_whole_by_all_or_by_the_command_that_is_shown(capsys) -> None:
    words = ["hardware=8gpu", "+sweep=layouts", "sweep.max_trials=2"]
    every = printed(capsys, *words, "--all")
    assert sum(line.startswith("# trial ") for line in every) == 2
    assert every.count("# run folder") == 2
    command = printed(capsys, *words)[-1].lstrip("# ")
    shown = shlex.split(command)
    assert plan.main(shown[shown.index("rlagent.plan") + 1 :]) == 0
    text = capsys.readouterr().out
    assert "#   4x1+4s2: 4 rollout engines" in text
    folder = every[every.index("# run folder") + 1]
    assert folder in text


def test_a_long_table_is_cut_off_and_says_so(capsys) -> None:
    words = ["hardware=cpu", f"seed=range(1,{plan_text.SHOWN + 4})"]
    lines = printed(capsys, *words)
    assert "#   and 3 more: --all shows them" in lines
    assert len(table_of(lines)) == plan_text.SHOWN


def test_secrets_of_trials_are_not_printed(capsys) -> None:
    words = ["hardware=cpu", "trinity.explorer.env_vars.api_key=sesame-1,sesame-2", "--all"]
    # A secret is refused where it is written out, and not repeated on the way.
    assert plan.main(["-m", "+experiment=gsm8k_react", *words]) == 2
    said = capsys.readouterr()
    assert "api_key" in said.out + said.err
    assert "sesame" not in said.out + said.err


@pytest.mark.parametrize(
    ("words", "verdict"),
    [
        (["hardware.layout=1x1*1,4x1+4"], "colocated leaves 7 of 8 GPUs idle"),
        (["hardware.layout=4x1+4,7x1+1"], "fits, among the fastest"),
        (["algorithm.batch_size=8,32"], "fits"),
    ],
)
def test_seconds_are_compared_only_where_nothing_but_layouts_differ(words, verdict) -> None:
    command = parse_command([*REACT, "model=qwen3_0_6b", *words])
    planned = grid.plan(command, H100S, command.draft(multirun=True))
    first = next(line for line in plan_text.trial_table(planned.trials) if line.startswith("1 "))
    assert first.endswith(f"  {verdict}")
