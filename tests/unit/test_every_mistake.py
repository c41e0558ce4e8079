"""Whatever stands on a command line is refused by name, or composes again from its own YAML.

The commands are called in this process, with presets composed once; one test at the end holds that
a process of its own says the same.
"""

import contextlib
import io
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rlagent import plan
from rlagent.config import command, compose
from rlagent.config.compose import SPEC, to_yaml
from rlagent.config.load import load_config
from rlagent.config.machine import TOLD, Machine, write_machine
from rlagent.config.overlay import Shared
from rlagent.config.presets import preset_table
from rlagent.config.spec import keys_of

# A hang is what this is for; nothing here is slow.
pytestmark = pytest.mark.timeout(600)

EXPERIMENT = "+experiment=gsm8k_react"
PRESETS = {name.lstrip("+"): presets for name, presets in preset_table()}
KEYS = [
    *keys_of(SPEC),
    *("workflow.args.hint", "trinity.trainer.save_interval", "trinity.model.rope_scaling"),
    *("trinity.buffer.batch_size", "algorithm.policy_loss_args.clip_range_low"),
]
EXTREMES = [
    *("1e30", "1e-320", "1e400", "nan", "inf", "-inf", "-0", "-0.0", "0", "-1", "1", "2", "3.5"),
    *("1_000", "0x10", "1e18", "9" * 400, "9" * 5000, "1" + "0" * 18, "4294967296", "00", "+-5"),
    *("٣", "²", "true", "null", "~", "auto", "", " ", "''", '""', "none", "[]", "{}", "[[]]"),
    *("[1,2]", "{a:1}", "{a:{b:[1,{c:null}]}}", "{1:2}", "{?:1}", "[", "]", "{", "}", "(", ")"),
    *("a,b", "1,2,", ",1", ",", "1,,2", "a b", "'a", 'a"', "'a,b'", '"${seed}"', "a=b", "a:b"),
    *("${seed}", "${nowhere}", "${oc.env:HOME}", "${oc.env:NO_SUCH_NAME}", "${seed", "\\${seed}"),
    *("${oc.select:a.b}", "${hydra:runtime.cwd}", "${.}", "${..}", "${model}", "${a:b,c}", "$"),
    *("\\", "\\\\", "\\,", "é", "日本", "\u202e", "\ud800", "\x00", "\x1b[31m", "\n", "\t", "🙂"),
    *("/no/such", "~/x", "~nobody-here/x", "../..", "./", "x" * 300, "a/" * 3000, "builtin:none"),
    *("builtin:tiny", "a/b/c", "owner/name", "file.jsonl", "mine.py", "mine.py:f", "a.b.c", "a:b"),
    *("4x1+4", "1x1*1", "0x0+0", "99999999999x1+1", "9" * 5000 + "x1+1", "1x1+1s0"),
]
SWEEPS = [
    *("choice()", "choice(1)", "choice(1,2)", "choice([1],{a:2})", "choice(a,'b c')", "choice(1,)"),
    *("range(1,4)", "range(4,1)", "range(0,1,0)", "range(0,1e12)", "range(1,3,0.5)", "range(a,b)"),
    *("range(5)", "range()", "range(0,1,1e-300)", "range(0,inf)", "range(nan,1)", "glob(*)"),
    *("glob(g*)", "glob()", "glob([a*,t*],exclude=tiny)", "interval(0,1)", "interval(1,0)"),
    *("interval(1)", "interval(0,inf)", "interval(1e-320,1e300)", "interval(a,b)", "sort(3,1,2)"),
    *("shuffle(1,2)", "shuffle(range(1,3))", "tag(log,interval(1e-5,1e-3))", "tag(log,1e-4,1e-3)"),
    *("tag(a,b,choice(1,2))", "tag(int,interval(1,9))", "tag(choice(1,2))", "tag()", "int(3.5)"),
    *("int(a)", "int(1e400)", "str(1,2)", "float('x')", "bool(2)", "json_str({a:1})", "json_str()"),
    *("extend_list(1,2)", "nofunction(1)", "sort(a,1)", "range(1,5000)", "choice(nan,inf)"),
]

_signs = st.text(st.sampled_from("abz019.,:=+-~@/\\'\"{}[]()$ \té"), max_size=12)
_anything = st.text(st.characters(exclude_characters="\0", codec=None), max_size=8)
_numbers = st.one_of(st.integers().map(str), st.floats().map(str))
_values = st.one_of(st.sampled_from(EXTREMES), _numbers, _signs, _anything)
_lists = st.lists(st.sampled_from(EXTREMES[:40]), min_size=2, max_size=3).map(",".join)
_swept = st.one_of(st.sampled_from(SWEEPS), _lists, _signs)


@st.composite
def _keys(draw: Any) -> str:
    key = draw(st.one_of(st.sampled_from(KEYS), st.sampled_from(sorted(PRESETS))))
    slip = draw(st.integers(0, 9))
    if slip == 0:
        place = draw(st.integers(0, len(key)))
        key = key[:place] + draw(st.sampled_from(["x", ".", "", "@", "/", ":", "é", " "])) + key
    return draw(st.sampled_from(["", "", "", "", "", "+", "++", "~"])) + key


@st.composite
def _overrides(draw: Any, values: st.SearchStrategy[str]) -> str:
    form = draw(st.integers(0, 11))
    if form == 0:
        return draw(st.one_of(_signs, _anything))
    if form == 1:
        group = draw(st.sampled_from(sorted(PRESETS)))
        return f"{group}={draw(st.sampled_from(PRESETS[group]))}"
    if form == 2:
        return draw(st.sampled_from(["hydra.", "hydra/", ""])) + draw(_signs) + "=" + draw(values)
    return f"{draw(_keys())}={draw(values)}"


def _commands(values: st.SearchStrategy[str]) -> st.SearchStrategy[list[str]]:
    return st.lists(_overrides(values), min_size=1, max_size=3)


@pytest.fixture(autouse=True, scope="module")
def _quick():
    """Compose presets once, and ask a machine that is invented."""
    shared, draft = Shared(), compose.draft

    def quick(*arguments: Any) -> compose.Draft:
        return draft(*arguments[:5], shared)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(command, "draft", quick)
        patch.setenv(TOLD, write_machine(Machine((), 8, 64.0)))
        yield


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("mistakes") / "file.yaml"


def called(words: list[str]) -> tuple[int, str, str]:
    """Call `rlagent plan`; returns exit status, output and errors."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = plan.main(words)
    return code, out.getvalue(), err.getvalue()


def assert_refused_by_name(words: list[str], out: str, err: str) -> None:
    """Hold that each line begins with something typed, or with a key that there is."""
    assert out == ""
    typed = " ".join(" ".join(words).split())
    for line in err.splitlines():
        name = line.partition(": ")[0].partition("=")[0].strip().lstrip("+~")
        assert name, line
        assert name.rstrip(".0123456789") in KEYS or name in typed or name in PRESETS, line
        assert "Error" not in line, line


def assert_one_or_the_other(words: list[str], file: Path) -> None:
    code, out, err = called([EXPERIMENT, "hardware=cpu", "--yaml", *words])
    if code:
        assert code == 2
        assert_refused_by_name(words, out, err)
        return
    file.write_text(out, encoding="utf-8")
    assert to_yaml(load_config(str(file))) == out


def assert_sweep_is_planned_or_refused(words: list[str]) -> None:
    code, out, err = called(["-m", EXPERIMENT, "hardware=cpu", *words])
    if code:
        assert code == 2
        assert_refused_by_name([*words, "sweep"], out, err)
    else:
        assert out


def many(number: int) -> Any:
    """Return hypothesis' settings for a number of examples, the same ones each time."""
    return settings(
        max_examples=number,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )


SINGLE = {"words": _commands(_values)}
SWEPT = {"words": _commands(st.one_of(_swept, _swept, _values))}


@given(**SINGLE)
@many(100)
def test_a_command_is_refused_by_name_or_composes_again_from_its_yaml(file, words) -> None:
    assert_one_or_the_other(words, file)


@given(**SWEPT)
@many(100)
def test_a_sweep_is_planned_or_refused_by_name(words) -> None:
    assert_sweep_is_planned_or_refused(words)


@pytest.mark.slow
@given(**SINGLE)
@many(2000)
def test_two_thousand_commands(file, words) -> None:
    assert_one_or_the_other(words, file)


@pytest.mark.slow
@given(**SWEPT)
@many(2000)
def test_two_thousand_sweeps(words) -> None:
    assert_sweep_is_planned_or_refused(words)
