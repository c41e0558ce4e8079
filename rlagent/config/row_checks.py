"""What of a taskset's rows can be checked without them: its function, its map and its filter."""

from rlagent.base.errors import Problem
from rlagent.config.functions import check_function
from rlagent.config.mix import Part
from rlagent.config.row_filter import filter_problems
from rlagent.config.task_files import is_function

MAKER_ARGUMENTS = ("split",)


def row_problems(part: Part) -> list[Problem]:
    """Return what of path, args, map and filter means nothing, without a look at any row."""
    dataset, key, problems = part.dataset, part.key, []
    if is_function(dataset.path):
        found = check_function(f"{key}.path", dataset.path, MAKER_ARGUMENTS, (), list(dataset.args))
        # Arguments of workflows are what that function otherwise speaks of.
        problems += [_of_rows(item, key) for item in found]
    elif dataset.args:
        message = "are for a function that makes the rows, and dataset.path names none"
        remedy = f"set {key}.path=FILE.py:FUNCTION, or leave them out"
        problems.append(Problem(f"{key}.args", None, message, remedy))
    for name, source in dataset.map.items():
        if not name or not source:
            message = "must be the name of a column, not empty"
            problems.append(Problem(f"{key}.map.{name}", source, message))
    return problems + filter_problems(dataset.filter, f"{key}.filter")


def _of_rows(problem: Problem, key: str) -> Problem:
    def words(text: str) -> str:
        return text.replace("workflow.args", f"{key}.args")

    return Problem(words(problem.key), problem.value, problem.message, words(problem.remedy))
