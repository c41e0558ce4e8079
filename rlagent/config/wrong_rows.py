"""Wrong rows of a file: the first few are named, the others counted."""

from dataclasses import dataclass, field

from rlagent.base.errors import Problem

SHOWN = 3
"""Wrong rows that are named."""


@dataclass
class WrongRows:
    """Collects what is wrong with rows.

    Args:
        problems: Where the mistakes are put.
        count: How many rows are wrong.
    """

    problems: list[Problem] = field(default_factory=list)
    count: int = 0

    def add(self, problem: Problem) -> None:
        """Count a wrong row; the first `SHOWN` are named."""
        self.count += 1
        if self.count <= SHOWN:
            self.problems.append(problem)

    def close(self, key: str = "", path: str | None = None) -> list[Problem]:
        """Say how many are not named, as a mistake of `key=path`; returns all mistakes."""
        if self.count > SHOWN:
            self.problems.append(
                Problem(key, path, f"{self.count - SHOWN} more rows of it are wrong")
            )
        return self.problems
