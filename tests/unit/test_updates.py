"""Each pass over a step's experiences is split into mini-batches, each one update."""

import pytest

from rlagent.backends.updates import Updates


@pytest.mark.parametrize(("count", "most"), [(10, 4), (575, 256), (3, 3), (1, 5), (7, 0)])
def test_mini_batches_cover_all_experiences_in_parts_of_nearly_equal_size(count, most) -> None:
    parts = Updates(most=most, seed=1).split(count, step=1)
    assert sorted(index for part in parts for index in part) == list(range(count))
    sizes = [len(part) for part in parts]
    assert max(sizes) - min(sizes) <= 1
    assert most == 0 or max(sizes) <= most


def test_each_pass_is_shuffled_anew_and_every_step_in_its_own_way() -> None:
    updates = Updates(parts=2, epochs=2)
    first, second, third, fourth = updates.split(20, step=1)
    assert sorted(first + second) == sorted(third + fourth) == list(range(20))
    assert first not in (third, fourth)
    assert updates.split(20, step=1)[0] == first
    assert updates.split(20, step=2)[0] != first


def test_a_step_of_fewer_experiences_than_mini_batches_has_no_empty_update() -> None:
    assert Updates(parts=4).split(2, step=1) in ([[0], [1]], [[1], [0]])


def test_one_update_is_the_default_and_takes_the_experiences_in_their_order() -> None:
    assert Updates.of(None).only_one
    assert Updates.of({}).split(3, step=5) == [[0, 1, 2]]
    asked = Updates.of({"updates_per_step": 2, "epochs_per_step": 3})
    assert not asked.only_one
    assert len(asked.split(8, step=1)) == 6
    assert len(Updates.of({"epochs_per_step": 3}).split(8, step=1)) == 3
