"""What becomes of a run's checkpoints: folders for others, an endpoint, a chat, a try."""
