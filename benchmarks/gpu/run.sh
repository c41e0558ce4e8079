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
points=$1 out=$2 minutes=${3:-25}
source benchmarks/gpu/env.sh "${4:-}" "$out"
exec python3 "benchmarks/gpu/${BENCHMARK:-points}.py" --points "$points" --out "$out" --minutes "$minutes"
