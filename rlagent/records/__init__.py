"""What is on disk of runs and sweeps, read back and mirrored to W&B, TensorBoard and the screen."""
