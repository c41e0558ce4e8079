"""The rollout engine and trainer for machines without a GPU."""
