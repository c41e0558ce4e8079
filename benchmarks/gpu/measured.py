"""What a run folder and vLLM's log say about a finished point, as plain numbers."""

import re
import statistics
from pathlib import Path
from typing import Any

import numpy as np

from rlagent.base.startup import PREFIX
from rlagent.records.folder import RunFolder

WARM_UP = 3
"""Steps left out of medians, when there are more."""

WANTED = (
    "time/step",
    "time/explore_step",
    "time/train_step",
    "time/sync_weight",
    "time/read_experience",
    "time/update_actor",
    "time/old_log_prob",
    "time/ref",
    "actor/ppo_kl",
    "off_policy/kl/behaviour_proximal",
    "training/rollout_probs_diff_mean",
    "training/rollout_probs_diff_max",
    "sample/lag",
    "sample/experiences",
    "tokens/trained",
    "tokens/per_second",
    "rollout/reward/mean",
    "rollout/valid/mean",
    "rollout/failed_share",
    "perf/mfu/actor",
)

_VLLM = {
    "weights_gib": r"Model loading took ([\d.]+) GiB",
    "kv_gib": r"Available KV cache memory: ([\d.]+) GiB",
    "kv_tokens": r"GPU KV cache size: ([\d,]+) tokens",
    "graphs_gib": r"Graph capturing finished in [\d.]+ secs, took ([\d.]+) GiB",
    "graphs_s": r"Graph capturing finished in ([\d.]+) secs",
    "compile_s": r"torch.compile (?:takes|took) ([\d.]+) s",
    "init_s": r"init engine .*? took ([\d.]+) s",
}


def steady_seconds(done: list[tuple[float, float]], dropped: float = WARM_UP) -> float | None:
    """Seconds per step in the long run, waiting and backlog included.

    Args:
        done: Ascending pairs: a time in seconds, and how many steps' worth was trained by then.
        dropped: Steps left out at the beginning.

    Returns:
        From the moment when `dropped` steps were trained to the last pair; None without any.
    """
    if not done or done[-1][1] <= dropped:
        return None
    times, steps = zip(*done, strict=True)
    began = float(np.interp(dropped, steps, times))
    return (times[-1] - began) / (steps[-1] - dropped)


def of_run(folder: Path) -> dict[str, Any]:
    """Medians over the steps after the warm-up, peaks, and how the run began and ended."""
    run = RunFolder(folder)
    rows = run.read_metrics()
    by_step: dict[int, dict[str, float]] = {}
    for row in rows:
        by_step.setdefault(row["step"], {}).update(row["metrics"])
    steps = [values for step, values in sorted(by_step.items()) if "time/train_step" in values]
    kept = steps[WARM_UP:] if len(steps) > WARM_UP else steps
    medians = {}
    for name in WANTED:
        values = [step[name] for step in kept if name in step]
        if values:
            medians[name] = round(statistics.median(values), 5)
    every = list(by_step.values())
    ends = [row["time"] for row in rows if "time/train_step" in row["metrics"]]
    steady = steady_seconds([(end, float(number)) for number, end in enumerate(ends, 1)])
    peaks = [
        value
        for values in every
        for name, value in values.items()
        if name.endswith("perf/max_memory_reserved_gb")
    ]
    starts = [values["time/startup"] for values in every if "time/startup" in values]
    firsts = [
        values["time/start_to_first_step"]
        for values in every
        if "time/start_to_first_step" in values
    ]
    status = run.read_status()
    return {
        "steps": len(steps),
        "seconds_per_step": steady and round(steady, 3),
        "medians": medians,
        "trainer_reserved_gib": round(max(peaks), 2) if peaks else None,
        "startup_s": round(starts[0], 1) if starts else None,
        "to_first_step_s": round(firsts[0], 1) if firsts else None,
        "startup": {
            name.removeprefix(PREFIX): round(seconds, 1)
            for values in every
            for name, seconds in sorted(values.items(), key=lambda item: item[1])
            if name.startswith(PREFIX)
        },
        "success_before": status.get("success_before"),
        "success_after": status.get("success_after"),
        "valid_before": status.get("valid_before"),
        "valid_after": status.get("valid_after"),
        "versions": status.get("versions"),
    }


def of_vllm_logs(since: float, logs: Path | None = None) -> dict[str, float]:
    """Memory and seconds as vLLM logged them, from Ray's worker logs written after `since`.

    Args:
        since: Seconds since the epoch.
        logs: Where they are; None: those of the Ray that this process is connected to.
    """
    if logs is None:
        import ray

        logs = Path(ray._private.worker.global_worker.node.get_logs_dir_path())
    found: dict[str, float] = {}
    for file in logs.glob("worker-*"):
        if file.stat().st_mtime < since:
            continue
        found.update(of_vllm_text(file.read_text(encoding="utf-8", errors="replace")))
    return found


def of_vllm_text(text: str) -> dict[str, float]:
    """Memory and seconds as vLLM logged them in a text; the last of each."""
    found = {}
    for name, pattern in _VLLM.items():
        hits = re.findall(pattern, text)
        if hits:
            found[name] = float(hits[-1].replace(",", ""))
    return found
