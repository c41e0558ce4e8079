"""What went wrong reads as one bounded line, whatever was raised and however it was wrapped."""

import subprocess
import sys
import traceback

import pydantic
import pytest

from rlagent.base.cause import cause_in, cause_of, chain
from rlagent.base.texts import MOST, encodable_tree, shown


class Result(pydantic.BaseModel):
    """As AgentScope's WorkflowOutput is."""

    reward: float | None = None
    metrics: dict[str, float] | None = None


class BrokenError(Exception):
    """Fails to say what it is."""

    def __str__(self) -> str:
        raise KeyError("no text")


def raised(raising) -> BaseException:
    try:
        raising()
    except BaseException as error:
        return error
    raise AssertionError("it raised nothing")


def _pydantic():
    Result(metrics={"a": "x"})


def _two_fields():
    Result(reward="y", metrics={"a": "x"})


def _from():
    try:
        raise ValueError("the parser broke")
    except ValueError as error:
        raise RuntimeError("no answer") from error


def _from_without_words():
    try:
        raise ValueError("the parser broke")
    except ValueError as error:
        raise RuntimeError from error


def _while_handling():
    try:
        raise ValueError("the parser broke")
    except ValueError:
        raise RuntimeError("no answer")  # noqa: B904


def _repeating():
    try:
        raise ValueError("bad")
    except ValueError as error:
        raise RuntimeError(f"tool failed: ValueError: {error}") from error


def _group():
    raise ExceptionGroup("several", [ValueError("a"), ExceptionGroup("in", [KeyError("b")])])


def _many():
    raise ExceptionGroup("several", [ValueError(str(number)) for number in range(9)])


def _lines():
    raise ValueError("\n-----\n  \x1b[31mthe first\x1b[0m word\nanother line")


def _silent():
    raise LookupError


def _surrogate():
    raise ValueError("bad \ud800 text")


def _broken():
    raise BrokenError


@pytest.mark.parametrize(
    ("raising", "line"),
    [
        (
            _pydantic,
            "ValidationError: Result.metrics.a: Input should be a valid number, unable to parse "
            "string as a number, given 'x'",
        ),
        (
            _two_fields,
            "ValidationError: Result.reward: Input should be a valid number, unable to parse "
            "string as a number, given 'y' (and 1 more)",
        ),
        (_from, "RuntimeError: no answer (from ValueError: the parser broke)"),
        (_from_without_words, "RuntimeError (from ValueError: the parser broke)"),
        (_while_handling, "RuntimeError: no answer"),
        (_repeating, "RuntimeError: tool failed: ValueError: bad"),
        (_group, "ExceptionGroup: ValueError: a; ExceptionGroup: KeyError: 'b'"),
        (_many, "ExceptionGroup: ValueError: 0; ValueError: 1; ValueError: 2; and 6 more"),
        (_lines, "ValueError: the first word"),
        (_surrogate, "ValueError: bad \\ud800 text"),
        (_broken, "BrokenError: (its text cannot be made: KeyError)"),
    ],
)
def test_the_cause_is_the_first_line_that_says_something(raising, line):
    assert cause_of(raised(raising)) == line


def test_an_error_without_a_text_says_where_it_was_raised():
    line = cause_of(raised(_silent))
    assert line.startswith("LookupError in _silent (test_causes.py:")
    assert line.endswith("): raise LookupError")
    assert cause_of(TimeoutError()) == "TimeoutError"


def test_megabytes_become_one_line_of_some_hundred_characters():
    for text in ("x" * 10**7, "x\n" * 10**6, "\x1b[31m" * 10**6 + "y", "-" * 10**6):
        line = cause_of(ValueError(text))
        assert len(line) <= MOST
        assert line.isprintable()
    assert cause_of(ValueError("x" * 10**7)).endswith("...")


def test_a_chain_that_leads_in_a_circle_ends():
    first, second = ValueError("a"), KeyError("b")
    first.__cause__, second.__cause__ = second, first
    assert cause_of(first).startswith("ValueError: a (from KeyError: 'b'")
    assert list(chain(first)) == [first, second]


def test_a_chain_holds_what_a_group_holds():
    found = [type(each) for each in chain(raised(_group))]
    assert found.count(ExceptionGroup) == 2
    assert {ValueError, KeyError} < set(found)


@pytest.mark.parametrize(
    ("raising", "line"),
    [
        (_pydantic, "ValidationError: 1 validation error for Result"),
        (_from, "RuntimeError: no answer"),
        (_lines, "ValueError:"),
        (_surrogate, "ValueError: bad \\ud800 text"),
    ],
)
def test_a_printed_traceback_becomes_the_line_that_names_the_exception(raising, line):
    text = "".join(traceback.format_exception(raised(raising)))
    assert cause_in(text) == line
    assert cause_in(f"0/2 runs completed successfully. First error: {text}") == line


def test_a_printed_group_becomes_one_of_its_members():
    text = "".join(traceback.format_exception(raised(_many)))
    assert cause_in(text) == "ValueError: 0"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", ""),
        (" \n", ""),
        ("----\n====", "---- ===="),
        ("\n--\n one  line\nmore", "one line"),
        ("Timeout (3 s) when running", "Timeout (3 s) when running"),
    ],
)
def test_a_text_that_is_no_traceback_is_its_first_line_that_says_something(text, line):
    assert cause_in(text) == line


def test_an_error_that_crossed_ray_is_the_one_that_was_raised():
    # In a process of its own: importing Ray takes a second.
    code = (
        "from ray.exceptions import RayTaskError\n"
        "from rlagent.base.cause import cause_of\n"
        "text = 'Traceback (most recent call last):\\n  File\\nlib.SomeError: no pickle\\n\\nSee'\n"
        "made = RayTaskError('f', text, ValueError('bad'))\n"
        "print(cause_of(made)); print(cause_of(made.as_instanceof_cause()))\n"
        "print(cause_of(RayTaskError('f', text, None)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [
        "ValueError: bad",
        "ValueError: bad",
        "SomeError: no pickle",
    ]


def test_a_dead_actor_is_named_with_its_process():
    code = (
        "from ray.core.generated.common_pb2 import ActorDiedErrorContext\n"
        "from ray.exceptions import ActorDiedError\n"
        "from rlagent.base.cause import cause_of\n"
        "died = ActorDiedErrorContext(class_name='Synchronizer', actor_id=bytes(16), pid=7)\n"
        "print(cause_of(ActorDiedError(died)))\n"
        "print(cause_of(ActorDiedError()))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [
        "ActorDiedError: the Synchronizer (process 7) died unexpectedly before it answered",
        "ActorDiedError: The actor died unexpectedly before finishing this task.",
    ]


def test_what_is_shown_does_nothing_to_a_terminal():
    assert shown("\x1b]0;title\x07a\x1b[2Jb\rc\u202ed\x9b") == "ab c d"


def test_a_record_is_encodable_in_its_keys_and_depths():
    tree = {"\ud800": [{"b": ("\udfff", 1.5, None, True)}], 3: "caf\u00e9"}
    assert encodable_tree(tree) == {
        "\\ud800": [{"b": ["\\udfff", 1.5, None, True]}],
        3: "caf\u00e9",
    }
