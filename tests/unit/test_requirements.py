"""What a workflow requires is asked for before Ray starts, by the run and by the doctor."""

import pytest

from rlagent.base.endings import RunError
from rlagent.config.check import check
from rlagent.config.requirements import required
from rlagent.health.reachable import required_rows
from rlagent.health.row import FAIL, OK
from rlagent.launch.phases import require_surroundings
from tests.configured import configured


def never() -> str:
    return "there is no moon here: wait for the night"


NEVER = f"{__file__}:never"


def here() -> str:
    return ""


HERE = f"{__file__}:here"


def test_what_a_function_says_is_missing_is_missing():
    assert [each.lack for each in required([HERE, NEVER])] == ["", never()]


def test_a_run_that_lacks_something_ends_before_ray_starts():
    require_surroundings([HERE])
    with pytest.raises(RunError, match="there is no moon here"):
        require_surroundings([NEVER])


def test_the_doctor_says_it_too():
    assert [row.state for row in required_rows([HERE, NEVER])] == [OK, FAIL]


def test_a_function_that_does_not_exist_is_a_mistake_in_the_configuration():
    config = configured()
    config.workflow.requires = [f"{__file__}:nothing"]
    (problem,) = check(config)
    assert problem.key == "workflow.requires.0"
