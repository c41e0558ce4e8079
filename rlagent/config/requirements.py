"""Whether the machine has what a workflow requires; asked in the driver, before anything starts."""

from collections.abc import Sequence
from dataclasses import dataclass

from rlagent.config.functions import import_function


@dataclass(frozen=True)
class Required:
    """Something that a workflow requires; an empty lack means that it is here."""

    name: str
    lack: str = ""


def required(references: Sequence[str]) -> list[Required]:
    """Ask each function of `workflow.requires`.

    Raises:
        NotFoundError: There is no such function.
    """
    return [Required(_short(each), import_function(each)()) for each in references]


def _short(reference: str) -> str:
    """What a function is about: the module's last name.

    >>> _short("rlagent.tools.confined:refusal")
    'confined'
    """
    return reference.partition(":")[0].rpartition(".")[2]
