"""The trainer for machines without a GPU: one training step of torch on the CPU."""

from rlagent.backends.embedded import waiting

waiting.without_spinning()
