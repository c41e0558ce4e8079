"""Composing and checking a configuration: schema, presets, strict checks, what `auto` becomes.

Nothing in this package imports torch, ray, trinity, agentscope, vllm or wandb.
"""
