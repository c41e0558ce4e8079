"""A row that is written as JSON is read as it is written, or refused with its line."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlagent.config.json_rows import DEEPEST, content_hash, parse, texts
from rlagent.config.task_files import scan, table_problems

GOOD = '{"question": "q", "answer": "a"}'


def _read(tmp_path, data, name="rows.jsonl"):
    file = tmp_path / name
    file.write_bytes(data if isinstance(data, bytes) else data.encode())
    return [(line, parse(text)) for line, text in texts(file)]


def _mistakes(tmp_path, data, name="rows.jsonl", columns=("question", "answer")):
    file = tmp_path / name
    file.write_bytes(data if isinstance(data, bytes) else data.encode())
    return [str(item) for item in scan(file, columns, "dataset.path", "mine").problems]


@pytest.mark.parametrize(
    "row",
    [
        {"a": "1969-07-20"},
        {"a": [1], "b": [1.5, "x", None]},
        {"a": 2**63 + 1},
        {"a": "nul \0, separator \u2028, \U0001f600"},
        {"": 1, "a": {}},
        {"a": "x" * 10_000_000},
    ],
)
def test_what_is_written_is_read(tmp_path, row):
    assert _read(tmp_path, json.dumps(row)) == [(1, row)]
    assert _read(tmp_path, json.dumps([row], indent=1), "rows.json") == [(2, row)]


def test_a_byte_order_mark_blank_lines_and_other_line_ends_are_no_part_of_a_row(tmp_path):
    data = b"\xef\xbb\xbf" + b'{"a": 1}\r\n\r\n  {"a": 2}'
    for name in ("rows.jsonl", "rows.json"):
        assert _read(tmp_path, data, name) == [(1, {"a": 1}), (3, {"a": 2})]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("not json", "is not JSON"),
        ("[1]", "is not a JSON object"),
        ('{"question": "q", "question": "r"}', "names the key 'question' twice"),
        ('{"question": {"a": 1, "a": 1}}', "names the key 'a' twice"),
        ('{"question": NaN}', "holds NaN, which is not JSON"),
        ('{"question": -Infinity}', "holds -Infinity"),
        ('{"question": 1e400}', "beyond the largest number"),
        ('{"question": ' + "1" * 5000 + "}", "a number of 5000 digits"),
        ('{"question": ' + "[" * DEEPEST + "]" * DEEPEST + "}", "nested more than 200 levels"),
        ('{"question": ' + "[" * 99999 + "]" * 99999 + "}", "nested more than 200 levels"),
        ('{"question": "\\ud800"}', "half of a surrogate pair"),
        (b'{"question": "caf\xe9"}', "is not UTF-8 (byte 0xe9)"),
        (b'{"question": "a\0b"}', "is not JSON"),
        (b"\0\0\0", "is not JSON"),
    ],
)
def test_what_cannot_be_read_is_refused_with_its_line(tmp_path, row, reason):
    row = row if isinstance(row, bytes) else row.encode()
    found = _mistakes(tmp_path, f"{GOOD}\n\n".encode() + row + f"\n{GOOD}".encode())
    assert len(found) == 1
    assert found[0].startswith("dataset.path=mine: line 3 of ")
    assert reason in found[0]


@pytest.mark.parametrize(
    ("text", "line"),
    [(f"[{GOOD},\n{GOOD}", 2), (f"[{GOOD},]", 1), (f"[{GOOD}\n{GOOD}]", 2), (f"[{GOOD}] 1", 1)],
)
def test_a_json_file_that_breaks_off_is_refused_with_its_line(tmp_path, text, line):
    found = _mistakes(tmp_path, text, "rows.json")
    assert len(found) == 1
    assert f"line {line} of " in found[0]


def test_every_row_is_looked_at_and_a_few_are_named(tmp_path):
    rows = [GOOD] * 200 + ['{"question": "q"}', "x", '{"answer": "a"}', "y", "z"]
    found = _mistakes(tmp_path, "\n".join(rows))
    assert ["line 201" in found[0], "line 202" in found[1], "line 203" in found[2]] == [True] * 3
    assert "has no answer; it has question" in found[0]
    assert "2 more rows" in found[3]


def test_a_file_without_rows_is_one_mistake(tmp_path):
    for name, text in (("r.jsonl", "\n \n"), ("r.json", ""), ("s.json", "[]")):
        found = _mistakes(tmp_path, text, name)
        assert len(found) == 1
        assert "has no rows" in found[0]


def test_a_column_that_the_first_row_lacks_is_a_wrong_column(tmp_path):
    found = _mistakes(tmp_path, f"{GOOD}\n{GOOD}", columns=("question", "answr"))
    assert len(found) == 1
    assert found[0].startswith("dataset.columns=answr: line 1 of ")
    assert "did you mean answer?" in found[0]


def test_the_order_of_keys_is_no_content_but_the_type_of_a_number_is():
    assert content_hash({"a": 1, "b": 2}) == content_hash({"b": 2, "a": 1})
    assert content_hash({"a": 1}) != content_hash({"a": 1.0})


_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20)
    | st.dates().map(str),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.dictionaries(st.text(max_size=8), _VALUES, max_size=4), min_size=1, max_size=5))
def test_whatever_json_holds_is_read_as_python_itself_reads_it(tmp_path_factory, rows):
    folder = tmp_path_factory.mktemp("rows")
    lines = "\n".join(json.dumps(row) for row in rows)
    for name, text in (
        ("r.jsonl", lines),
        ("r.json", json.dumps(rows, indent=1)),
        ("s.json", lines),
    ):
        read = [row for _, row in _read(folder, text, name)]
        assert repr(read) == repr(rows)
        assert _mistakes(folder, text, name, columns=()) == []


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=60), st.sampled_from(["r.jsonl", "r.json", "r.csv"]))
def test_whatever_a_file_holds_is_read_or_refused_by_name(tmp_path_factory, data, name):
    folder = tmp_path_factory.mktemp("rows")
    (folder / name).write_bytes(data)
    if name == "r.csv":
        problems = table_problems(folder / name, ["question"], "dataset.path", name)
    else:
        problems = scan(folder / name, ["question"], "dataset.path", name).problems
    assert all(problem.key in ("dataset.path", "dataset.columns") for problem in problems)
