"""Sweep folders as a real sweep leaves them, made up, for tests of reports and lists."""

import itertools
import json
import math
import random
import time
from pathlib import Path

from rlagent.records.folder import RunFolder
from rlagent.records.summary import LOGICAL
from rlagent.records.sweep_store import Sweep, SweepFolder, TrialRow
from tests.fabricated import HOSTILE

LRS = ("1e-5", "3e-5", "1e-4", "3e-4", "1e-3")
LAYOUTS = ("4x1+4", "2x2+4", "6x1+2", "2x1+6s2")


def fabricate_sweep(
    root: Path,
    trials: int = 12,
    steps: int = 30,
    layouts: bool = False,
    hostile: bool = False,
    failed: int = 2,
    state: str = "finished",
    name: str = "sweep-gsm8k_react-0a1b2c3d",
) -> SweepFolder:
    """A sweep of learning rate, group size and seed (or of layouts), the best rate being 3e-4.

    Of the failed trials the first half wrote nothing at all.

    Args:
        root: Where run folders are.
        trials: How many.
        steps: Steps of each.
        layouts: Sweep layouts on eight logical GPUs instead.
        hostile: Put markup into overrides and causes.
        failed: How many failed, the last ones.
        state: Of the sweep.
        name: The sweep folder's name.
    """
    chance = random.Random(7)
    folder = SweepFolder(root / name)
    clock = time.time() - 3600
    rows = []
    for number, params in enumerate(itertools.islice(_params(layouts), trials)):
        if hostile:
            params["workflow.note"] = HOSTILE
        trial_id = f"{number:08x}"
        failing = number >= trials - failed
        row = TrialRow(
            number=number,
            overrides=[f"{key}={value}" for key, value in params.items()],
            params={key: _typed(value) for key, value in params.items()},
            trial_id=trial_id,
            folder=f"../gsm8k_react-{trial_id}",
            state="failed" if failing else "finished",
            exit_code=1 if failing else 0,
            layout=params.get("hardware.layout", "1x1+1"),
            estimated_step_s=2.5 + 0.2 * (number % 4) if layouts else None,
            started=clock,
            ended=clock + 300,
            tries=1,
        )
        if failing:
            row.failure = ("out of memory", "workflow error")[number % 2]
            row.cause = f"{row.failure} at step {number}" + (HOSTILE if hostile else "")
        if not failing or number >= trials - failed // 2:
            run = RunFolder((folder.path / row.folder).resolve())
            until = steps // 2 if failing else steps
            row.objective = _write_run(run, params, until, steps, chance, failing, layouts)
        if failing:
            row.objective = None
        rows.append(row)
    swept = list(rows[0].params) if rows else []
    sweep = Sweep(
        name=folder.name,
        sweep_id="0a1b2c3d",
        argv=["-m", "+experiment=gsm8k_react", *_swept_words(layouts), "sweep.max_parallel=2"],
        state=state,
        parameters=swept,
        machine="2 cores, 16 GiB, no GPU",
        started=clock,
        trials=rows,
    )
    folder.write(sweep)
    return folder


def _params(layouts: bool):
    if layouts:
        for layout, seed in itertools.product(LAYOUTS, range(1, 1000)):
            if seed <= 2:
                yield {"hardware.layout": layout, "seed": str(seed)}
        return
    sizes = ("4", "8", "16", "32")
    entropies = [f"{0.001 * n:.3f}" for n in range(1, 14)]
    for entropy, size, lr, seed in itertools.product(entropies, sizes, LRS, ("1", "2")):
        yield {
            "algorithm.lr": lr,
            "algorithm.repeat_times": size,
            "algorithm.entropy_coef": entropy,
            "seed": seed,
        }


def _swept_words(layouts: bool) -> list[str]:
    if layouts:
        return [f"hardware.layout={','.join(LAYOUTS)}", "seed=1,2", "hardware.logical_gpus=8"]
    return [f"algorithm.lr={','.join(LRS)}", "algorithm.repeat_times=4,8,16,32", "seed=1,2"]


def _typed(value: str):
    try:
        return int(value)
    except ValueError:
        pass
    try:
        return float(value)
    except ValueError:
        return value


def _write_run(run, params, steps, asked, chance, failing, layouts) -> float:
    lr = float(params.get("algorithm.lr", "3e-4"))
    gain = 0.5 * math.exp(-((math.log10(lr) + 3.5) ** 2)) + 0.003 * chance.gauss(0, 10)
    pace = 2.0 + 0.4 * LAYOUTS.index(params["hardware.layout"]) if layouts else 2.5
    run.new_attempt()
    lines, value = [], 0.0

    def add(role, step, metrics):
        row = {"role": role, "step": step, "attempt": 1, "time": 0.0, "metrics": metrics}
        lines.append(json.dumps(row) + "\n")

    for step in range(steps + 1):
        skill = 0.36 + gain * (1 - math.exp(-step / 10))
        if step % 5 == 0:
            value = min(1.0, max(0.0, skill + chance.gauss(0, 0.01)))
            add("explorer", step, {"eval/success": value})
        if step:
            reward = min(1.0, max(0.0, chance.gauss(skill, 0.05)))
            add("explorer", step, {"rollout/reward/mean": reward})
            second = chance.gauss(pace, 0.05)
            add("driver", step, {"time/step": second, "tokens/per_second": 5000 / second})
    run.metrics_jsonl.write_text("".join(lines))
    logical = 8 if layouts else 0
    run.config_yaml.write_text(f"hardware:\n  gpus: 0\n  logical_gpus: {logical}\n")
    run.write_status(
        state="failed" if failing else "finished", steps_trained=steps, steps_asked=asked,
        success_after=value, pid=None, started=time.time() - 300,
        layout=params.get("hardware.layout", "1x1+1"),
        **({"stamp": LOGICAL} if layouts else {}),
    )  # fmt: skip
    run.report_html.write_text("<!doctype html><title>trial</title>")
    return value
