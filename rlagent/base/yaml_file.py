"""Reads a YAML file of settings, and says in one line, with file and line, why it cannot be."""

import io
import itertools
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from rlagent.base.cause import text_of
from rlagent.base.errors import ConfigError, Problem
from rlagent.base.secrets import keeping_references

MOST_BYTES = 10_000_000
MOST_DEPTH = 500
"""Brackets within brackets; PyYAML's time grows with their square."""
MOST_NODES = 100_000
"""Values of a file, those of an anchor counted at every place that refers to it."""


def read_settings(
    file: Path, shown: str, resolve: bool = False, may_be_empty: bool = False
) -> dict[str, Any]:
    """Return the settings of a YAML file.

    Args:
        file: The file.
        shown: How messages name it.
        resolve: Whether `${...}` is replaced by what it stands for; the references to secrets of
            workflow.args stay.
        may_be_empty: Whether a file without settings is right.

    Raises:
        ConfigError: It cannot be read, is no YAML, or holds no settings.
    """
    try:
        data = file.read_bytes()
        if len(data) > MOST_BYTES:
            raise _unreadable(shown, f"is larger than {MOST_BYTES} bytes")
        text = data.decode("utf-8-sig")
        if _depth(text) > MOST_DEPTH:
            raise _unreadable(shown, "is nested too deeply")
        if "*" in text:
            _count(yaml.compose(text, yaml.SafeLoader), {}, shown)
        node = OmegaConf.load(io.StringIO(text))
        if resolve and isinstance(node, DictConfig):
            node = keeping_references(node)
        found = OmegaConf.to_container(node, resolve=resolve)
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise _unreadable(shown, f"line {line} is no UTF-8 text", "save it as UTF-8") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = "" if mark is None else f"line {mark.line + 1}: "
        said = getattr(error, "problem", None) or getattr(error, "reason", None) or str(error)
        raise _unreadable(shown, f"{where}cannot be read: {said}") from error
    except RecursionError as error:
        raise _unreadable(shown, "is nested too deeply") from error
    # A wrong date is a ValueError of YAML's, a list as a key a TypeError.
    except (OmegaConfBaseException, OSError, ValueError, TypeError, AttributeError) as error:
        key = getattr(error, "full_key", None)
        said = text_of(error)
        raise _unreadable(shown, f"{key}: {said}" if key else said) from error
    if not isinstance(found, dict) or not (found or may_be_empty):
        raise _unreadable(shown, "holds no settings", "write `key: value` lines")
    return {str(key): value for key, value in found.items()}


def _unreadable(shown: str, message: str, remedy: str = "") -> ConfigError:
    return ConfigError([Problem(shown, None, message, remedy)])


def _depth(text: str) -> int:
    """Return how many brackets are open at once at most, those in texts counted too."""
    if text.count("[") + text.count("{") <= MOST_DEPTH:
        return 0
    steps = ((sign in "[{") - (sign in "]}") for sign in text)
    return max(itertools.accumulate(steps))


def _count(node: yaml.Node | None, known: dict[int, int | None], shown: str) -> int:
    """Return how many values a node comes to; anchors within anchors double them each time."""
    if not isinstance(node, yaml.CollectionNode):
        return 1
    seen = known.get(id(node), 0)
    if seen is None:
        line = node.start_mark.line + 1
        raise _unreadable(shown, f"line {line}: an anchor that refers to itself")
    if seen:
        return seen
    known[id(node)] = None
    inside = [item for pair in node.value for item in (pair if isinstance(pair, tuple) else [pair])]
    total = 1 + sum(_count(item, known, shown) for item in inside)
    if total > MOST_NODES:
        line = node.start_mark.line + 1
        raise _unreadable(shown, f"line {line}: anchors make it more than {MOST_NODES} values")
    known[id(node)] = total
    return total
