"""dataset.filter: comparisons are worked out without running anything, functions are called."""

import pytest

from rlagent.config.row_filter import MissingColumnError, filter_problems, is_reference, keeps

ROW = {"level": 3, "subject": "algebra", "tags": ["a", "b"], "text": "four", "none": None}


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("level <= 3", True),
        ("level < 3", False),
        ("1 < level < 4", True),
        ("1 < level < 3", False),
        ("level == 3 and subject == 'algebra'", True),
        ("level == 4 or subject != 'algebra'", False),
        ("not level == 3", False),
        ("subject in ['algebra', 'geometry']", True),
        ("subject not in ('algebra', 'geometry')", False),
        ("'a' in tags", True),
        ("len(text) > 4", False),
        ("level > -1", True),
        ("none == null", True),
        ("none != None", False),
        ("level > 1 or absent == 1", True),
    ],
)
def test_a_comparison_says_which_rows_are_kept(text, kept):
    assert filter_problems(text) == []
    assert keeps(text)(ROW) is kept


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').system('true')",
        "open('/etc/passwd')",
        "text.upper() == 'FOUR'",
        "level.__class__",
        "tags[0] == 'a'",
        "[item for item in tags]",
        "lambda: 1",
        "(level := 3)",
        "f'{level}'",
        "level ** 9999999",
        "'a' * 99999999",
        "len(text, text)",
        "len(*tags)",
        "level is 3",
        "level if level else text",
        "level <=",
        "",
        "(" * 500 + "level" + ")" * 500,
        "-" * 1990 + "1 < 2",
        "+" * 1500 + "1 < 2",
        "level == 1 or " * 200 + "level == 1",
    ],
)
def test_anything_else_is_refused_before_a_row_is_read(text):
    (problem,) = filter_problems(text)
    assert problem.key == "dataset.filter"
    assert "write a comparison" in problem.remedy
    with pytest.raises(ValueError, match=r"comparison|characters"):
        keeps(text)


def test_a_row_that_cannot_be_judged_is_no_row_that_is_left_out():
    with pytest.raises(MissingColumnError, match="has no levle"):
        keeps("levle < 3")(ROW)
    with pytest.raises(ValueError, match="cannot be judged"):
        keeps("subject < 3")(ROW)
    with pytest.raises(ValueError, match="len"):
        keeps("len(level) < 3")(ROW)


def test_a_function_of_the_users_decides_by_true_and_false(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(
        "def low(row):\n    return row['level'] < 4\n"
        "def odd(row):\n    return row['level'] % 2\n"
        "def no_row():\n    return True\n"
        "def fails(row):\n    return row['levle']\n"
    )
    assert is_reference("mine.py:low")
    assert filter_problems("mine.py:low") == []
    assert keeps("mine.py:low")(ROW) is True
    with pytest.raises(ValueError, match="return 1, which is not True or False"):
        keeps("mine.py:odd")(ROW)
    with pytest.raises(ValueError, match="fail: KeyError: 'levle'"):
        keeps("mine.py:fails")(ROW)
    assert "must take row" in filter_problems("mine.py:no_row")[0].message
    assert "did you mean low?" in filter_problems("mine.py:lo")[0].remedy
