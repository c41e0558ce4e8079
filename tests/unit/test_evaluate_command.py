"""What `rlagent evaluate` composes and refuses; nothing is started."""

import json

import pytest

from rlagent import evaluate
from rlagent.base.errors import ConfigError
from rlagent.base.origins import origins
from rlagent.config.compose import to_yaml
from rlagent.config.over_run import over_run
from rlagent.config.prepare import prepare
from rlagent.config.resolve import resolve
from rlagent.config.schema import AuxiliaryModel, DatasetConfig
from rlagent.launch import evaluating
from rlagent.launch.evaluating import Evaluating, checkpoints_asked, identity, measure
from rlagent.machine.resources import GPU, Machine
from rlagent.records.checkpoints import LATEST_CHECKPOINT, Kept
from rlagent.records.configuration import config_text, read_config
from rlagent.records.evaluations import EvaluationFolder, evaluations_in, measures
from rlagent.records.folder import RunFolder
from rlagent.train import main as train
from tests.configured import configured, drafted
from tests.unit.test_checkpoint_names import flip_a_byte, keep_shards

NAMES = {"own": "first", "sums": "sums"}
"""Tasksets of a mix, and their files."""

BASE = Kept(0, None)
CPU = Machine((), 2, 16.0)
H100 = Machine((GPU("NVIDIA H100 80GB HBM3", 80),) * 8, 64, 1024)


@pytest.fixture
def run(tmp_path) -> RunFolder:
    folder = RunFolder(tmp_path / "demo-0123abcd")
    folder.make()
    resolved = resolve(configured("hardware=cpu", "seed=7"), CPU)
    folder.config_yaml.write_text(to_yaml(resolved.config))
    folder.write_status(state="finished")
    return folder


def shown(capsys, run: RunFolder, *arguments: str) -> tuple[int, str, str]:
    line = [run.name, f"run.dir={run.path.parent}", "--cfg", "job", *arguments]
    code = evaluate.main(line)
    said = capsys.readouterr()
    return code, said.out, said.err


def test_overrides_are_laid_over_the_runs_own_configuration(capsys, run) -> None:
    code, text, _ = shown(capsys, run, "evaluate.samples=8", "checkpoint=base,3")
    assert code == 0
    assert "seed: 7" in text
    assert "samples: 8" in text
    assert "checkpoint: base,3" in text


def test_a_preset_of_data_takes_the_place_of_the_runs(run) -> None:
    config = over_run(
        configured("hardware=cpu"),
        evaluate.parse_command(["dataset=gsm8k", "dataset.path=/data"]).draft(),
    ).config
    assert (config.dataset.name, config.dataset.path) == ("gsm8k", "/data")
    assert config.model.name == configured("hardware=cpu").model.name


@pytest.mark.parametrize(
    ("typed", "asked"),
    [
        ([], 64),
        (["dataset.eval_tasks=7"], 7),
        (["dataset.eval_tasks=7", "evaluate.tasks=5"], 5),
        (["dataset=gsm8k_tiny"], DatasetConfig().eval_tasks),
    ],
)
def test_as_many_tasks_are_asked_as_are_typed_else_as_the_run_asked(
    tmp_path, monkeypatch, typed, asked
) -> None:
    resolved = resolve(configured("hardware=cpu", "dataset.eval_tasks=64"), CPU)
    run = RunFolder(tmp_path)
    run.config_yaml.write_text(to_yaml(resolved.config))
    run.write_status(state="finished")
    found = []

    def measured(resolved, *_) -> evaluating.Measured:
        found.append(resolved.config.dataset.eval_tasks)
        return evaluating.Measured(0, [])

    monkeypatch.setattr(evaluating, "measure", measured)
    assert evaluate.main([str(tmp_path), "checkpoint=base", *typed]) == 0
    assert found == [asked]


def test_hardware_is_that_of_this_machine_and_not_the_runs() -> None:
    trained = resolve(configured("hardware=cpu"), CPU).config
    draft = over_run(trained, evaluate.parse_command([]).draft())
    assert draft.config.hardware.engine == "auto"
    assert not [key for key in origins(draft.config) if key.startswith("hardware.")]


def test_what_is_trained_with_is_refused_by_name_and_everything_at_once(capsys, run) -> None:
    code, _, said = shown(
        capsys, run, "algorithm.lr=1", "model=tiny", "evaluate.sample=3", "+experiment=gsm8k_react"
    )
    assert code == 2
    for part in ("algorithm.lr=1", "model=tiny", "evaluate.samples?", "experiment=gsm8k_react"):
        assert part in said
    assert len(said.splitlines()) == 4


def test_a_run_that_is_not_there_is_named_with_those_there_are(capsys, run) -> None:
    assert evaluate.main(["nope", f"run.dir={run.path.parent}"]) == 2
    assert "demo-0123abcd" in capsys.readouterr().err


def test_two_runs_are_one_too_many(capsys, run) -> None:
    assert evaluate.main(["a", "b"]) == 2
    assert "rlagent compare" in capsys.readouterr().err


@pytest.mark.parametrize("key", ["checkpoint=base", "evaluate.tasks=5", "evaluate.fresh=true"])
def test_training_refuses_what_only_an_evaluation_reads(capsys, key) -> None:
    assert train(["+experiment=gsm8k_react", "hardware=cpu", key]) == 2
    assert f"{key.replace('true', 'True').split('=')[0]}" in capsys.readouterr().err


def test_a_checkpoint_that_is_not_there_is_named_with_those_there_are(run) -> None:
    with pytest.raises(ConfigError, match=r"(?s)checkpoint=7.*checkpoint=best") as caught:
        checkpoints_asked(run, "base,7,best")
    assert len(caught.value.problems) == 2


def test_checkpoints_are_measured_once_each_in_the_order_of_their_steps(run) -> None:
    for step in (4, 2):
        keep_shards(run, step)
    (run.checkpoints / LATEST_CHECKPOINT).write_text("4")
    assert [kept.step for kept in checkpoints_asked(run, "base, all")] == [0, 2, 4]


def test_of_all_checkpoints_a_damaged_one_is_named_with_the_one_before(run) -> None:
    keep_shards(run, 2)
    flip_a_byte(keep_shards(run, 4) / "actor/model_world_size_2_rank_1.pt")
    with pytest.raises(ConfigError, match=r"checkpoint=4: .*damaged.*whole is 2"):
        checkpoints_asked(run, "all")


@pytest.mark.parametrize("names", [["checkpoint=7"], ["-m", "checkpoint='7','best'"]])
def test_of_several_evaluations_a_missing_checkpoint_is_refused_before_the_first_is_named(
    capsys, run, mixed, monkeypatch, names
) -> None:
    monkeypatch.setattr(Evaluating, "run", lambda *_: pytest.fail("it was begun"))
    flags = [word for word in names if word == "-m"]
    overrides = [word for word in names if word != "-m"]
    tasks = [word for word in mixed if word.startswith("dataset.")]
    assert evaluate.main([*flags, str(run.path), *tasks, *overrides]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert "checkpoint=7" in said.err


# ---- engines alone ----


def measured(*overrides: str, machine: Machine = CPU):
    return prepare(drafted(*overrides), machine, plan_only=True, measures=True)


def test_all_gpus_are_the_engines() -> None:
    assert str(measured("hardware=8gpu", "model=qwen3_8b", machine=H100).layout) == "8x1"
    assert measured("hardware=8gpu", machine=H100).config.model.name == "qwen3_8b"
    assert str(measured("hardware=8gpu", "hardware.layout=4x2", machine=H100).layout) == "4x2"
    assert str(measured("hardware=cpu").layout) == "1x1"


def test_a_layout_with_a_trainer_is_refused_with_the_one_without() -> None:
    with pytest.raises(ConfigError, match="write 4x1"):
        measured("hardware=8gpu", "hardware.layout=4x1+4", machine=H100)


def test_an_endpoint_is_measured_and_never_trained() -> None:
    wanted = ("model.url=http://127.0.0.1:9/v1", "model.name=big")
    resolved = measured(*wanted)
    assert (resolved.config.hardware.engine, resolved.config.model.path) == ("external", "big")
    with pytest.raises(ConfigError, match="cannot be trained"):
        prepare(drafted(*wanted), CPU)


def test_the_numbers_depend_on_tasks_sampling_workflow_and_seed_and_on_nothing_else() -> None:
    base = identity(measured("hardware=cpu"), bare=False)
    for same in ("hardware.threads=1", "algorithm.lr=0.1", "run.name=other"):
        assert identity(measured("hardware=cpu", same), bare=False) == base
    for other in ("evaluate.samples=2", "evaluate.temperature=0.5", "seed=9"):
        assert identity(measured("hardware=cpu", other), bare=False) != base
    assert identity(measured("hardware=cpu", "dataset.eval_tasks=9"), bare=False) != base


def test_a_function_that_makes_the_tasks_is_part_of_what_the_numbers_depend_on(
    tmp_path, monkeypatch
) -> None:
    def depends(folder, rows):
        (tmp_path / folder).mkdir(exist_ok=True)
        (tmp_path / folder / "mine.py").write_text(f"def rows(split):\n    return {rows}\n")
        monkeypatch.chdir(tmp_path / folder)
        resolved = resolve(configured("hardware=cpu"), CPU)
        resolved.config.dataset.path = "mine.py:rows"
        return identity(resolved, bare=False)

    assert depends("one", []) == depends("copy", []) != depends("other", [1])


def test_the_configuration_that_a_run_keeps_means_the_same_tasks_from_everywhere(
    tmp_path, monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    judge = "workflow.auxiliary_models=[{name: judge, path: ./judge}]"
    config = configured("hardware=cpu", "dataset.name=mine", judge)
    config.dataset.path, config.dataset.eval_path = "mine", "./held.jsonl"
    config.model.path = "./model"
    config.evaluate.dataset = "mine"
    run = RunFolder(tmp_path / "run")
    run.path.mkdir()
    run.config_yaml.write_text(config_text(config))
    assert config.dataset.path == "mine"
    kept = read_config(run)
    assert kept.dataset.path == kept.evaluate.dataset == str(tmp_path / "mine")
    assert kept.dataset.eval_path == str(tmp_path / "held.jsonl")
    assert kept.model.path == str(tmp_path / "model")
    assert [each.path for each in kept.workflow.auxiliary_models] == [str(tmp_path / "judge")]
    config.dataset.path = config.evaluate.dataset = "Qwen/some-tasks"
    run.config_yaml.write_text(config_text(config))
    assert read_config(run).dataset.path == read_config(run).evaluate.dataset == "Qwen/some-tasks"
    # The name of a model behind an address.
    config.model.path, config.model.url = "mine", "http://127.0.0.1:9/v1"
    run.config_yaml.write_text(config_text(config))
    assert read_config(run).model.path == "mine"


@pytest.mark.parametrize("left", ["damaged results", "rollouts without results"])
def test_measuring_afresh_takes_nothing_of_what_was_left(tmp_path, monkeypatch, left) -> None:
    folder = EvaluationFolder(tmp_path / "evaluations" / "mine")
    folder.rollouts.append({"phase": "eval", "step": 0, "group": 0, "run": 0})
    if left == "damaged results":
        folder.results_json.write_text('{"measured": [')
    found = []
    monkeypatch.setattr(
        Evaluating, "run", lambda self, asked: found.extend(self.folder.samples(0)) or 0
    )
    asked = ("evaluate.fresh=true", "evaluate.name=mine", f"run.dir={tmp_path}")
    resolved = resolve(configured("hardware=cpu", *asked), CPU)
    assert measure(resolved, [BASE], None, None, "again").code == 0
    assert found == []
    assert len(EvaluationFolder(folder.path.with_name("mine.1")).samples(0)) == 1


def answered(self: Evaluating, asked: list) -> int:
    """In place of rollouts: every task solved, or none with an odd seed."""
    solved = self.stage.resolved.config.seed % 2 == 0
    row = {"phase": "eval", "step": 0, "group": 0, "run": 0, "success": solved}
    entry = {"step": 0, "checkpoint": "tiny", "seconds": 1.0, **measures([row], 1, 1)}
    self.results["measured"] = [entry]
    self.folder.write_results(self.results)
    return 0


def test_several_values_are_measured_each_and_shown_together(capsys, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(Evaluating, "run", answered)
    line = ["-m", "+experiment=gsm8k_react", "hardware=cpu", "seed=1,2", f"run.dir={tmp_path}"]
    assert evaluate.main(line) == 0
    *_, header, one, two = capsys.readouterr().out.splitlines()
    assert header.split()[:3] == ["of", "checkpoint", "success"]
    assert one.split()[:3] == ["seed=1", "tiny", "0.0"]
    assert two.split()[:3] == ["seed=2", "tiny", "100.0"]


@pytest.fixture
def mixed(tmp_path, monkeypatch) -> list[str]:
    """A command over two tasksets whose tasks are held out."""
    monkeypatch.setattr(Evaluating, "run", answered)
    for name in ("first", "sums"):
        rows = [{"question": f"{name} {n}?", "answer": str(n)} for n in range(40)]
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (tmp_path / f"{name}.jsonl").write_text(text)
    first = ["dataset.name=own", f"dataset.path={tmp_path}/first.jsonl"]
    mix = f"dataset.mix=[{{name: sums, path: {tmp_path}/sums.jsonl}}]"
    return ["+experiment=gsm8k_react", "hardware=cpu", f"run.dir={tmp_path}", *first, mix]


def test_each_taskset_of_a_mix_is_measured_by_itself_and_all_are_shown(
    capsys, tmp_path, mixed
) -> None:
    assert evaluate.main(mixed) == 0
    *_, header, one, two = capsys.readouterr().out.splitlines()
    assert header.split()[:3] == ["of", "checkpoint", "success"]
    assert [one.split()[0], two.split()[0]] == ["own", "sums"]
    found = [folder.read_results() for folder in evaluations_in(tmp_path)]
    paths = {each["dataset"]: each["depends"]["dataset"]["path"] for each in found}
    assert paths == {name: f"{tmp_path}/{file}.jsonl" for name, file in NAMES.items()}


def test_several_values_are_measured_on_each_taskset(capsys, mixed) -> None:
    assert evaluate.main(["-m", *mixed, "seed=1,2"]) == 0
    rows = capsys.readouterr().out.splitlines()[-4:]
    assert [row.split()[:2] for row in rows] == [
        [f"seed={seed}", name] for seed in (1, 2) for name in NAMES
    ]


def test_a_taskset_without_held_out_tasks_is_left_out_and_none_is_refused(
    capsys, tmp_path, mixed
) -> None:
    assert evaluate.main([*mixed, "dataset.eval_split=null"]) == 0
    assert [each.read_results()["dataset"] for each in evaluations_in(tmp_path)] == ["sums"]
    alone = [*mixed[:-1], mixed[-1].replace("jsonl}", "jsonl, eval_split: null}")]
    assert evaluate.main([*alone, "dataset.eval_split=null"]) == 2
    assert "there are no held-out tasks" in capsys.readouterr().err


def test_tasksets_that_would_share_a_name_are_refused_before_any_is_measured(
    capsys, mixed, monkeypatch
) -> None:
    monkeypatch.setattr(Evaluating, "run", lambda *_: pytest.fail("it was begun"))
    assert evaluate.main([*mixed, "evaluate.name=mine"]) == 2
    assert "evaluate.name=mine" in capsys.readouterr().err


def test_the_mistakes_of_all_values_are_said_before_any_is_measured(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(Evaluating, "run", lambda *_: pytest.fail("it was begun"))
    line = ["-m", "+experiment=gsm8k_react", "hardware=cpu", "seed=1,-2,-3", f"run.dir={tmp_path}"]
    assert evaluate.main(line) == 2
    said = capsys.readouterr().err
    assert "seed=-2" in said
    assert "seed=-3" in said


def test_one_name_for_different_measurements_is_refused_before_any(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(Evaluating, "run", lambda *_: pytest.fail("it was begun"))
    line = ["-m", "+experiment=gsm8k_react", "hardware=cpu", f"run.dir={tmp_path}"]
    assert evaluate.main([*line, "seed=1,2", "evaluate.name=mine"]) == 2
    assert "evaluate.name=mine" in capsys.readouterr().err


def test_another_chat_template_or_judge_is_another_measurement(tmp_path) -> None:
    resolved = resolve(configured("hardware=cpu"), CPU)
    model, workflow = resolved.config.model, resolved.config.workflow
    file = tmp_path / "own.jinja"

    def of(text):
        file.write_text(text)
        model.chat_template = str(file)
        return identity(resolved, bare=True)

    assert of("{{ messages }}") == of("{{ messages }}") != of("{{ messages }} ")
    workflow.auxiliary_models = [AuxiliaryModel("judge", "a/one")]
    before = identity(resolved, bare=False)
    workflow.auxiliary_models = [AuxiliaryModel("judge", "a/other")]
    assert identity(resolved, bare=False) != before


def test_what_was_cut_off_before_its_first_result_is_not_gone_on_with_otherwise(
    tmp_path, monkeypatch
) -> None:
    monkeypatch.setattr(Evaluating, "run", lambda self, asked: 1)
    named = ("hardware=cpu", "evaluate.name=mine", f"run.dir={tmp_path}")
    measure(resolve(configured(*named), CPU), [BASE], None, None, "first")
    with pytest.raises(ConfigError, match="holds what was measured otherwise"):
        measure(resolve(configured(*named, "seed=9"), CPU), [BASE], None, None, "second")


def test_a_run_of_an_earlier_version_is_read_without_the_keys_that_are_gone(capsys, run) -> None:
    text = run.config_yaml.read_text()
    run.config_yaml.write_text(text.replace("\nrun:\n", "\nrun:\n  gone: 3\n", 1))
    assert "gone: 3" in run.config_yaml.read_text()
    code, _, said = shown(capsys, run)
    assert (code, said) == (0, "")
