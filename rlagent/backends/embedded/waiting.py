"""How OpenMP's threads wait for each other in the processes that sample and train."""

import os


def without_spinning() -> None:
    """Have them sleep; to be called before torch is imported, which loads OpenMP.

    By default they wait spinning; where another process has one of the cores, as agents do, that
    makes a model pass up to ten times slower.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
