"""The rollout engine and trainer for machines without a GPU, and the tiny model they come with."""

import os

# Read when torch loads OpenMP. Its threads wait for each other spinning by default; where another
# process has one of the cores, as agents do, that makes a model pass up to ten times slower.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
