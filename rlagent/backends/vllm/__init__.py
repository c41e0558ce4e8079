"""vLLM as a rollout engine: a quick start of Trinity's model. Sampling is vLLM's alone."""
