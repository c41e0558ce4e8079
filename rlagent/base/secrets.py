"""Recognises secrets, so that none is written, and reads references to them.

A configuration ends up in the run folder, in reports and on dashboards. A secret is named there
(`${oc.env:NAME}`), and read from the environment by the process that calls the user's function.
"""

import copy
import itertools
import math
import os
import re
from collections import Counter
from collections.abc import Collection, Iterator
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf

from rlagent.base.errors import Problem

HIDDEN = "(hidden)"

_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_SURE = {
    "apikey", "auth", "authorization", "bearer", "cookie", "cookies", "credential", "credentials",
    "passphrase", "passwd", "password", "pwd", "secret", "secrets",
}  # fmt: skip
"""Words that make a name that of a secret, wherever they stand in it."""

_OPENING = {"access", "api", "auth", "private", "secret", "signing", "encryption"}
"""Words before `key` that say that it opens something."""

_OF_TEXT = {
    "answer",
    "bos",
    "cls",
    "end",
    "eos",
    "image",
    "mask",
    "pad",
    "sep",
    "start",
    "stop",
    "unk",
}
"""Words before `token` that say that it stands in a text."""

_PLACE = {"dir", "file", "folder", "function", "judge", "model", "name", "path"}
"""Endings of names whose values are chosen by people, such as those of models."""

_KNOWN = re.compile(
    # Not within a word, as in multi-task-learning.
    r"(?<![A-Za-z0-9])(?:sk-[\w-]{16,}|hf_\w{20,}|gh[pousr]_\w{30,}|github_pat_\w{30,}"
    r"|xox[abprs]-[\w-]{10,}|AKIA[0-9A-Z]{16}|AIza[\w-]{30,}|Bearer\s+\S{8,}"
    r"|eyJ[\w-]{10,}\.[\w-]{10,}\.[\w-]*)|-----BEGIN [A-Z ]*PRIVATE KEY-----"
)
"""Forms of keys that their issuers gave them, and those of tokens and private keys."""

_URL_PASSWORD = re.compile(r"\w[\w+.-]*://[^/\s:@]*:[^/\s@]+@")
_RANDOM = re.compile(r"[A-Za-z0-9+_-]{24,}={0,2}")
_TASKS = "buffer.explorer_input"
"""Where a native YAML has its tasksets, each with `workflow_args`."""

NATIVE_PLACE = f"{_TASKS}.taskset.workflow_args"
_REFERENCE = re.compile(r"\$\{oc\.env:\s*([A-Za-z_]\w*)\s*\}")


def is_secret_name(name: str) -> bool:
    """Whether a name says that its value is secret.

    >>> [is_secret_name(n) for n in ("OPENAI_API_KEY", "accessToken", "db.pwd", "authorization")]
    [True, True, True, True]
    >>> [is_secret_name(n) for n in ("max_response_tokens", "answer_key", "author", "eos_token")]
    [False, False, False, False]
    """
    words = _words(name)
    if not words:
        return False
    if _SURE.intersection(words):
        return True
    if words[-1] == "token":
        return not _OF_TEXT.intersection(words[-2:-1])
    return words[-1] == "key" and bool(_OPENING.intersection(words[-2:-1]))


def _words(name: str) -> list[str]:
    return [word.lower() for word in _WORD.findall(name)]


def looks_secret(value: str, name: str = "") -> bool:
    """Whether a text looks like a secret by itself: a key's form, a password in a URL, or chance.

    Args:
        value: The text.
        name: What it is called; names of models and folders may look like chance.

    >>> looks_secret("postgres://me:sesame@db/x"), looks_secret("https://me@db/x")
    (True, False)
    >>> looks_secret("Zx81kQ0pLm93RtY7uVw2AbCd"), looks_secret("Qwen/Qwen3-30B-A3B-Instruct-2507")
    (True, False)
    """
    if _KNOWN.search(value) or _URL_PASSWORD.search(value):
        return True
    if _PLACE.intersection(_words(name)[-1:]):
        return False
    return any(_RANDOM.fullmatch(part) and _is_random(part) for part in value.split("/"))


def _is_random(text: str) -> bool:
    """Whether letters and digits follow each other as if drawn: bits per character, and how often
    the kind of character changes, which in words and version numbers is seldom."""
    kinds = [
        "d" if c.isdigit() else "u" if c.isupper() else "l" if c.islower() else "" for c in text
    ]
    if not {"d", "u", "l"} <= set(kinds) or kinds.count("") > len(text) / 10:
        return False
    changes = sum(a != b for a, b in itertools.pairwise(kinds)) / (len(text) - 1)
    bits = -sum(n / len(text) * math.log2(n / len(text)) for n in Counter(text).values())
    return changes > 0.45 and bits > 3.8


def hides_secret(name: str, value: Any) -> bool:
    """Whether a value must not be written, by its name or by itself; a reference may be."""
    if isinstance(value, bool) or value in (None, "", HIDDEN) or is_reference(value):
        return False
    if isinstance(value, str):
        return is_secret_name(name) or looks_secret(value, name)
    # `max_token=5` counts something.
    is_number = isinstance(value, (int, float))
    return is_number and is_secret_name(name) and not name.lower().endswith("token")


def is_reference(value: Any) -> bool:
    """Whether a value refers to environment variables and holds no secret beside them.

    >>> is_reference("${oc.env:KEY}"), is_reference("Bearer ${oc.env:KEY}"), is_reference("x")
    (True, True, False)
    """
    if not isinstance(value, str) or not _REFERENCE.search(value):
        return False
    return not looks_secret(_REFERENCE.sub("", value))


def keeping_references(node: DictConfig) -> DictConfig:
    """Return a copy of a configuration that resolves to one in which the references of the
    workflow's arguments stand as written: only the process that calls the workflow reads them.

    Args:
        node: A composed configuration, or a native Trinity YAML.
    """
    copied = copy.deepcopy(node)
    tasks = OmegaConf.select(copied, _TASKS)
    sets = [f"{_TASKS}.taskset"]
    for name in ("tasksets", "eval_tasksets"):
        several = tasks.get(name) if isinstance(tasks, DictConfig) else None
        number = len(several) if isinstance(several, ListConfig) else 0
        sets += [f"{_TASKS}.{name}[{index}]" for index in range(number)]
    for key in ("workflow.args", *(f"{each}.workflow_args" for each in sets)):
        arguments = OmegaConf.select(copied, key)
        # Another type is refused once all of it is plain data.
        if OmegaConf.is_config(arguments):
            raw = OmegaConf.to_container(arguments)
            OmegaConf.update(copied, key, _escaped(raw), merge=False, force_add=True)
    return copied


def _escaped(data: Any) -> Any:
    if isinstance(data, dict):
        return {key: _escaped(value) for key, value in data.items()}
    if isinstance(data, list):
        return [_escaped(value) for value in data]
    return _REFERENCE.sub(r"\\\g<0>", data) if isinstance(data, str) else data


def as_written(data: Any) -> Any:
    """Return plain data as a YAML file says it to OmegaConf: `${` that is text is escaped, and
    references of workflow.args stay references.

    >>> as_written({"a": "say ${name}", "workflow": {"args": {"key": "${oc.env:KEY}"}}})
    {'a': 'say \\\\${name}', 'workflow': {'args': {'key': '${oc.env:KEY}'}}}
    """
    found = without_interpolations(data)
    arguments = (data.get("workflow") or {}).get("args")
    if arguments:
        found["workflow"]["args"] = without_interpolations(arguments, but_references=True)
    return found


def without_interpolations(data: Any, but_references: bool = False) -> Any:
    """Return plain data in which every `${` is escaped, so that OmegaConf takes it for text.

    Args:
        data: Mappings, lists and values.
        but_references: Whether references to the environment stay what they are.
    """
    if isinstance(data, dict):
        return {key: without_interpolations(value, but_references) for key, value in data.items()}
    if isinstance(data, list):
        return [without_interpolations(value, but_references) for value in data]
    if not isinstance(data, str):
        return data
    # A backslash before it would escape the one that is put there.
    text = re.sub(r"(\\*)\$\{", r"\1\1\\${", data)
    if but_references:
        text = re.sub(r"\\(?=\$\{oc\.env:\s*[A-Za-z_]\w*\s*\})", "", text)
    return text


def secret_problems(data: Any, place: str = "workflow.args") -> list[Problem]:
    """Return one problem per value of a configuration that looks like a secret.

    Args:
        data: The configuration.
        place: Where a reference may stand: elsewhere it is replaced before anything is written.
    """
    return [
        Problem(
            key,
            HIDDEN,
            "looks like a secret, which would be written into the run folder",
            "put it into an environment variable and write "
            f"{key if _is_argument(key) else f'{place}.NAME'}='${{oc.env:NAME}}'",
        )
        for key, name, value in _leaves(data, "")
        if hides_secret(name, value)
    ]


def _is_argument(key: str) -> bool:
    taken = key.startswith(_TASKS) and ".workflow_args." in key
    return taken or key.startswith("workflow.args.")


def missing_references(data: Any, prefix: str = "") -> list[Problem]:
    """Return one problem per reference to an environment variable that is not set."""
    return [
        Problem(key, value, f"the environment has no {variable}", f"export {variable}=...")
        for key, _, value in _leaves(data, prefix)
        if isinstance(value, str)
        for variable in _REFERENCE.findall(value)
        if variable not in os.environ
    ]


def resolve_references(data: Any) -> Any:
    """Return a copy with references replaced by what the environment of this process holds.

    Raises:
        KeyError: A variable is not set here.
    """
    if isinstance(data, dict):
        return {key: resolve_references(value) for key, value in data.items()}
    if isinstance(data, list):
        return [resolve_references(value) for value in data]
    if not isinstance(data, str):
        return data
    return _REFERENCE.sub(lambda found: _read(found[1]), data)


def referenced(data: Any) -> list[str]:
    """What the environment of this process holds under the references in plain data."""
    texts = (value for _, _, value in _leaves(data, "") if isinstance(value, str))
    names = dict.fromkeys(name for text in texts for name in _REFERENCE.findall(text))
    return [os.environ[name] for name in names if name in os.environ]


def without(value: Any, secrets: Collection[str]) -> Any:
    """A JSON value with `(hidden)` in place of every secret in its texts.

    Those of fewer than 4 characters are left: they stand in any text.

    >>> without({"a sesame": ["say sesame", 1]}, ["sesame", "1", "a"])
    {'a (hidden)': ['say (hidden)', 1]}
    """
    found = [secret for secret in secrets if len(secret) >= 4]
    return _without(value, found) if found else value


def _without(value: Any, secrets: Collection[str]) -> Any:
    if isinstance(value, str):
        for secret in secrets:
            value = value.replace(secret, HIDDEN)
        return value
    if isinstance(value, dict):
        return {_without(key, secrets): _without(item, secrets) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without(item, secrets) for item in value]
    return value


def _read(variable: str) -> str:
    if variable not in os.environ:
        raise KeyError(
            f"the environment variable {variable}, which an argument of the workflow refers to, is "
            "not set in the process that runs the workflow; on a cluster set it on every node"
        )
    return os.environ[variable]


def _leaves(data: Any, prefix: str, name: str = "") -> Iterator[tuple[str, str, Any]]:
    """The leaves of nested data: dotted key, the name that says what it is, value."""
    if isinstance(data, dict):
        for key, value in data.items():
            # All of what stands under a secret's name is one.
            above = name if is_secret_name(name) else str(key)
            yield from _leaves(value, f"{prefix}.{key}" if prefix else str(key), above)
    elif isinstance(data, (list, tuple)):
        for index, value in enumerate(data):
            yield from _leaves(value, f"{prefix}.{index}", name)
    else:
        yield prefix, name, data
