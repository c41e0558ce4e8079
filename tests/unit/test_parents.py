"""A run starts from another run's checkpoint by its name; what is not there is refused by name."""

import json
from pathlib import Path

import pytest

from rlagent.base.errors import ConfigError
from rlagent.config.compose import to_yaml
from rlagent.config.resolve import Resolved, resolve
from rlagent.launch.record import lineage_of, make_record, write_record
from rlagent.launch.watch import run_info
from rlagent.machine.resources import Machine
from rlagent.records.folder import RunFolder
from rlagent.records.listing import run_entry
from rlagent.records.parents import STAMP, find_parent, lineage_of_folder, lineage_words
from rlagent.report.page import facts
from rlagent.serving.card import model_card
from rlagent.serving.trained import Trained, find_trained
from tests.configured import configured
from tests.unit.test_checkpoint_names import keep, measure

HERE = Machine((), 4, 16.0)


def resolved(root: Path, *overrides: str) -> Resolved:
    return resolve(configured("hardware=cpu", f"run.dir={root}", *overrides), HERE)


def make(root: Path, name: str, *overrides: str, steps: tuple[int, ...] = (10, 20)) -> RunFolder:
    """A run as training leaves it, of so many checkpoints."""
    made = resolved(root, *overrides)
    run = RunFolder(root / name)
    run.make()
    run.config_yaml.write_text(to_yaml(made.config))
    run.write_status(state="finished", steps_asked=20)
    write_record(run, make_record(made, None))
    for step in steps:
        keep(run, step)
    return run


@pytest.fixture
def root(tmp_path: Path) -> Path:
    make(tmp_path, "sft-1a2b3c4d", "model=tiny", "model.recipe.lr=2e-4")
    return tmp_path


def refusal(root: Path, path: str) -> str:
    with pytest.raises(ConfigError) as raised:
        resolved(root, f"model.path={path}")
    assert len(raised.value.problems) == 1
    return str(raised.value)


@pytest.mark.parametrize("named", ["sft-1a2b3c4d@20", "1a2b3c4d@last", "sft-1a2b3c4d", "1a2b3c4d"])
def test_a_run_is_named_as_in_other_commands_and_gives_all_that_belongs_to_its_weights(
    root: Path, named: str
) -> None:
    found = resolved(root, f"model.path={named}")
    model = found.config.model
    assert model.path == str(root / "sft-1a2b3c4d" / "exports" / "step-20")
    assert (model.name, model.dtype, model.shape.vocab) == ("tiny", "float32", 804)
    # The recipe, and the dataset that goes with the first model of the line.
    assert (found.config.algorithm.lr, found.config.model.max_model_len) == (2e-4, 1024)
    assert found.config.dataset.name == "gsm8k_tiny"
    assert any("step 20 of sft-1a2b3c4d" in line for line in found.choices)


def test_a_folder_of_a_run_is_a_run(root: Path) -> None:
    run = root / "sft-1a2b3c4d"
    assert resolved(root, f"model.path={run}").config.model.path == f"{run}/exports/step-20"
    assert resolved(root, f"model.path={run}@10").config.model.path == f"{run}/exports/step-10"


def test_what_was_written_beside_it_wins(root: Path) -> None:
    found = resolved(root, "model.path=1a2b3c4d@10", "model.dtype=bfloat16", "algorithm.lr=1e-5")
    assert found.config.model.dtype == "bfloat16"
    assert found.config.algorithm.lr == 1e-5


def test_without_a_step_the_best_is_taken_where_it_was_measured(root: Path) -> None:
    measure(RunFolder(root / "sft-1a2b3c4d"), s10=0.7, s20=0.4)
    assert resolved(root, "model.path=1a2b3c4d").config.model.path.endswith("step-10")
    assert resolved(root, "model.path=1a2b3c4d@last").config.model.path.endswith("step-20")


def test_the_base_is_what_that_run_began_from(root: Path) -> None:
    found = resolved(root, "model.path=sft-1a2b3c4d@base")
    assert found.config.model.path == "builtin:tiny"
    assert lineage_of(found) == []


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("nothing@20", "no run 'nothing'; newest runs in {root}/: sft-1a2b3c4d"),
        ("sft-99999999", "no run 'sft-99999999'; newest runs in {root}/: sft-1a2b3c4d"),
        ("{root}/other", "no run '{root}/other'; newest runs in {root}/: sft-1a2b3c4d"),
        ("1a2b3c4d@15", "has no checkpoint '15': there are base, 10, 20, `last` (20)"),
        ("1a2b3c4d@bst", "has no checkpoint 'bst': there are base, 10, 20"),
    ],
)
def test_a_missing_run_or_step_is_refused_with_what_there_is(
    root: Path, path: str, said: str
) -> None:
    assert said.format(root=root) in refusal(root, path.format(root=root))


def test_latest_is_refused_since_the_run_itself_will_be_it(root: Path) -> None:
    RunFolder(root / "sft-1a2b3c4d").point_latest()
    assert refusal(root, "latest@20").endswith("name it: model.path=sft-1a2b3c4d@20")


def test_hub_ids_and_model_folders_are_no_runs(root: Path, tmp_path: Path) -> None:
    for path in ("gpt2", "Qwen/Qwen3-8B", "builtin:tiny", str(tmp_path / "models@v2/a")):
        assert find_parent(path, str(root)) is None
    # A hub id without an owner is none of the runs here.
    assert find_parent("gpt2", ".") is None


def test_a_run_that_never_began_to_train_is_refused(root: Path) -> None:
    RunFolder(root / "new-00000000").write_status(state="starting")
    assert "has not begun to train" in refusal(root, "new-00000000")


def test_a_trial_is_the_same_however_its_parent_is_spelt(root: Path) -> None:
    ids = {
        resolved(root, f"model.path={path}").trial_id
        for path in ("1a2b3c4d@20", "sft-1a2b3c4d@20", f"{root}/sft-1a2b3c4d@20")
    }
    others = [resolved(root, f"model.path=1a2b3c4d@{name}").trial_id for name in ("10", "last")]
    assert len({*ids, *others}) == 3


def test_a_line_is_recorded_from_run_to_run(root: Path) -> None:
    child = make(root, "rl-00000001", "model.path=1a2b3c4d@20", steps=(5,))
    grandchild = resolved(root, "model.path=rl-00000001@5")
    line = lineage_of(grandchild)
    assert lineage_words(line) == "step 5 of rl-00000001, from step 20 of sft-1a2b3c4d (tiny)"
    assert [one["base"] for one in line] == ["step-20", "builtin:tiny"]
    assert grandchild.config.model.name == "tiny"
    assert grandchild.config.dataset.name == "gsm8k_tiny"
    child.write_status(lineage=lineage_of(resolved(root, "model.path=1a2b3c4d@20")))
    assert run_entry(child).parent == "sft-1a2b3c4d@20"
    # It trained from that export, and so does whoever exports it.
    kept = Trained(child, None, None).base  # type: ignore[arg-type]
    assert kept == str(root / "sft-1a2b3c4d" / "exports" / "step-20")


def test_report_and_dashboard_show_the_line(root: Path) -> None:
    found = resolved(root, "model.path=1a2b3c4d@20")
    info = run_info(found, RunFolder(root / "rl-00000002"), None)
    assert info.config["parent"] == "sft-1a2b3c4d@20"
    assert [one["run"] for one in info.config["lineage"]] == ["sft-1a2b3c4d"]
    assert ("Started from", "step 20 of sft-1a2b3c4d (tiny)") in facts(
        {"lineage": lineage_of(found)}
    )
    assert "parent" not in run_info(resolved(root), RunFolder(root / "rl-00000003"), None).config


def test_an_exported_folder_has_its_line_with_it(root: Path, tmp_path: Path) -> None:
    folder = tmp_path / "exported"
    folder.mkdir()
    line = [{"run": "sft-1a2b3c4d", "step": 20, "model": "tiny", "base": "builtin:tiny"}]
    (folder / STAMP).write_text(json.dumps({"lineage": line}))
    assert lineage_of_folder(str(folder)) == line


def test_a_step_whose_checkpoint_was_pruned_is_its_export(root: Path) -> None:
    folder = root / "sft-1a2b3c4d" / "exports" / "step-15"
    folder.mkdir(parents=True)
    (folder / STAMP).write_text("{}")
    assert resolved(root, "model.path=1a2b3c4d@15").config.model.path == str(folder)


def test_a_resolved_file_names_the_same_checkpoint(root: Path) -> None:
    found = resolved(root, "model.path=1a2b3c4d@20")
    again = resolved(root, f"model.path={found.config.model.path}")
    assert lineage_of(again) == lineage_of(found)


def test_the_card_of_a_model_that_learnt_from_conversations_speaks_of_no_reinforcement(
    root: Path, tmp_path: Path
) -> None:
    file = tmp_path / "taught.jsonl"
    said = [{"role": "user", "content": "1 + 1?"}, {"role": "assistant", "content": "2"}]
    file.write_text((json.dumps({"messages": said}) + "\n") * 8)
    given = ("model=tiny", "algorithm=sft", "dataset=conversations", f"dataset.path={file}")
    run = make(root, "taught-00000009", *given, "algorithm.batch_size=4", steps=(4,))
    (tmp_path / "config.json").write_text("{}")
    card = model_card(find_trained(run.name, "4", root), tmp_path)
    assert "on an agent's conversations" in card
    assert "| a step | 4 conversations |" in card
    assert "reinforcement" not in card
