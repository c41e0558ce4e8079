"""How many tests a written function passes: which program to run, and what its output says.

Running it is left to rlagent.tools.confined. The program is given what to call the function with,
and never what is to come out: that is compared here, out of its reach.
"""

import json
import math
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

Test = Sequence[Any]
"""Arguments of a call, and what it is to return: `[[1, 2], 3]`, values as JSON has them."""

_FENCED = re.compile(r"```(?:python|py)?[ \t]*\n(.*?)(?:```|\Z)", re.DOTALL)
_MOST_SHOWN = 300
"""Characters of a result in a fault, which the model reads when it tries again."""

_THOUGHT = re.compile(r"\A.*</think>", re.DOTALL)
_CALLS = """

import json as _json
_results = []
for _arguments in _json.loads({arguments!r}):
    try:
        _results.append(["returned", {name}(*_arguments)])
    except Exception as _error:
        _results.append(["raised", type(_error).__name__ + ": " + str(_error)[:200]])
print("\\n{mark}" + _json.dumps(_results, default=repr))
"""


@dataclass(frozen=True)
class Verdict:
    """How a function did."""

    passed: int
    tests: int
    # What is wrong, in one line, for whoever tries again; empty when all tests pass.
    fault: str = ""

    @property
    def share(self) -> float:
        """Of the tests that pass, in [0, 1]."""
        return self.passed / self.tests


@dataclass(frozen=True)
class Trial:
    """A program that calls the function with the arguments of each test, and prints the results."""

    source: str
    # Stands before the results; drawn, so that what the function prints is not taken for them.
    mark: str


def code_of(reply: str) -> str:
    """The code of a reply: what its first fenced block holds, else all of it, without thoughts.

    >>> code_of("Here it is:\\n```python\\ndef f(): return 1\\n```\\nDone.")
    'def f(): return 1\\n'
    """
    answer = _THOUGHT.sub("", reply)
    fenced = _FENCED.search(answer)
    return fenced[1] if fenced else answer


def trial(code: str, name: str, tests: Sequence[Test]) -> Trial:
    """The program that tries a function called `name`."""
    mark = secrets.token_hex(8)
    arguments = json.dumps([test[0] for test in tests])
    return Trial(code + _CALLS.format(arguments=arguments, name=name, mark=mark), mark)


def verdict(tried: Trial, printed: str, failure: str, name: str, tests: Sequence[Test]) -> Verdict:
    """What came of a trial.

    Args:
        tried: The program.
        printed: Its output.
        failure: Why it did not run to its end; empty when it did.
        name: Of the function.
        tests: As given to `trial`.
    """
    results = _results(printed, tried.mark, len(tests))
    if failure or results is None:
        return Verdict(0, len(tests), failure or f"{name} ended the program")
    faults = [
        fault
        for test, result in zip(tests, results, strict=True)
        if (fault := _fault(name, test, result))
    ]
    return Verdict(len(tests) - len(faults), len(tests), faults[0] if faults else "")


def _results(printed: str, mark: str, count: int) -> list[Any] | None:
    found = printed.rpartition(f"\n{mark}")[2] if mark in printed else ""
    try:
        results = json.loads(found)
    except (ValueError, RecursionError):
        return None
    # A program may find the mark in itself, and write behind it what it likes.
    good = isinstance(results, list) and len(results) == count
    return results if good and all(map(_is_result, results)) else None


def _is_result(result: Any) -> bool:
    return isinstance(result, list) and len(result) == 2


def _fault(name: str, test: Test, result: Any) -> str:
    (arguments, wanted), (how, value) = test, result
    call = f"{name}({', '.join(map(repr, arguments))})"
    if how == "raised":
        return f"{call} raises {value}"[:_MOST_SHOWN]
    if _same(value, wanted):
        return ""
    got = repr(value)
    got = got if len(got) <= _MOST_SHOWN else f"{got[:_MOST_SHOWN]}..."
    return f"{call} returns {got}, not {wanted!r}"


def _same(value: Any, wanted: Any) -> bool:
    if isinstance(value, float) and isinstance(wanted, (int, float)):
        return math.isclose(value, wanted, rel_tol=1e-9)
    return type(value) is type(wanted) and value == wanted
