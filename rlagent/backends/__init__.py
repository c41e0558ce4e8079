"""The two sides of the seam: rollout engines and trainers, one folder for each."""
