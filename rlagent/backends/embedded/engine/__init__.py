"""The rollout engine for machines without a GPU: continuous batching behind OpenAI's interface."""
