"""What went wrong, in one line, from an exception or from the text that is left of one.

The one place that words a cause, for rollouts, judges, trainer, driver and report alike. The whole
text is for the log. Imports nothing heavy: exceptions of libraries are known by their attributes.
"""

import re
import traceback
from collections.abc import Iterator

from rlagent.base.texts import MOST, shown

_FRAMES = 20
"""Exceptions that are followed from one to the next: a chain may lead in a circle."""

_TRACEBACK = "Traceback (most recent call last):"
# What a printed exception group draws before the lines of its members.
_DRAWN = re.compile(r"^[ ]*(?:\||\+)[-+| ]*")
_NAMED = re.compile(r"^(?:[A-Za-z_]\w*\.)*[A-Z]\w*(?::|$)")
_GROUP = re.compile(r"\(\d+ sub-exceptions?\)$")
# Lines of Ray's ActorDiedError.
_ACTOR = re.compile(r"^\tclass_name: (\w+)$", re.MULTILINE)
_PID = re.compile(r"^\tpid: (\d+)$", re.MULTILINE)
_MODULE = re.compile(r"^(?:[A-Za-z_]\w*\.)+")


def cause_of(error: BaseException, limit: int = MOST) -> str:
    """An exception in one line: its type, the first line of its text that says something, and
    what it was raised from.

    Of a group, its members; of a refusal by pydantic, the field and what was given for it; of an
    error that crossed Ray, the one that was raised there.

    >>> cause_of(ValueError("bad"))
    'ValueError: bad'
    """
    return shown(_worded(error), limit)


def cause_in(text: str, limit: int = MOST) -> str:
    """The same of a printed exception, such as a traceback: the line that names it.

    >>> cause_in("Traceback (most recent call last):\\n  File 1\\nValueError: bad\\n\\nSee docs.")
    'ValueError: bad'
    """
    lines = [_DRAWN.sub("", line) for line in text.splitlines()]
    starts = [number for number, line in enumerate(lines) if _TRACEBACK in line]
    after = lines[starts[-1] + 1 :] if starts else lines
    named = [line for line in after if _NAMED.match(line)]
    named = [line for line in named if not _GROUP.search(line)] or named
    # As an exception is named that is at hand: without its module.
    return shown(_MODULE.sub("", named[0]) if named else _telling(text), limit)


def text_of(error: BaseException) -> str:
    """What an exception says, in one line and without its type, unless it says nothing.

    >>> text_of(ValueError("bad")), text_of(TimeoutError())
    ('bad', 'TimeoutError')
    """
    return shown(_says(error, 0) or type(error).__name__)


def chain(error: BaseException) -> Iterator[BaseException]:
    """An exception and all that it was raised from, or holds: causes, contexts, members."""
    todo, seen = [error], set[int]()
    while todo and len(seen) < 1000:
        one = todo.pop(0)
        if id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        todo += [each for each in (one.__cause__, one.__context__) if each is not None]
        if isinstance(one, BaseExceptionGroup):
            todo += one.exceptions


def whole(error: BaseException) -> str:
    """The traceback of an exception with all that it was raised from, for a log."""
    return "".join(traceback.format_exception(error))


def _worded(error: BaseException, depth: int = 0) -> str:
    error = _remote(error)
    name, said = _name(error), _says(error, depth)
    words = f"{name}: {said}" if name and said else said or name
    origin = _origin(error, said)
    if origin is None or depth >= _FRAMES:
        return words if said else f"{words}{_place(error)}"
    deeper = _worded(origin, depth + 1)
    return words if deeper in words else f"{words} (from {deeper})"


def _remote(error: BaseException) -> BaseException:
    """What was raised in another process, of Ray's error about it."""
    inner = getattr(error, "cause", None) if _is_rays(error) else None
    return inner if isinstance(inner, BaseException) else error


def _is_rays(error: BaseException) -> bool:
    return type(error).__name__.startswith("RayTaskError")


def _name(error: BaseException) -> str:
    # Of some of Ray's errors only the printed traceback is left; it names the exception.
    if _is_rays(error) or getattr(error, "says_all", False):
        return ""
    return type(error).__name__


def _says(error: BaseException, depth: int) -> str:
    """The text of an exception, without its type; empty where it says nothing."""
    if isinstance(error, BaseExceptionGroup):
        members = error.exceptions
        worded = [_worded(member, depth + 1) for member in members[:3]] if depth < _FRAMES else []
        more = [f"and {len(members) - len(worded)} more"] if len(members) > len(worded) else []
        return "; ".join([*worded, *more])
    if refused := _refused_fields(error):
        return refused
    try:
        text = str(error)
    # An exception of someone's own may fail to say what it is.
    except Exception as broken:
        return f"(its text cannot be made: {type(broken).__name__})"
    if actor := _dead_actor(error, text):
        return actor
    return cause_in(text) if _is_rays(error) else _telling(text)


def _dead_actor(error: BaseException, text: str) -> str:
    """Which actor has died, where Ray says so below its first line; empty for any other error."""
    found = _ACTOR.search(text) if type(error).__name__ == "ActorDiedError" else None
    if found is None:
        return ""
    pid = _PID.search(text)
    which = f"{found[1]} (process {pid[1]})" if pid else found[1]
    return f"the {which} died unexpectedly before it answered"


def _refused_fields(error: BaseException) -> str:
    """What pydantic refused: `Model.field: why, given value`; empty for any other error."""
    if type(error).__name__ != "ValidationError" or not hasattr(error, "errors"):
        return ""
    try:
        mistakes = error.errors(include_url=False, include_context=False)
        first = mistakes[0]
        field = ".".join([str(error.title), *map(str, first["loc"])])  # type: ignore[attr-defined]
        given = f", given {shown(repr(first['input']), 80)}"
    except (TypeError, KeyError, IndexError, AttributeError):
        # Another library's error of this name.
        return ""
    more = f" (and {len(mistakes) - 1} more)" if len(mistakes) > 1 else ""
    return f"{field}: {first['msg']}{given}{more}"


def _origin(error: BaseException, said: str) -> BaseException | None:
    """What an exception was raised from; what it only came after, where it says nothing itself."""
    if error.__cause__ is not None:
        return error.__cause__
    return None if said or error.__suppress_context__ else error.__context__


def _place(error: BaseException) -> str:
    """Where an exception without a text was raised, with that line."""
    frames = traceback.extract_tb(error.__traceback__)
    if not frames:
        return ""
    last = frames[-1]
    return f" in {last.name} ({last.filename.rsplit('/', 1)[-1]}:{last.lineno}): {last.line}"


def _telling(text: str) -> str:
    """The first line with a letter or digit in it."""
    lines = (line.strip() for line in text.splitlines())
    return next((line for line in lines if any(map(str.isalnum, line))), text.strip())
