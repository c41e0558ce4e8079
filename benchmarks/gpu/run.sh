#!/usr/bin/env bash
# Measure points on a GPU host.
#
#   benchmarks/gpu/run.sh POINTS OUT [MINUTES] [STACK]
#
# BENCHMARK=upstream: plain Trinity instead, BENCHMARK=startup: how runs start; their POINTS are the
# names that upstream.py and startup.py know.
#
# STACK: a folder with unpacked packages (STACK/site) that go on top of the host's own, for hosts
# that reach no network. Without it the installed packages are used.
set -euo pipefail
cd "$(dirname "$0")/../.."
points=$1 out=$2 minutes=${3:-25} stack=${4:-}
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
exec python3 "benchmarks/gpu/${BENCHMARK:-points}.py" --points "$points" --out "$out" --minutes "$minutes"
