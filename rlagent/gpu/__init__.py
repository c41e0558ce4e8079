"""What Trinity's verl trainer needs of us on GPUs: whole steps, one loss, and speed without
flash-attn. Sampling on GPUs is vLLM's and needs nothing from here.
"""
