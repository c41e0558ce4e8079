"""What W&B takes as the name of a project, a run, a group or a tag; checked without wandb.

The limits are those of wandb 0.31 (`wandb_settings.py`) and of its server: longer names lose the
whole run.
"""

from collections.abc import Sequence
from typing import Any

from rlagent.base.texts import encodable_tree

LONGEST = 128
"""Characters of a project, a run's name or a group."""
LONGEST_TAG = 64
FORBIDDEN = "/\\#?%:"
"""Characters that no project may have."""


def project_fault(project: str) -> tuple[str, str] | None:
    """What is wrong with a project's name, and the remedy; None when W&B takes it.

    >>> project_fault("team/proj")[1]
    'a team is an entity: monitor.entity=team monitor.project=proj'
    """
    entity, _, rest = project.partition("/")
    if len(project) > LONGEST:
        return f"must have at most {LONGEST} characters", ""
    if not set(project) & set(FORBIDDEN):
        return None
    if entity and rest and not set(rest) & set(FORBIDDEN):
        remedy = f"a team is an entity: monitor.entity={entity} monitor.project={rest}"
    else:
        remedy = f"such as {plain_project(project)}"
    return f"must not hold any of {' '.join(FORBIDDEN)}", remedy


def tags_fault(tags: Sequence[str]) -> str | None:
    """What is wrong with a list of tags; None when W&B takes them."""
    for tag in tags:
        if not 0 < len(tag) <= LONGEST_TAG:
            return f"a tag must have 1 to {LONGEST_TAG} characters, {tag[:20]!r} has {len(tag)}"
    return None


def plain_project(project: str) -> str:
    """The nearest name of a project that W&B takes."""
    return "".join("-" if sign in FORBIDDEN else sign for sign in project)[:LONGEST]


def fitting(spec: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """The same run under names that W&B takes, and a line about each name that was changed.

    Args:
        spec: project, name, group, tags and whatever else; it is not changed.
    """
    fits = encodable_tree(spec)
    fits["project"] = plain_project(fits["project"])
    for key in ("name", "group"):
        fits[key] = fits[key] and fits[key][:LONGEST]
    fits["tags"] = list(dict.fromkeys(tag[:LONGEST_TAG] for tag in fits["tags"] if tag))
    lines = [
        f"its {key} {_short(spec[key])} is {_short(fits[key])} there, which takes no such name"
        for key in ("project", "name", "group")
        if fits[key] != spec[key]
    ]
    if cut := [tag for tag in spec["tags"] if len(tag) > LONGEST_TAG]:
        lines.append(f"the tag {_short(cut[0])} is cut to {LONGEST_TAG} characters there")
    return fits, lines


def _short(name: str) -> str:
    return repr(name if len(name) <= 40 else f"{name[:37]}...")
