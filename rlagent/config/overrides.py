"""Finds what is wrong with command-line overrides one by one, where Hydra stops at the first.

Knows Hydra's override grammar and the groups of presets; values are checked after composition.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, ValueType
from hydra.errors import HydraException

from rlagent.base.errors import Problem, raise_if_any
from rlagent.base.names import did_you_mean, listed, nearest
from rlagent.base.origins import leaves
from rlagent.base.texts import is_encodable
from rlagent.config.spec import Spec, find, keys_of


@dataclass(frozen=True)
class Groups:
    """The groups of presets on the search path.

    Args:
        names: Names of all groups.
        options: Returns the presets of a group.
        given: Groups that the defaults list already holds; others are added with `+`.
    """

    names: Sequence[str]
    options: Callable[[str], Sequence[str]]
    given: Sequence[str]


SWEPT_BY_HYDRA = "hydra.sweeper.params."
"""What stands before a key that a sweeper varies, in presets and on the command line."""


LONGEST = 20_000
"""Characters of one override; what is longer takes Hydra's parser seconds."""


def parse(argument: str) -> Override | None:
    """Return one parsed override, None when Hydra's grammar refuses it."""
    found = _parsed(argument)
    return found if isinstance(found, Override) else None


def parse_all(arguments: Sequence[str], groups_of: object = None) -> list[Override]:
    """Return parsed overrides.

    Args:
        arguments: The overrides as typed.
        groups_of: What Hydra's glob asks for the presets of a group.

    Raises:
        ConfigError: With every override that Hydra's grammar refuses.
    """
    found = [_parsed(argument, groups_of) for argument in arguments]
    raise_if_any(
        _unreadable(argument, reason)
        for argument, reason in zip(arguments, found, strict=True)
        if isinstance(reason, str)
    )
    return [override for override in found if isinstance(override, Override)]


def _parsed(argument: str, groups_of: object = None) -> Override | str:
    """Return one parsed override, or why it is refused: empty for a mistake of grammar."""
    if len(argument) > LONGEST:
        return f"an override has at most {LONGEST} characters; a longer one belongs into a file"
    if not is_encodable(argument):
        return "is no UTF-8 text"
    if _is_keyless(argument):
        # Hydra takes it for a key that is empty.
        return ""
    try:
        override = OverridesParser.create().parse_override(argument)
    except HydraException as error:
        return _reason(str(error))
    except ValueError:
        return "a number has too many digits"
    except RecursionError:
        return "is nested too deeply"
    override.config_loader = groups_of  # type: ignore[assignment]
    return override


def _is_keyless(argument: str) -> bool:
    """Whether an override begins with its value, or has neither key nor value."""
    return not argument.lstrip("+~ ").partition("=")[0]


def _reason(text: str) -> str:
    """Return what one of Hydra's functions said; empty when the grammar itself refused."""
    head, _, said = text.partition("': ")
    if " while evaluating '" not in head or not said:
        return ""
    said = said.partition("\n")[0].replace("HydraException ", "")
    return said[:1].lower() + said[1:]


def is_sweep(argument: str) -> bool:
    """Return whether an override gives several values for its key."""
    override = parse(argument)
    return override is not None and override.is_sweep_override()


def chooses_preset(override: Override, groups: Groups) -> bool:
    """Whether an override chooses a preset of a group.

    A mapping given to the name of a group is a value: `workflow={function: ...}`.
    """
    return override.key_or_group in groups.names and not isinstance(override.value(), dict)


def keys(arguments: Sequence[str], groups: Groups) -> list[str]:
    """Return the dotted keys that overrides set; a mapping sets those that it holds.

    Args:
        arguments: Overrides that were found to be good.
        groups: Groups of presets.
    """
    found = []
    for override in filter(None, map(parse, arguments)):
        if not override.is_hydra_override() and not chooses_preset(override, groups):
            found += [key for key, _ in leaves({override.key_or_group: override.value()})]
    return found


def lint(
    arguments: Sequence[str], groups: Groups, spec: Spec, multirun: bool = False
) -> tuple[list[str], list[Problem]]:
    """Split overrides into those that Hydra can compose and what is wrong with the others.

    Args:
        arguments: The overrides as typed.
        groups: Groups of presets.
        spec: What LearnConfig may hold; keys that do not exist are refused, `+` or not.
        multirun: Whether several values for one key are a sweep.
    """
    good, problems = [], []
    for argument in arguments:
        override = parse(argument)
        problem = (
            _malformed(argument, groups, spec)
            if override is None
            else _problem(override, groups, spec, multirun)
        )
        if problem is None:
            good.append(argument)
        else:
            problems.append(problem)
    return good, problems


def as_typed(problems: Sequence[Problem], arguments: Sequence[str]) -> list[Problem]:
    """Return mistakes with numbers written as on the command line: -1, not the -1.0 that it became.

    Args:
        problems: Mistakes in the configuration that was composed.
        arguments: The overrides as typed.
    """
    texts = {}
    for argument in arguments if problems else ():
        override = parse(argument)
        if override is not None and not override.is_sweep_override() and "=" in argument:
            texts[override.key_or_group] = (override.value(), argument.split("=", 1)[1])
    return [_with_text(problem, *texts.get(problem.key, (None, ""))) for problem in problems]


def _with_text(problem: Problem, value: object, text: str) -> Problem:
    numbers = all(
        isinstance(item, (int, float)) and not isinstance(item, bool)
        for item in (problem.value, value)
    )
    # What was filled in for a typed `auto` was not typed.
    return replace(problem, value=text) if numbers and value == problem.value else problem


def _malformed(argument: str, groups: Groups, spec: Spec) -> Problem:
    if "=" not in argument and not _is_keyless(argument):
        known = [*keys_of(spec), *groups.names]
        name = nearest(argument.lstrip("+-~"), known)
        example = f"such as {name}=..." if name else "such as seed=2"
        return Problem(argument, None, "is neither a flag nor key=value", f"write it {example}")
    return _unreadable(argument, str(_parsed(argument)))


def _unreadable(argument: str, reason: str) -> Problem:
    if not argument.strip():
        return Problem("''", None, "an empty argument says nothing", "leave it out")
    if _is_keyless(argument):
        return Problem(argument, None, "has no key", "write key=value")
    key, _, value = argument.partition("=")
    if reason:
        return Problem(key, value, f"cannot be read: {reason}", _example(value))
    if value.startswith(",") or value.endswith(",") or ",," in value:
        return Problem(key, value, "cannot be read", "a comma stands between two values")
    better = f"{key}={quoted(value)}"
    helps = len(better) < 200 and isinstance(_parsed(better), Override)
    remedy = f"quote the value for Hydra: '{better}'" if helps else ""
    return Problem(key, value, "cannot be read", remedy)


def quoted(text: str) -> str:
    """Return a text as a value of Hydra's grammar, whatever signs it holds.

    >>> print(quoted("it's"))
    "it's"
    """
    return f'"{_escaped(text)}"'


def _escaped(value: str) -> str:
    """Return a text as it stands between Hydra's double quotes."""
    return re.sub(r'(\\*)(?="|$)', r"\1\1", value).replace('"', '\\"')


_EXAMPLES = {
    "choice": "choice(1,2)",
    "range": "range(1,4)",
    "interval": "interval(1e-5,1e-3)",
    "tag": "tag(log,interval(1e-5,1e-3))",
    "glob": "glob(*)",
}


def _example(value: str) -> str:
    name = value.partition("(")[0].strip()
    if name in _EXAMPLES:
        return f"write it such as {_EXAMPLES[name]}"
    return did_you_mean(name, _EXAMPLES) if "(" in value else ""


def _problem(override: Override, groups: Groups, spec: Spec, multirun: bool) -> Problem | None:
    key = override.key_or_group
    # Group options are names; the raw text after `=` is what was meant.
    line = override.input_line or key
    value = line.split("=", 1)[1] if "=" in line else None
    if override.is_sweep_override() and not multirun:
        return Problem(
            key,
            value,
            "several values are a sweep",
            f"add -m for one run per value, or write [{value}] for a list",
        )
    if override.is_hydra_override():
        if override.is_sweep_override() and not key.startswith(SWEPT_BY_HYDRA):
            return Problem(key, value, "Hydra's own settings cannot be swept", "give it one value")
        return None
    if key in groups.names:
        return _group_problem(override, groups, value)
    if override.package is not None or "/" in key:
        known = list(groups.names)
        # With a package alone, as in `@seed=1`, Hydra reads a group without a name.
        written = key or line.partition("=")[0]
        return Problem(written, value, "there is no such group", did_you_mean(written, known))
    if find(spec, key) is None:
        known = [*keys_of(spec), *groups.names]
        found = nearest(key, known)
        remedy = f"did you mean {found}?" if found else "--cfg job shows all keys"
        return Problem(key, value, "there is no such key", remedy)
    if override.is_add() and not _is_open(key, spec) and not isinstance(override.value(), dict):
        return Problem(f"+{key}", value, "exists already", f"write {key}={value}")
    if override.is_delete() and not _is_open(key, spec):
        return Problem(f"~{key}", None, "a setting cannot be removed", "give it another value")
    return None


def _is_open(key: str, spec: Spec) -> bool:
    """Return whether the key lies inside a node whose keys are free."""
    parent = find(spec, key.rsplit(".", 1)[0]) if "." in key else spec
    return parent is not None and parent.kind != "struct"


def _group_problem(override: Override, groups: Groups, value: str | None) -> Problem | None:
    key = override.key_or_group
    if override.is_delete():
        return Problem(f"~{key}", None, "a group cannot be removed", "choose another preset")
    options = list(groups.options(key))
    names = _option_names(override, options)
    for name in names:
        if name not in options:
            remedy = did_you_mean(name, options)
            intro = "; there is only " if len(options) == 1 else "; there are "
            message = "there is no such preset" + listed(intro, options, remedy)
            return Problem(key, name, message, remedy)
    if key in groups.given and override.is_add():
        return Problem(f"+{key}", value, f"{key} has a preset already", f"write {key}={value}")
    if key not in groups.given and not override.is_add():
        return Problem(key, value, "is not among the defaults", f"write +{key}={value}")
    return None


def _option_names(override: Override, options: Sequence[str]) -> list[str]:
    """Return the presets that an override chooses; several in a sweep."""
    if not override.is_sweep_override():
        value = override.value()
        return [str(item) for item in value] if isinstance(value, list) else [str(value)]
    if override.is_choice_sweep() and override.value_type != ValueType.GLOB_CHOICE_SWEEP:
        return [name.strip("'\"") for name in override.sweep_string_iterator()]
    # A glob chooses among what exists.
    return [options[0]] if options else []


def key_of(override: str) -> str:
    """Return the key of an override, without `+`.

    >>> key_of("+experiment=gsm8k_react"), key_of("++trinity.a=1")
    ('experiment', 'trinity.a')
    """
    return override.split("=", 1)[0].lstrip("+~")
