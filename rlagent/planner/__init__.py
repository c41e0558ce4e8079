"""GPU layouts: how GPUs are shared between rollout engines and the trainer.

Nothing in this package imports torch, ray, trinity, agentscope, vllm or wandb.
"""
