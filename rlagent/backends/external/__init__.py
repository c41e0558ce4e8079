"""Any OpenAI-compatible endpoint as a rollout engine that measures."""
