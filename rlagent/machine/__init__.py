"""What is here: GPUs, cores, memory, a Ray that runs already. Imports no torch, ray or vllm."""
