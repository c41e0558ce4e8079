"""The timeline of a start."""

from rlagent.base.startup import Marks, timeline


def test_the_first_time_that_something_is_reached_counts() -> None:
    marks = Marks()
    marks.mark("made")
    first = marks.times()["made"]
    marks.mark("made")
    assert marks.times() == {"made": first}


def test_a_timeline_is_in_order_and_counts_from_the_command() -> None:
    found = timeline({"trainer_ready": 1007.5, "ray": 1003.0}, began=1000.0)
    assert list(found.items()) == [("startup/ray", 3.0), ("startup/trainer_ready", 7.5)]
