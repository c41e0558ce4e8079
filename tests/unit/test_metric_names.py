"""What trials are compared by is known to be measured before the first of them starts."""

import ast
import re
from pathlib import Path

import pytest

import rlagent
from rlagent.config.check import check
from rlagent.config.metric_names import KNOWN
from rlagent.plan import main
from tests.configured import configured

NAME = re.compile(
    r"(eval|rollout|time|tokens|idle|actor|critic|sample|perf|training|off_policy)/[a-z_/]+"
)
NO_METRIC = (
    *("actor/huggingface", "actor/mfu", "tokens/s"),
    *("time/run_execution", "time/task_execution"),
    *("actor/rollout_probs_diff_mean", "actor/rollout_probs_diff_max"),
)
"""A folder, names that are changed before they are written, a unit, and a part of a name."""
WORKFLOW = """
async def solve(task, model):
    return 1.0, {"rewards": 2.0}
"""


def problems(*overrides: str, **kwargs: bool) -> list[str]:
    return [str(item) for item in check(configured(*overrides), **kwargs)]


@pytest.mark.parametrize(
    "name",
    [
        *("eval/success", "rollout/reward/mean", "time/step", "tokens/per_second", "actor/ppo_kl"),
        # A workflow's own, an algorithm's own, an operator's own.
        *("rollout/format/mean", "rollout/reward_shaped/mean", "actor/sapo_loss"),
        "experience_pipeline/filtered_count",
    ],
)
def test_metrics_that_runs_measure_or_may_measure_are_taken(name: str) -> None:
    assert problems(f"sweep.metric={name}") == []


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("eval/sucess", "eval/success"),
        ("evl/success", "eval/success"),
        ("success", "eval/success"),
        ("eval/sucess_lwo", "eval/success_low"),
        ("rollout/reward", "rollout/reward/mean"),
        ("rollout/rewrad/mean", "rollout/reward/mean"),
        ("rollout/reward/meam", "rollout/reward/mean"),
        ("tokens/per_secnd", "tokens/per_second"),
        ("actor/ppo_lk", "actor/ppo_kl"),
    ],
)
def test_a_misspelt_metric_names_the_one_that_was_meant(name: str, meant: str) -> None:
    (line,) = problems(f"sweep.metric={name}")
    assert line.startswith(f"sweep.metric={name}: no ")
    assert f"did you mean {meant}?" in line


def test_what_an_evaluation_measures_of_the_workflows_own_stands_in_its_file(
    tmp_path: Path, monkeypatch
) -> None:
    (line,) = problems("sweep.metric=eval/format")
    assert "of eval/ there are reward, success, " in line
    assert line.endswith("If the workflow returns it, write 'format' in its file")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(WORKFLOW)
    for name in ("eval/rewards", "eval/rewards/count"):
        assert problems("workflow.function=mine.py:solve", f"sweep.metric={name}") == []
    assert problems("sweep.metric=eval/rewards", workflow_given=True) == []


def test_a_workflows_own_metric_may_be_like_another(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(WORKFLOW)
    asked = ["workflow.function=mine.py:solve", "sweep.metric=rollout/rewards/mean"]
    assert problems(*asked) == []
    assert problems("sweep.metric=rollout/rewards/mean", workflow_given=True) == []
    (line,) = problems("sweep.metric=rollout/rewards/mean")
    assert line.endswith("If the workflow returns it, write 'rewards' in its file")


def test_a_sweep_by_a_misspelt_metric_starts_no_trial(capsys) -> None:
    words = [
        "-m",
        "+experiment=gsm8k_react",
        "hardware=cpu",
        "seed=1,2",
        "sweep.metric=eval/sucess",
    ]
    assert main(words) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("did you mean eval/success?") == 1


def test_every_name_that_is_written_or_read_in_the_source_is_known() -> None:
    package = Path(rlagent.__file__).parent
    found = set()
    for folder in ("launch", "trinity", "backends", "report", "records", "base"):
        for file in (package / folder).rglob("*.py"):
            tree = ast.parse(file.read_text())
            parts = {
                id(part)
                for node in ast.walk(tree)
                if isinstance(node, ast.JoinedStr)
                for part in ast.walk(node)
            }
            found |= {
                node.value
                for node in ast.walk(tree)
                if isinstance(node, ast.Constant)
                and id(node) not in parts
                and NAME.fullmatch(str(node.value))
            }
    assert len(found) > 50
    unknown = {name for name in found if name not in KNOWN and f"{name}/mean" not in KNOWN}
    assert unknown <= set(NO_METRIC)


def test_every_metric_of_the_update_is_defined_in_the_guide() -> None:
    guide = (Path(rlagent.__file__).parents[1] / "docs" / "metrics.md").read_text()
    families = ("off_policy/", "actor/", "training/")
    missing = [n for n in KNOWN if n.startswith(families) and f"`{n}`" not in guide]
    assert missing == []
