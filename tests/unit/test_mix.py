"""Several tasksets: each with its weight, its name and its held-out tasks."""

import json
from collections import Counter
from pathlib import Path

import pytest

from rlagent.config.batch import arithmetic
from rlagent.config.check import check
from rlagent.config.identity import identity, trial_id
from rlagent.config.mix import measured_parts, parts_of, places
from rlagent.config.resolve import resolve
from rlagent.config.schema import LearnConfig
from rlagent.launch.record import make_record
from rlagent.machine.resources import Machine
from rlagent.trinity.kept_tasks import held_out_places, prepare_data
from rlagent.trinity.measuring import held_out, to_measure
from rlagent.trinity.translate import to_trinity
from tests.configured import configured

CPU = Machine((), 2, 24)


@pytest.fixture
def files(tmp_path):
    for name in ("first", "sums"):
        rows = [{"question": f"{name} {n}?", "answer": str(n)} for n in range(40)]
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (tmp_path / f"{name}.jsonl").write_text(text)
    return tmp_path


def mixed(files, *overrides: str, weight: float = 1.0) -> LearnConfig:
    sums = f"{{name: sums, path: {files}/sums.jsonl, weight: {weight}}}"
    own = ("dataset.name=own", f"dataset.path={files}/first.jsonl", "algorithm.batch_size=4")
    return configured(
        *own, "dataset.columns=[question,answer]", f"dataset.mix=[{sums}]", *overrides
    )


def test_one_dataset_is_one_taskset_as_ever() -> None:
    (part,) = parts_of(configured().dataset)
    assert (part.key, part.train, part.held_out) == ("dataset", "train", "heldout")
    tree = to_trinity(resolve(configured(), CPU), "/runs/1")
    (train,) = tree["buffer"]["explorer_input"]["tasksets"]
    assert "kwargs" not in train["data_selector"]
    assert "taskset" not in train["workflow_args"]


def test_each_taskset_has_its_tasks_its_weight_and_its_evaluation(files, tmp_path) -> None:
    config = mixed(files, "dataset.weight=3")
    assert check(config) == []
    resolved = resolve(config, CPU)
    assert arithmetic(resolved.config).rows is None
    run = tmp_path / "run"
    prepare_data(resolved.config.dataset, run)
    tasks = to_trinity(resolved, run)["buffer"]["explorer_input"]
    names = {"own": 3.0, "sums": 1.0}
    found = {each["name"]: each["data_selector"]["kwargs"]["weight"] for each in tasks["tasksets"]}
    assert found == names
    assert [each["name"] for each in tasks["eval_tasksets"]] == list(names)
    asked = Counter()
    for each in (*tasks["tasksets"], *tasks["eval_tasksets"]):
        rows = Path(each["workflow_args"]["rows"]).read_text().splitlines()
        pointers = Path(each["path"], f"{each['split']}.jsonl").read_text().splitlines()
        assert len(rows) == len(pointers)
        words = {json.loads(row)["question"].split()[0] for row in rows}
        assert words == {{"own": "first", "sums": "sums"}[each["name"]]}
        asked[each["name"]] += len(rows)
    # A tenth of each file is held out from its own.
    assert asked == {"own": 40, "sums": 40}
    held_out = Path(tasks["eval_tasksets"][1]["workflow_args"]["rows"])
    assert len(held_out.read_text().splitlines()) == 4


def test_another_mix_is_another_trial(files) -> None:
    ids = {trial_id(mixed(files)), trial_id(mixed(files, weight=2.0))}
    ids.add(trial_id(mixed(files, "dataset.weight=3")))
    assert len(ids) == 3


def test_a_shipped_taskset_in_a_mix_is_the_same_wherever_it_is_installed() -> None:
    mix = "dataset.mix=[{name: sums, path: builtin:gsm8k_tiny}]"
    found = identity(configured("dataset.name=own", mix))["dataset"]["mix"]
    assert [more["path"] for more in found] == ["builtin:gsm8k_tiny"]


@pytest.mark.parametrize("relative", ["first.jsonl", "./first.jsonl"])
def test_files_named_relatively_and_absolutely_are_the_same_dataset(
    files, monkeypatch, relative
) -> None:
    monkeypatch.chdir(files)

    def fingerprint(first: str, sums: str) -> str:
        mix = f"dataset.mix=[{{name: sums, path: {sums}}}]"
        config = mixed(files, f"dataset.path={first}", mix)
        return str(make_record(resolve(config, CPU), None)["dataset"])

    whole = fingerprint(f"{files}/first.jsonl", f"{files}/sums.jsonl")
    assert fingerprint(relative, "sums.jsonl") == whole
    assert fingerprint("sums.jsonl", "first.jsonl") != whole


@pytest.mark.parametrize(
    ("override", "key"),
    [
        ("dataset.mix=[{name: a}]", "dataset.mix.0"),
        ("dataset.mix=[{name: own, path: x}]", "dataset.mix.0.name"),
        ("dataset.mix=[{name: a, path: x}, {name: a, path: y}]", "dataset.mix.1.name"),
        ("dataset.mix=[{name: a/b, path: x}]", "dataset.mix.0.name"),
        ("dataset.mix=[{name: a, path: x, weight: 0}]", "dataset.mix.0.weight"),
        ("dataset.mix=[{name: a, path: x, eval_split: train}]", "dataset.mix.0.eval_split"),
        ("dataset.weight=2", "dataset.weight"),
    ],
)
def test_what_a_mix_cannot_be_is_refused_by_its_key(override, key) -> None:
    assert [p.key for p in check(configured("dataset.name=own", override))] == [key]


def test_epochs_of_several_tasksets_mean_nothing(files) -> None:
    (problem,) = check(mixed(files, "algorithm.total_epochs=1"))
    assert problem.key == "algorithm.total_epochs"


def test_trials_are_compared_by_one_of_the_sets(files) -> None:
    assert check(mixed(files, "sweep.metric=eval/sums/success")) == []
    (problem,) = check(mixed(files, "sweep.metric=eval/sum/success"))
    assert problem.key == "sweep.metric"


@pytest.mark.parametrize("weights", [[1.0, 1.0], [3.0, 1.0], [0.001, 1000.0], [1.0, 2.0, 4.0]])
@pytest.mark.parametrize("batch", [1, 32, 700])
def test_a_round_has_of_each_taskset_as_its_weight_asks_for(weights, batch) -> None:
    found = Counter(places(weights, batch))
    size = sum(found.values())
    assert size >= 10 * batch
    assert set(found) == set(range(len(weights)))
    for part, weight in enumerate(weights):
        assert abs(found[part] - size * weight / sum(weights)) <= len(weights)


def test_others_are_mixed_into_the_dataset_that_the_model_brings(files) -> None:
    mix = f"dataset.mix=[{{name: sums, path: {files}/sums.jsonl}}]"
    tree = to_trinity(resolve(configured(mix), CPU), "/runs/1")
    names = [each["name"] for each in tree["buffer"]["explorer_input"]["tasksets"]]
    assert names == ["gsm8k_tiny", "sums"]


def test_the_tasksets_that_are_measured_are_those_with_held_out_tasks(files) -> None:
    dataset = mixed(files).dataset
    assert [part.dataset.name for part in measured_parts(dataset)] == ["own", "sums"]
    dataset.eval_split = None
    (part,) = measured_parts(dataset)
    assert (part.dataset.name, part.held_out, part.dataset.mix) == ("sums", "heldout-sums", [])


def test_an_evaluation_asks_the_tasks_that_the_run_kept_of_a_taskset(files, tmp_path) -> None:
    resolved = resolve(mixed(files), CPU, measures=True)
    prepare_data(resolved.config.dataset, tmp_path)
    tree = to_measure(resolved, tmp_path / "e", 1, tmp_path, "heldout-sums")
    asked = held_out(tree)
    assert asked["path"] == str(tmp_path / "data/tasks/heldout-sums")
    assert asked["workflow_args"]["rows"] == str(tmp_path / "data/heldout-sums/test.jsonl")
    assert len(held_out_places(tmp_path, "heldout-sums")) == 4
