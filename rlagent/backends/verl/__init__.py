"""verl as a trainer: whole steps, one loss over all micro-batches, speed without flash-attn."""
