"""A field of the schema takes what its limits say, their ends included where they are."""

import pytest

from rlagent.base.limits import Limits


@pytest.mark.parametrize(
    ("limits", "inside", "outside"),
    [
        (Limits(least=1, most=8), [1, 4.5, 8, False, None], [0, 0.999, 8.001, 9]),
        (Limits(above=0, below=1), [1e-9, 0.5, 0.999], [0, 1, -1]),
        (Limits(least=1, also=-1), [-1, 1], [-2, 0]),
        (Limits(), [-1e30, 1e30], []),
        (Limits(least=0), [0], [float("nan")]),
    ],
)
def test_the_ends_of_at_least_and_at_most_are_in_and_those_of_above_and_below_are_not(
    limits, inside, outside
) -> None:
    assert [value for value in inside if limits.problem("key", value)] == []
    for value in outside:
        problem = limits.problem("key", value)
        assert problem is not None
        assert problem.message == f"must be {limits.words()}"


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        (Limits(least=1, below=2, unit="seconds"), "at least 1 and below 2 seconds"),
        (Limits(above=0, most=1, note="1: all"), "above 0 and at most 1 (1: all)"),
        (Limits(least=1, also=0, note="none", unit="steps"), "0 (none) or at least 1 steps"),
    ],
)
def test_a_range_in_words_has_its_unit_and_what_a_number_means(limits, words) -> None:
    assert limits.words() == words


def test_a_text_is_refused_where_it_is_empty_another_word_or_no_path() -> None:
    empty = Limits(empty="name it").problem("key", " ")
    assert empty is not None
    assert (empty.message, empty.remedy) == ("must not be empty", "name it")
    assert Limits().problem("key", "") is None
    word = Limits(choices=("auto", "start")).problem("key", "strat")
    assert word is not None
    assert (word.message, word.remedy) == ("must be one of auto, start", "did you mean start?")
    assert Limits(choices=("auto", "start")).problem("key", "auto") is None
    place = Limits(path=True).problem("key", "a\0b")
    assert place is not None
    assert "no path can hold" in place.message
    assert Limits().problem("key", "a\0b") is None
