"""A configuration file is read, and read again from its own YAML, or refused by file, line, key."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlagent.base.errors import ConfigError
from rlagent.config.check import check
from rlagent.config.compose import to_yaml
from rlagent.config.load import load_config
from tests.configured import configured
from tests.examples import many

pytestmark = pytest.mark.timeout(600)

WHOLE = to_yaml(configured("hardware=cpu"))
LINES = WHOLE.splitlines()
NATIVE = """project: p
name: n
mode: both
algorithm: {algorithm_type: grpo, repeat_times: 4}
model: {model_path: a/b, max_model_len: 512}
buffer: {total_steps: 2, batch_size: 4, explorer_input: {taskset: {path: a/b}}}
"""

_values = st.sampled_from(
    [
        *(
            "1e400",
            ".nan",
            "-.inf",
            "0x1F",
            "0o17",
            "1_000",
            "12:30:45",
            "2024-02-30",
            "2024-01-01",
        ),
        *("9" * 500, "9" * 5000, "~", "", "[]", "{}", "[1, 2", "{a: 1", "&a [*a]", "*nowhere"),
        *("!!int x", "!!python/object:os.system x", "!!binary aGk=", "? [1]", '"\\ud800"', "'"),
        *(
            "|\n  text",
            ">-",
            "@x",
            "`x`",
            "%x",
            "${seed}",
            "${nowhere}",
            "${oc.env:HOME}",
            "${",
            "<<",
        ),
        *(
            "yes",
            "true",
            "-0",
            "1.5",
            "text",
            "~/x",
            "\t1",
            "a: b: c",
            "- x",
            "#",
            "{1: 2}",
            "[[[]]]",
        ),
    ]
)


@st.composite
def _files(draw: Any) -> bytes:
    form = draw(st.integers(0, 5))
    lines = draw(st.sampled_from([LINES, NATIVE.splitlines()]))[:]
    place = draw(st.integers(0, len(lines) - 1))
    key = lines[place].partition(":")[0]
    if form <= 2:
        lines[place] = f"{key}: {draw(_values)}"
    elif form == 3:
        lines.insert(
            place, draw(st.sampled_from([lines[place], key, f"{key}x: 1", "\ta: 1", "---"]))
        )
    data = "\n".join(lines).encode()
    if form == 4:
        where = draw(st.integers(0, len(data)))
        data = data[:where] + draw(st.binary(min_size=1, max_size=3)) + data[where:]
    if form == 5:
        data = draw(
            st.sampled_from(
                [
                    *(
                        b"",
                        b"- 1",
                        b"text",
                        b"3",
                        b"null",
                        b"[1",
                        b"\xff\xfe",
                        b"\xef\xbb\xbf" + data,
                    ),
                    *(data.decode().encode("utf-16"), data[: len(data) // 2], data * 2, b"\0"),
                    *(b"seed: &a [*a]", b"? {a: 1}\n: 2", b"seed: caf\xe9", b"[" * 5000),
                    b"a: &a [1]\n"
                    + b"\n".join(
                        b"b%d: &b%d [*%s, *%s]" % (i, i, k, k)
                        for i, k in enumerate([b"a", *(b"b%d" % j for j in range(40))])
                    ),
                ]
            )
        )
    return data


def assert_read_or_refused(file: Path, data: bytes) -> None:
    file.write_bytes(data)
    try:
        config = load_config(str(file))
        problems = check(config, workflow_given=True)
    except ConfigError as error:
        problems = error.problems
        assert problems
    else:
        if not getattr(config, "native", None):
            again = to_yaml(config)
            file.write_text(again, encoding="utf-8")
            assert to_yaml(load_config(str(file))) == again
    for problem in problems:
        assert problem.key, str(problem)
        assert "\n" not in str(problem)


@given(data=_files())
@many(40)
def test_a_file_is_read_again_from_its_yaml_or_refused_by_name(tmp_path_factory, data) -> None:
    assert_read_or_refused(tmp_path_factory.getbasetemp() / "file.yaml", data)


@pytest.mark.slow
@given(data=_files())
@many(400)
def test_many_files(tmp_path_factory, data) -> None:
    assert_read_or_refused(tmp_path_factory.getbasetemp() / "file.yaml", data)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"seed: 1\nrun:\n  name: caf\xe9\n", "line 3 is no UTF-8 text; save it as UTF-8"),
        (b"seed: 1\nmodel: {a\n", "line 3: cannot be read"),
        (b"seed: 1\nseed: 2\n", "found duplicate key seed"),
        (b"seed:\t- 1\n", "line 1: cannot be read"),
        (b"seed: !!int x\n", "invalid literal for int()"),
        (b"model: &a {shape: *a}\n", "an anchor that refers to itself"),
        (b"- 1\n", "holds no settings"),
        (b"[" * 5000, "is nested too deeply"),
    ],
)
def test_what_cannot_be_read_says_where(tmp_path: Path, data: bytes, said: str) -> None:
    file = tmp_path / "mine.yaml"
    file.write_bytes(data)
    with pytest.raises(ConfigError) as caught:
        load_config(str(file))
    assert str(caught.value).startswith(f"{file}: ")
    assert said in str(caught.value)


def test_a_file_of_anchors_upon_anchors_is_refused_rather_than_unfolded(tmp_path: Path) -> None:
    lines = ["a0: &a0 [1, 2]"] + [f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]" for i in range(1, 60)]
    (tmp_path / "mine.yaml").write_text("\n".join(lines))
    with pytest.raises(ConfigError, match="anchors make it more than"):
        load_config(str(tmp_path / "mine.yaml"))


def test_a_byte_order_mark_is_no_part_of_the_first_key(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_bytes(b"\xef\xbb\xbfseed: 5\n")
    assert load_config(str(tmp_path / "mine.yaml")).seed == 5
