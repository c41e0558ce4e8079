"""Tables keep the types that `datasets` reads, the same in training and evaluation."""

import datetime

import pyarrow
import pyarrow.parquet
import pytest
from datasets import load_dataset

from rlagent.base.errors import ConfigError
from rlagent.config.schema import DatasetConfig
from rlagent.config.task_files import table_problems
from rlagent.trinity.kept_tasks import HELD_OUT, prepare_data, taskset
from rlagent.trinity.task_row import task_row

HEAD = b"question,answer\n"
BODY = b"".join(b"q%d,%d\n" % (number, number) for number in range(20))


def _tasks(dataset, run_dir):
    """What rollouts get in training and evaluation, by position in the user's split."""
    prepare_data(dataset, run_dir)
    kept, split = taskset(dataset, run_dir)
    sides = [(kept or dataset.path, split), (run_dir / "data" / "tasks" / HELD_OUT[0], HELD_OUT[1])]
    found = []
    for folder, name in sides:
        rows = load_dataset(str(folder), split=name)
        found.append(
            {(r := task_row(row, at, None)).index: r.fresh() for at, row in enumerate(rows)}
        )
    return found


def test_a_parquet_file_is_split_and_keeps_its_types(tmp_path):
    moon = datetime.datetime(1969, 7, 20, 20, 17)
    rows = [
        {"question": f"q{n}", "answer": moon, "day": moon.date(), "deep": [{"a": n, "b": None}]}
        for n in range(20)
    ]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "t.parquet")
    training, held_out = _tasks(DatasetConfig(path=str(tmp_path / "t.parquet")), tmp_path / "r")
    assert (len(training), len(held_out)) == (18, 2)
    assert training | held_out == dict(enumerate(rows))


def test_a_csv_file_has_one_type_per_column(tmp_path):
    (tmp_path / "t.csv").write_bytes(b"\xef\xbb\xbf" + HEAD + BODY)
    training, held_out = _tasks(DatasetConfig(path=str(tmp_path / "t.csv")), tmp_path / "r")
    assert {type(row["answer"]) for row in (training | held_out).values()} == {int}
    assert set((training | held_out)[3]) == {"question", "answer"}


def test_two_tables_that_differ_in_a_columns_type_are_refused(tmp_path):
    (tmp_path / "train.csv").write_bytes(HEAD + BODY)
    (tmp_path / "test.csv").write_bytes(HEAD + BODY + b"q,unknown\n")
    paths = {"path": str(tmp_path / "train.csv"), "eval_path": str(tmp_path / "test.csv")}
    with pytest.raises(ConfigError, match="the column answer is string here and int in the train"):
        prepare_data(DatasetConfig(**paths), tmp_path / "r")


def test_json_under_names_that_only_datasets_knows_is_refused(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "train-00000.jsonl").write_text('{"question": "q", "answer": "1969"}\n')
    dataset = DatasetConfig(path=str(tmp_path), eval_split=None)
    with pytest.raises(ConfigError, match=r"holds JSON, but no train\.jsonl"):
        prepare_data(dataset, tmp_path / "r")


def test_a_damaged_parquet_file_is_named(tmp_path):
    (tmp_path / "t.parquet").write_bytes(b"PAR1 and nothing else")
    with pytest.raises(ConfigError, match=r"dataset.path=.*: .*magic bytes"):
        prepare_data(DatasetConfig(path=str(tmp_path / "t.parquet")), tmp_path / "r")


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (HEAD + BODY + b"caf\xe9,1\n", "line 22 of .* is not UTF-8"),
        (HEAD + BODY + b"a\0b,1\n", "line 22 of .* holds a NUL byte"),
        (HEAD + BODY + b"only a question\n", "line 22 of .* has 1 cells, the first line 2"),
        (HEAD + BODY + b"a,b,c\n", "line 22 of .* has 3 cells, the first line 2"),
        (HEAD + BODY + b'"never ends,1\n', "line 22 of .* is not CSV"),
        (b"question,answer,answer\n1,2,3\n", "line 1 of .* names the column 'answer' twice"),
        (b"question,answr\n1,2\n", "no answer; it has question, answr; did you mean answr?"),
        (HEAD, "has no rows"),
        (b"", "has no question, answer; it has nothing"),
    ],
)
def test_a_wrong_csv_row_is_refused_with_its_line(tmp_path, data, reason):
    (tmp_path / "t.csv").write_bytes(data)
    problems = table_problems(tmp_path / "t.csv", ["question", "answer"], "dataset.path", "t.csv")
    with pytest.raises(ConfigError, match=reason):
        raise ConfigError(problems)


def test_a_csv_cell_may_have_several_lines_and_megabytes(tmp_path):
    (tmp_path / "t.csv").write_bytes(HEAD + BODY + b'"two\nlines","' + b"x" * 1_000_000 + b'"\n')
    assert table_problems(tmp_path / "t.csv", ["question", "answer"], "dataset.path", "t") == []
