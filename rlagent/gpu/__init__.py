"""What Trinity needs of us on GPUs: for its verl trainer whole steps, one loss, and speed without
flash-attn; for its vLLM engine a quick start. Sampling is vLLM's and needs nothing from here.
"""
