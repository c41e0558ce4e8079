# Environment of the measurements on a GPU host; sourced with the folder of unpacked packages
# (STACK/site) that go on top of the host's own, or nothing, and OUT.
stack=$1 out=$2
if [ -n "$stack" ]; then
    stack=$(cd "$stack" && pwd)
    export PYTHONPATH="$PWD:$stack/site" PATH="$stack/site/bin:$PATH"
    # Not among those packages, and vLLM would import it to sample.
    export VLLM_USE_FLASHINFER_SAMPLER=0
    # The first start reads thousands of cold files.
    export RAY_raylet_start_wait_time_s=120
else
    export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}"
fi
export HF_HUB_OFFLINE=1 TRANSFORMERS_OFFLINE=1 RAY_AUTH_MODE=disabled RAY_USAGE_STATS_ENABLED=0
export VLLM_NO_USAGE_STATS=1 TOKENIZERS_PARALLELISM=false PYTHONUNBUFFERED=1
# What vLLM compiles is kept between points and between calls.
export VLLM_CACHE_ROOT=${VLLM_CACHE_ROOT:-$out/cache}
