"""Rows are renamed by dataset.map and chosen by dataset.filter before anything is made of them."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rlagent import data, plan
from rlagent.base.errors import ConfigError
from rlagent.config.row_view import View
from rlagent.config.schema import DatasetConfig, MixedTasks
from rlagent.trinity.kept_tasks import prepare_data, rows_file

MAP = "dataset.map={question: prompt, answer: meta.truth}"
ROWS = [{"prompt": f"{n} + 1?", "meta": {"truth": n + 1}, "level": n} for n in range(40)]


@pytest.fixture
def here(tmp_path, monkeypatch):
    """Where we are: a folder with a file of rows in each of the forms that hold them."""
    monkeypatch.chdir(tmp_path)
    Path("mine.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    Path("mine.csv").write_text(
        "prompt,truth,level\n" + "".join(f"{n} + 1?,{n + 1},{n}\n" for n in range(40))
    )
    Path("mine.py").write_text(
        "def rows(split, number=4, wrong=None):\n"
        "    for n in range(number):\n"
        "        row = {'prompt': f'{split} {n}', 'meta': {'truth': n}, 'level': n}\n"
        "        yield wrong if n == 2 and wrong is not None else row\n"
        "def low(row):\n    return row['level'] < 10\n"
    )
    return tmp_path


def show(*overrides: str) -> int:
    return data.main(["show", "algorithm.batch_size=1", *overrides])


def test_a_column_has_its_new_name_only_and_others_stay():
    view = View((("question", "prompt"), ("answer", "meta.truth"), ("prompt", "level")))
    row = {"prompt": "a", "question": "old", "meta": {"truth": 1, "more": 2}, "level": 3, "x": 4}
    assert view.renamed(row) == {
        "question": "a", "answer": 1, "prompt": 3, "x": 4, "meta": {"truth": 1, "more": 2}
    }  # fmt: skip


def test_the_run_keeps_the_tasks_as_the_workflow_sees_them(here):
    dataset = DatasetConfig(
        path="mine.jsonl", map={"question": "prompt", "answer": "meta.truth"}, filter="level >= 20"
    )
    prepare_data(dataset, here / "run")
    found = []
    for name, split in (("train", "train"), ("heldout", "test")):
        kept = rows_file(here / "run" / "data", name, split).read_text().splitlines()
        places = (here / "run" / "data" / "tasks" / name / f"{split}.jsonl").read_text()
        rows = [json.loads(line) for line in kept]
        # The position is that of the row in the user's file.
        numbers = [json.loads(line)["rlagent_row"] for line in places.splitlines()]
        assert [row["level"] for row in rows] == numbers
        found += rows
    assert sorted(row["level"] for row in found) == list(range(20, 40))
    assert found[0] == {**found[0], "answer": found[0]["level"] + 1}
    assert "prompt" not in found[0]


def test_a_preview_shows_the_first_tasks_and_counts_them(here, capsys):
    assert show("dataset.path=mine.jsonl", MAP, "dataset.filter='level >= 20'") == 0
    said = capsys.readouterr().out
    assert "train, to train on: 18 tasks of 40 rows" in said
    assert "train, held out: 2 tasks of 40 rows" in said
    assert 'question: "20 + 1?"' in said
    assert "question: 7 characters in the middle, 7 at most" in said


def test_rows_of_a_function_of_the_users_are_tasks(here, capsys):
    made = ["dataset.path=mine.py:rows", "dataset.args.number=3", MAP]
    assert show(*made, "dataset.filter='level > 0'") == 0
    said = capsys.readouterr().out
    assert "train, to train on: 2 tasks of 3 rows" in said
    assert 'question: "test 1"' in said
    assert plan.main([*made, "workflow=gsm8k_react", "hardware=cpu"]) == 0
    assert "downloads the dataset" not in capsys.readouterr().out
    assert show(*made, "dataset.filter=mine.py:low") == 0
    assert "train, to train on: 3 tasks\n" in capsys.readouterr().out


WRONG = [
    (["dataset.path=mine.jsonl", "dataset.map={question: promt}"],
     "dataset.map.question=promt: line 1 of mine.jsonl has no promt; it has prompt, meta, level; "
     "did you mean prompt?"),
    (["dataset.path=mine.jsonl", MAP, "dataset.filter='levle < 3'"],
     "dataset.filter=levle < 3: line 1 of mine.jsonl has no levle; "
     "it has meta, level, question, answer; did you mean level?"),
    (["dataset.path=mine.jsonl", MAP, "dataset.filter='len(prompt) < 3'"],
     "line 1 of mine.jsonl has no prompt; it has meta, level, question, answer; "
     "dataset.map makes prompt question; write question"),
    (["dataset.path=mine.jsonl", MAP, "dataset.filter='level < 0'"],
     "dataset.filter=level < 0: keeps none of the 40 rows of mine.jsonl"),
    (["dataset.path=mine.csv", "dataset.map={question: promt, answer: truth}"],
     "dataset.map.question=promt: mine.csv has no promt; it has prompt, truth, level"),
    (["dataset.path=mine.jsonl", "dataset.args.number=3"],
     "dataset.args: are for a function that makes the rows"),
    (["dataset.path=mine.py:rows", "dataset.args.nmber=3"],
     "dataset.args.nmber: rows takes no such argument; did you mean number?"),
    (["dataset.path=mine.py:row", MAP], "did you mean rows?"),
    (["dataset.path=mine.jsonl", "dataset.map={question: ''}"], "dataset.map.question="),
]  # fmt: skip


@pytest.mark.parametrize(("overrides", "said"), WRONG, ids=[said[:40] for _, said in WRONG])
def test_what_is_wrong_is_said_while_planning(here, capsys, overrides, said):
    assert plan.main([*overrides, "workflow=gsm8k_react", "hardware=cpu"]) == 2
    assert said in capsys.readouterr().err


def test_a_row_of_a_table_that_cannot_be_judged_is_named_by_its_place(here, capsys):
    Path("mine.csv").write_text("question,answer,level\na,1,1\nb,2,\n")
    assert show("dataset.path=mine.csv", "dataset.filter='level < 3'") == 2
    assert "row 1 of it cannot be judged" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("[1,2]", "row 2 is no object of JSON values"),
        ("{question: 1}", "row 2 of mine.py:rows has no prompt"),
    ],
)
def test_a_row_that_a_function_makes_is_checked(here, capsys, wrong, said):
    made = ["dataset.path=mine.py:rows", f"dataset.args.wrong={wrong}"]
    assert show(*made, MAP) == 2
    error = capsys.readouterr().err
    assert said in error or "has no prompt" in error


def test_a_function_that_fails_ends_the_command_in_a_line(here):
    Path("fails.py").write_text("def rows(split):\n    yield {'question': '', 'answer': 1/0}\n")
    with pytest.raises(ConfigError, match="failed at row 0 of the split train: ZeroDivisionError"):
        prepare_data(DatasetConfig(path="fails.py:rows"), here / "run")


def test_held_out_rows_that_cannot_be_made_are_named_by_the_key_that_is_written(here):
    rows = "return [{'question': split, 'answer': ''}]"
    Path("fine.py").write_text(f"def rows(split):\n    {rows}\n")
    Path("fails.py").write_text(f"def rows(split):\n    {rows} if split == 'train' else 1 / 0\n")
    alone = DatasetConfig(path="fails.py:rows")
    elsewhere = DatasetConfig(path="fine.py:rows", eval_path="fails.py:rows")
    mixed = DatasetConfig(path="fine.py:rows", mix=[MixedTasks(name="more", path="fails.py:rows")])
    for dataset, key in (
        (alone, "dataset.path"),
        (elsewhere, "dataset.eval_path"),
        (mixed, "dataset.mix.0.path"),
    ):
        with pytest.raises(ConfigError, match="of the split test: ZeroDivisionError") as error:
            prepare_data(dataset, here / "run")
        assert [problem.key for problem in error.value.problems] == [key]


@pytest.mark.parametrize("form", ["jsonl", "json", "csv", "parquet"])
def test_the_files_of_a_folder_are_one_set_of_rows(here, capsys, form):
    Path("parts").mkdir()
    for number in range(3):
        rows = [{"question": f"{number} {n}", "answer": n} for n in range(10)]
        file = Path("parts", f"{number}.{form}")
        if form == "parquet":
            pq.write_table(pa.Table.from_pylist(rows), file)
        elif form == "csv":
            file.write_text("question,answer\n" + "".join(f"{number} {n},{n}\n" for n in range(10)))
        else:
            lines = "\n".join(json.dumps(row) for row in rows)
            file.write_text(lines if form == "jsonl" else json.dumps(rows))
    assert show("dataset.path=parts") == 0
    said = capsys.readouterr().out
    assert "train, to train on: 27 tasks of 30 rows" in said
    assert "train, held out: 3 tasks of 30 rows" in said


def test_a_folder_of_a_split_holds_its_files(here, capsys):
    for split, count in (("train", 3), ("test", 2)):
        Path("parts", split).mkdir(parents=True)
        for number in range(count):
            row = {"question": f"{split} {number}", "answer": "1"}
            Path("parts", split, f"{number}.jsonl").write_text(json.dumps(row))
    assert show("dataset.path=parts") == 0
    said = capsys.readouterr().out
    assert "train, to train on: 3 tasks\n" in said
    assert "test, held out: 2 tasks\n" in said


def test_a_wrong_row_of_a_folder_is_named_with_its_file(here, capsys):
    Path("parts").mkdir()
    Path("parts", "a.jsonl").write_text('{"question": "a", "answer": "1"}\n')
    Path("parts", "b.jsonl").write_text('\n{"question": "b", "answer": \n')
    assert show("dataset.path=parts") == 2
    assert "line 2 of parts/b.jsonl is not JSON" in capsys.readouterr().err
    Path("parts", "b.csv").write_text("question,answer\na,1\n")
    assert show("dataset.path=parts") == 2
    assert "holds files of several forms: .csv, .jsonl" in capsys.readouterr().err
