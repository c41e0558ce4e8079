"""Every number of the estimates that does not follow from a shape, in one place to calibrate.

Those marked 'to be calibrated' were set from the sources named, before any measurement of ours;
tests/unit/data/measured_memory.json holds the measurements that they are held against.
"""

# ---- memory of the trainer ----

# What lies beside torch's allocator, GiB: CUDA context, cuBLAS, NCCL. Measured on H100s: 1.3 with
# one trainer GPU, 1.6 with two, 1.9 where weights are synced by NCCL too.
TRAINER_CONTEXT_GIB = 1.9

# FSDP2 sums gradients on a stream of its own, and torch keeps freed memory for the stream that it
# was taken for: what the embeddings' sum took never serves the logits. In units of the embeddings'
# gradients in fp32; measured at three sizes: 1.6-1.9 with one GPU, 3.2 with two.
SUMMED_COPIES = 1.8
SUMMED_COPIES_SHARDED = 3.2

# Bytes per parameter that stay on the trainer, shared out among its GPUs. Trinity fixes verl's
# model_dtype to fp32 (trinity/trainer/verl/config.py, _build_fsdp_engine_config), FSDP2 keeps the
# shards in it: 4 weights, 4 gradients, 8 for both Adam moments (ZeRO, arXiv:1910.02054, 3.1).
WEIGHT_BYTES = 4
GRADIENT_BYTES = 4
MOMENT_BYTES = 8

# torch's foreach AdamW takes the square root of all second moments at once: one fp32 copy
# (torch/optim/adam.py, _multi_tensor_adam). Activations are gone by then.
ADAM_COPY_BYTES = 4

# With LoRA the base stays in bf16, and the adapter has bf16 weights, gradients and moments
# (trinity/trainer/verl/workers.py, _maybe_patch_lora_fsdp2). Of the adapter as much is planned as
# of fp32 and the optimizer's copy: it is small, and none of it has been measured.
BASE_BYTES = 2
ADAPTER_BYTES = 20

# What is pinned in host memory takes the next power of two of each tensor (torch's
# CachingHostAllocator), and what a node's other processes take beside it, GiB. Of the 4B shape,
# offloaded, 108 GiB were measured in use, where this comes to 104.
HOST_PINNED = 1.3
HOST_BESIDE_GIB = 16

# Copies of a micro-batch's bf16 logits that live at once on the way back (counted by
# tests/cpu/test_logits_copies.py): backends/verl/logits.py writes the gradient over them, and the
# division by the temperature makes one more. With a gradient of the entropy the logits are kept.
LOGITS_COPIES = 2
LOGITS_COPIES_ENTROPY = 3
# fp32 pieces at once in the entropy's forward pass: the values, their logarithms, the
# probabilities and the product (rlagent/backends/verl/logits.py, PIECE_BYTES of 256 MiB each).
LOGITS_PIECES_GIB = 4 * 0.25

# Weights that are sent to engines are packed into buffers of this size, two in turns
# (vllm/distributed/weight_transfer/packed_tensor.py). Each sync uses two other streams, and torch
# keeps freed memory per stream: rlagent.backends.verl.worker gives it back.
SYNC_BUFFER_GIB = 1.0

# One block whose activations are recomputed for its gradients (gradient checkpointing), bytes
# per token and unit of width, in bf16 with fp32 inside the norms: residual stream and two norms
# (in, fp32 copy, normalised fp32, out: 4 x 6), queries, keys and values before and after rotation
# with their gradients, the gated feed-forward layer's four parts and two gradients. Not measured:
# with a large vocabulary the logits are the peak (compare arXiv:2205.05198, 4.1).
BLOCK_HIDDEN_BYTES = 28
BLOCK_HEAD_BYTES = 12
BLOCK_FEED_FORWARD_BYTES = 12

# ---- memory of an engine ----

# vLLM outside of torch: CUDA context, NCCL, FlashInfer workspaces, GiB. To be calibrated.
ENGINE_CONTEXT_GIB = 1.2
# Tokens of vLLM's profile run (max_num_batched_tokens of an H100's OpenAI server).
ENGINE_BATCH_TOKENS = 8192
# Largest batch with a CUDA graph by default.
MOST_GRAPH_SEQUENCES = 512
# CUDA graphs of an engine, GiB per block at the default capture sizes; vLLM takes them off its KV
# cache (VLLM_MEMORY_PROFILER_ESTIMATE_CUDAGRAPHS, since 0.21). Measured: 0.35 GiB for 28 blocks.
GRAPH_GIB_PER_BLOCK = 0.0125
# What an engine takes beside its share and the weights that arrive where they are synced by NCCL,
# GiB. Measured with them: 4.7 of 0.6B, 5.0 and 5.4 of SmolLM2, 7.6 and 7.7 of 1.7B; 0.9-1.4 without
# a sync.
ENGINE_BESIDE_GIB = 4.5
# The same where adapters come as files: what was measured without a sync. Of LoRA not measured.
ENGINE_BESIDE_ADAPTERS_GIB = 1.4
# What an engine keeps for the KV cache of several sequences where it shares a GPU with the trainer
# of an adapter, as a share of the GPU: less than what it needs is no choice.
ADAPTERS_KV_SHARE = 0.05
# Most of a GPU that an engine takes as its share, as vLLM does by itself, and what stays free
# beside everything else, GiB: the same run differs by about half of that.
MOST_SHARE = 0.9
COLOCATED_SHARE = 0.25
SPARE_GIB = 1.0
# vLLM pads the vocabulary to a multiple of this (DEFAULT_VOCAB_PADDING_SIZE).
VOCAB_PADDING = 64

# ---- what may be planned with ----

# Left free on every GPU, share: the driver's part, and what an estimate may be off by. verl makes
# micro-batches of equal work, not of equal tokens: with long sequences one can hold 1.3 times as
# many tokens as was asked for.
HEADROOM = 0.12

# ---- seconds of a rollout ----

# Share of a GPU's memory bandwidth that decoding reaches. To be calibrated; 0.6-0.8 is usual.
DECODE_BANDWIDTH = 0.65
# Share of its dense FLOP/s that prefill reaches in large batches. To be calibrated.
PREFILL_FLOPS = 0.5
# vLLM's own time of one decoding step, seconds: scheduling, sampling, replies; with and without
# CUDA graphs. Measured with 64 sequences at once on an H100.
DECODE_SECONDS = 0.009
DECODE_SECONDS_EAGER = 0.035
# Telling the other processes of an engine of several GPUs what comes next, per decoding step.
TENSOR_PARALLEL_SECONDS = 0.002
# Latency of one sum over the GPUs of an engine (two per block), seconds.
ALL_REDUCE_SECONDS = 20e-6
# The longest rollouts of a step against a usual one: the engines wait for them half empty.
LONGEST_ROLLOUT = 2.0
# Share of a prompt that prefix caching finds: system prompt, tools, and what was said before.
CACHED_PROMPT = 0.6
# Agent code, HTTP and queues per rollout, seconds, beside the decoding that goes on meanwhile. What
# exploring took longer than the decoding estimated: 1.0 s for 256 rollouts of SmolLM2, 1.3 of 1.7B.
AGENT_SECONDS = 0.005

# ---- seconds of the trainer ----

# Share of the dense FLOP/s that training reaches: most of it, and the width at which it is half of
# that, since narrow matrices do not fill a GPU. These two and BLOCK_SECONDS are fitted to five
# measured updates of three sizes on one and two H100s, all within 6 %; 8B is extrapolated.
MOST_MFU = 0.65
HALF_MFU_WIDTH = 1750
# Forward passes that one training pass costs: forward, recomputed forward, backward twice.
TRAINING_PASSES = 4
# With LoRA the base's weights get no gradients: the backward pass counts once. Not measured.
ADAPTER_PASSES = 3
# Kernel launches and Python per block of one pass, seconds.
BLOCK_SECONDS = 0.003
# verl's and Trinity's own time of a training step, seconds: reading, padding, metrics, Ray. What a
# step of the tiny model takes on an H100, whose arithmetic takes next to nothing: 0.55-0.58.
TRAIN_STEP_SECONDS = 0.5
# Bytes per second between host and GPU, as the passes of the reference model reach them.
HOST_LINK = 15e9
# Where the trainer's state waits in host memory, bytes per second: of a GPU's share of that memory
# while Adam steps, and of a micro-batch's fp32 gradients, which FSDP2 copies there and adds up
# with nothing else at the same time. Measured beside H100s with 16 or 32 cores: 1.7B and 4B on one
# GPU, within 7 %; 8B on two was faster than that, 20 s an update where 27 are estimated.
HOST_MEMORY = 32e9
HOST_SUM = 1.8e9
# Share of a link that collectives reach, and bytes per second of one GPU to another node (a
# 400 Gbit/s port per GPU).
LINK_SHARE = 0.7
NODE_LINK = 50e9
# Bytes that a step of Adam reads and writes per parameter: weights, gradients, moments.
ADAM_BYTES = 28

# ---- seconds of a weight sync ----

# Stopping and starting generation, and one call per tensor; measured at 135M.
SYNC_SECONDS = 0.2
# Bytes per second of sync through host memory and Ray's objects (colocated, with a lag).
MEMORY_SYNC = 1.5e9

# Seconds of one through files, of an adapter: written, announced, found by a look each second, and
# loaded. 0.2 s were measured at 135M, 1.7 s at 8B.
FILE_SYNC_SECONDS = 2.0

# ---- choosing ----

# What estimates of seconds are trusted to tell apart, as a share of the fastest. Closer ones are
# ranked by what is known to work: see choose.py. To be narrowed once they are calibrated.
TELLS_APART = 0.20
