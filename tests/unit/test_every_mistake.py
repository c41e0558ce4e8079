"""Whatever stands on a command line is refused by name, or composes again from its own YAML.

The commands are called in this process, with presets composed once; one test at the end holds that
a process of its own says the same.
"""

import contextlib
import io
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlagent import plan
from rlagent.base.errors import Problem
from rlagent.base.paths import conf_dir
from rlagent.config import command, compose
from rlagent.config.compose import SPEC, to_yaml
from rlagent.config.load import load_config
from rlagent.config.overlay import Shared
from rlagent.config.presets import preset_table
from rlagent.config.spec import keys_of
from rlagent.machine.resources import PLANNED_FOR, Machine, write_machine
from tests.examples import many

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
        # A folder of one's own has presets of its own.
        return draft(*arguments[:5], None if arguments[1] else shared)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(command, "draft", quick)
        patch.setenv(PLANNED_FOR, write_machine(Machine((), 8, 64.0)))
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
    # As a mistake writes it: characters that a terminal would obey are escaped.
    typed = str(Problem(" ".join(words), None, "")).removesuffix(":")
    for line in err.splitlines():
        keyless = any((word.lstrip("+~ ") or "=").startswith("=") for word in words)
        if keyless and "has no key" in line:
            continue
        name = line.partition(": ")[0].partition("=")[0].strip().lstrip("+~")
        assert name, line
        # A mapping that was typed, `a={b: 1}`, is refused by the key a.b.
        in_mapping = "{" in typed and all(part in typed for part in name.split("."))
        was_typed = name in typed or in_mapping
        assert name.rstrip(".0123456789") in (*KEYS, "''") or was_typed or name in PRESETS, line
        assert "Traceback" not in line, line


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


SINGLE = {"words": _commands(_values)}
SWEPT = {"words": _commands(st.one_of(_swept, _swept, _values))}


@pytest.mark.slow
@given(**SINGLE)
@many(800)
def test_many_commands(file, words) -> None:
    assert_one_or_the_other(words, file)


@pytest.mark.slow
@given(**SWEPT)
@many(500)
def test_many_sweeps(words) -> None:
    assert_sweep_is_planned_or_refused(words)


# The smallest input of each mistake that once was a traceback, a hang or silent.
NAMED = {
    "=1": "=1: has no key; write key=value",
    "~": "~: has no key; write key=value",
    "@seed=1e30": "@seed=1e30: there is no such group",
    "": "'': an empty argument says nothing; leave it out",
    "seed=1,2,": "seed=1,2,: cannot be read; a comma stands between two values",
    "seed=choice()": "empty choice is not legal; write it such as choice(1,2)",
    "seed=tag(log,1e-4,1e-3)": "write it such as tag(log,interval(1e-5,1e-3))",
    "seed=range(0,1e12)": "holds 1000000000000 values, more than 1000",
    "seed=range(0,1,0)": "is no range",
    "seed=range(nan,1)": "is no range",
    "seed=range(4,1)": "holds no value",
    "workflow.args=range(1,3,0.5)": "workflow.args=1.0: must be a mapping",
    f"seed={'9' * 5000}": "a number has too many digits",
    f"model.path={'x' * 300}": "a name in a path has at most 255 bytes",
    "model.path='~nobody-here/x'": "there is no user nobody-here",
    "seed=+-5": "must be a whole number",
    "run.name=${nowhere}": "run.name=${nowhere}: cannot be composed",
    "hardware.layout=99999999999x1+1": "hardware.layout",
}


@pytest.mark.parametrize("word", NAMED, ids=lambda word: word[:24])
def test_a_mistake_says_what_to_write(word: str) -> None:
    code, out, err = called(["-m", EXPERIMENT, "hardware=cpu", word])
    assert (code, out) == (2, "")
    assert NAMED[word] in err


def test_an_empty_word_of_a_sweep_is_one_mistake() -> None:
    code, _, err = called(["-m", EXPERIMENT, "hardware=cpu", ""])
    assert (code, err) == (2, "'': an empty argument says nothing; leave it out\n")


def test_trials_that_are_too_many_together_are_refused_before_one_is_composed() -> None:
    words = ["-m", EXPERIMENT, "hardware=cpu", "seed=range(1,900)", "algorithm.lr=1e-4,1e-5"]
    assert called(words) == (
        2,
        "",
        "seed algorithm.lr: make 1798 trials together, more than 1000; "
        "give fewer values, or search with sweep.sampler=random or tpe\n",
    )


def test_a_folder_of_presets_may_have_any_name(tmp_path: Path) -> None:
    folder = tmp_path / 'it\'s "mine", é'
    (folder / "model").mkdir(parents=True)
    shutil.copy(conf_dir() / "model" / "tiny.yaml", folder / "model" / "mine.yaml")
    words = ["--config-dir", str(folder), EXPERIMENT, "hardware=cpu", "model=mine", "--yaml"]
    code, out, err = called(words)
    assert (code, err) == (0, "")
    assert "path: builtin:tiny" in out


def test_a_preset_that_is_no_utf8_is_named(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "mine.yaml").write_bytes(b"path: builtin:tiny\nname: caf\xe9\n")
    code, _, err = called(["--config-dir", str(tmp_path), EXPERIMENT, "model=mine"])
    assert code == 2
    assert err == f"{tmp_path}/model/mine.yaml: line 2 is no UTF-8 text; save it as UTF-8\n"


def test_a_home_folder_is_found_in_a_path(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    code, out, _ = called([EXPERIMENT, "hardware=cpu", 'run.dir="~/runs"'])
    assert code == 0
    assert f"{tmp_path}/runs/gsm8k_react-" in out


def test_a_process_of_its_own_says_the_same(tmp_path: Path) -> None:
    words = [EXPERIMENT, "hardware=cpu", "--yaml", "seed=int(a)", "model.top_p=2", "x=1"]
    code, out, err = called(words)
    done = subprocess.run(
        [sys.executable, "-m", "rlagent.plan", *words],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(plan.__file__).parent.parent)},
    )
    assert (done.returncode, done.stdout, done.stderr) == (code, out, err)
    assert len(err.splitlines()) == 3
