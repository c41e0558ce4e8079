"""What every page of the view needs: the folder shown, what a request asks, and the frame."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from rlagent.records.evaluations import EvaluationFolder, evaluations_in
from rlagent.records.folder import RunFolder
from rlagent.records.sweep_store import SweepFolder
from rlagent.report.render import render
from rlagent.report.view.memory import Memory

HEADS = 2048
"""Steps whose rollouts' heads are remembered; about 60 KiB each with 128 rollouts."""

BARE = "@"
"""Stands for a run in the addresses of evaluations of bare models."""

Crumb = tuple[str, str]
"""Text and address of a page above the present one."""


class NotFoundError(Exception):
    """What a request asks for is not there; the message says what is missing."""


class BadRequestError(Exception):
    """A request asks for what cannot be; the message says what is wrong with it."""


@dataclass(frozen=True)
class Asked:
    """A request: the name in its path, and the values behind its question mark, by name."""

    name: str = ""
    query: Mapping[str, str] = field(default_factory=dict)
    # Values of names that may be given several times.
    several: Mapping[str, list[str]] = field(default_factory=dict)

    def text(self, name: str) -> str:
        """A value, '' where it was not given."""
        return self.query.get(name, "").strip()

    def whole(self, name: str, default: int = 0) -> int:
        """A whole number from 0 up; the default where something else was given."""
        text = self.text(name)
        # More digits than any number of ours has, and than Python turns into one.
        return int(text) if text.isascii() and text.isdigit() and len(text) < 16 else default

    def integer(self, name: str) -> int | None:
        """A whole number; None where none was given.

        Raises:
            BadRequestError: It is none.
        """
        found = self.number(name)
        if found is not None and found != int(found):
            raise BadRequestError(f"{name}={self.text(name)}: must be a whole number.")
        return None if found is None else int(found)

    def number(self, name: str) -> float | None:
        """A number; None where none was given.

        Raises:
            BadRequestError: It is none.
        """
        text = self.text(name)
        try:
            found = float(text) if text else None
        except ValueError:
            found = math.nan
        if found is not None and not math.isfinite(found):
            raise BadRequestError(f"{name}={text[:80]}: must be a number.")
        return found

    def changed(self, **values: Any) -> str:
        """The query with other values; empty ones are left out."""
        merged = {**self.query, **{name: str(value) for name, value in values.items()}}
        return "?" + urlencode({name: value for name, value in merged.items() if value})


class Site:
    """The folder that is shown, and what is remembered of it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.memory = Memory()
        # Apart, since a long run has thousands of batches.
        self.heads = Memory(HEADS)

    def run(self, name: str) -> RunFolder:
        """The run of a name.

        Raises:
            NotFoundError: There is none.
        """
        folder = RunFolder(self._place(name, "run"))
        if not folder.exists():
            raise NotFoundError(f"There is no run {name!r} in {self.root}.")
        return folder

    def sweep(self, name: str) -> SweepFolder:
        """The sweep of a name.

        Raises:
            NotFoundError: There is none.
        """
        folder = SweepFolder(self._place(name, "sweep"))
        if not folder.exists():
            raise NotFoundError(f"There is no sweep {name!r} in {self.root}.")
        return folder

    def evaluations(self, run: str) -> list[EvaluationFolder]:
        """The evaluations of a run, or of bare models, by name.

        Raises:
            NotFoundError: There is no such run.
        """
        return evaluations_in(self.root if run == BARE else self.run(run).path)

    def evaluation(self, run: str, name: str) -> EvaluationFolder:
        """An evaluation of a run, or of a bare model, by its name.

        Raises:
            NotFoundError: There is none.
        """
        for folder in self.evaluations(run):
            if folder.name == name:
                return folder
        raise NotFoundError(f"There is no evaluation {name!r} of {run}.")

    def _place(self, name: str, kind: str) -> Path:
        # A name is one of the folder's, never a path that leads out of it.
        if name in ("", ".", "..") or "/" in name or "\0" in name:
            raise NotFoundError(f"There is no {kind} {name!r} in {self.root}.")
        return self.root / name

    def page(self, template: str, title: str, crumbs: list[Crumb], **values: Any) -> str:
        """A whole page.

        Args:
            template: Name of its template.
            title: Of the page.
            crumbs: The pages above it, without the list of all.
            values: What it shows.
        """
        return render(
            template,
            layout="view.html.j2",
            title=title,
            crumbs=[(self.root.name or str(self.root), "/"), *crumbs],
            root=str(self.root),
            **values,
        )


def address(*parts: str, **query: Any) -> str:
    """The address of a page.

    >>> address("run", "a b", step=3)
    '/run/a%20b?step=3'
    """
    path = "/" + "/".join(quote(part, safe="") for part in parts)
    asked = urlencode({name: value for name, value in query.items() if value not in (None, "")})
    return f"{path}?{asked}" if asked else path
