"""The rollout engine for machines without a GPU: continuous batching behind OpenAI's interface."""

from rlagent.backends.embedded import waiting

waiting.without_spinning()
