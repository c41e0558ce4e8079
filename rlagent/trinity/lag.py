"""Which weight syncs are left when exploring, which runs ahead of training, has ended."""


def syncs_left(version: int, last_step: int, interval: int) -> int:
    """Weight syncs that follow version `version` until the trainer has trained `last_step`.

    Args:
        version: The step whose weights were synced last; -1 before the first sync.
        last_step: The last step explored.
        interval: Steps between syncs.

    >>> syncs_left(9, 10, 1), syncs_left(10, 10, 1), syncs_left(4, 9, 2)
    (1, 0, 2)
    """
    return max(0, last_step // interval - max(version, 0) // interval)
