#!/usr/bin/env bash
# Measure the memory of both roles on a GPU host; see memory.py.
#
#   benchmarks/gpu/memory.sh OUT [MINUTES] [STACK] [FURTHER ARGUMENTS OF memory.py]
#
# STACK as for run.sh; an empty one says that the installed packages are used.
set -euo pipefail
cd "$(dirname "$0")/../.."
out=$1 minutes=${2:-5.5}
source benchmarks/gpu/env.sh "${3:-}" "$out"
exec python3 benchmarks/gpu/memory.py --out "$out" --minutes "$minutes" "${@:4}"
