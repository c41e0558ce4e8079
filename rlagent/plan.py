"""`rlagent plan`: what would run, without starting anything.

Prints what every `auto` became, the batch arithmetic, the layout in words and the Trinity YAML;
with --yaml only the configuration, as LearnConfig.load_config reads it back; with --origin each
value and where it comes from. Of a sweep, what its trials share and a row for each.
"""

import os
import sys
from collections.abc import Sequence
from typing import Any

import yaml

from rlagent.backends.registry import engine_named
from rlagent.base.errors import ConfigError, Problem, raise_if_any
from rlagent.base.screen import lasting_streams
from rlagent.config.cluster import with_cluster
from rlagent.config.command import Command, parse_command, print_error
from rlagent.config.compose import to_yaml
from rlagent.config.contradictions import sweep_without_m
from rlagent.config.origin_table import origin_table
from rlagent.config.prepare import prepare
from rlagent.config.resolve import Resolved
from rlagent.config.step_workload import workload_of
from rlagent.config.weigh import weighed
from rlagent.machine.resources import detect
from rlagent.planner.gpus import find_gpu
from rlagent.planner.table import refused, table

HELP = """rlagent plan: what would run, without starting anything

  rlagent plan +experiment=gsm8k_react [key=value ...]
      what every auto became and how to choose otherwise, the batch arithmetic, the layout in
      words, and the configuration that Trinity gets

  rlagent plan +experiment=gsm8k_react hardware=8gpu
      plans for GPUs that this machine lacks (h100-80g; hardware.gpu=h200-141g for others): the
      best layouts with memory per role, seconds per step by part, and why others are refused;
      --all shows every layout

  rlagent plan +experiment=gsm8k_react hardware.gpu=h100-80g hardware.gpus=8 hardware.nodes=2
      the same for two machines

  rlagent plan +experiment=gsm8k_react --yaml > my.yaml
      the configuration as LearnConfig.load_config("my.yaml") reads it back

  rlagent plan +experiment=gsm8k_react --yaml --resolve
      the same with every auto filled for this machine

  rlagent plan +experiment=gsm8k_react --origin
      each value with where it comes from: the file of a preset, the command line, why auto took
      it, or the default

  rlagent plan -m +experiment=gsm8k_react hardware=8gpu +sweep=layouts
      the trials of a sweep: what they share, and a row for each with layout, memory and seconds;
      --all shows each whole, without Trinity's configuration

  rlagent plan -m +experiment=gsm8k_react +sweep=optuna_lr
      the space of a search and its corners

Overrides and --config-dir are as for rlagent train. Exit status: 0, or 2 when the configuration
is wrong."""


@lasting_streams()
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    own = {
        "--yaml": "Print the configuration for LearnConfig.load_config",
        "--origin": "Print each value with where it comes from",
        "--all": "Show every layout, and of a sweep every trial whole",
    }
    command = parse_command(sys.argv[1:] if argv is None else argv, own)
    if command.flags.help:
        print(HELP)
        return 0
    try:
        if command.flags.multirun and command.flags.origin:
            remedy = "leave out -m, and give one value for each key"
            raise ConfigError([Problem("--origin", None, "is for one run", remedy)])
        if command.flags.multirun:
            return _plan_trials(command)
        draft = command.draft()
        machine = with_cluster(detect(), draft.config.hardware)
        if draft.config.model.warm_start:
            from rlagent.launch.warm_start import from_warm_start

            draft, _ = from_warm_start(command, draft, machine)
        resolved = prepare(draft, machine, command.config_dirs, plan_only=True)
        if command.flags.origin:
            sys.stdout.write(origin_table(resolved.config))
            return 0
        if command.flags.yaml:
            config = resolved.config if command.flags.resolve else resolved.composed
            sys.stdout.write(to_yaml(config))
            return 0
        for line in sweep_without_m(resolved.config.sweep):
            print(line, file=sys.stderr)
        shown = layouts(resolved, every=command.flags.all)
        sys.stdout.write(describe(resolved) + shown + trinity_yaml(resolved))
    except ConfigError as error:
        return print_error(error)
    return 0


def _plan_trials(command: Command) -> int:
    from rlagent.report.sweep_names import shown
    from rlagent.sweep import mistakes, plan_text
    from rlagent.sweep.common import impossible_here
    from rlagent.sweep.grid import plan
    from rlagent.sweep.search.start import is_search, plan_search

    base = command.draft(multirun=True)
    machine = with_cluster(detect(), base.config.hardware)
    mistakes.raise_if_any(command, machine, base, plan_only=True)
    if is_search(base):
        sys.stdout.write(plan_search(command, machine, base))
        return 0
    planned = plan(command, machine, base, plan_only=True)
    trials, every = planned.trials, bool(command.flags.all)
    visible, most = os.environ.get("CUDA_VISIBLE_DEVICES"), base.config.sweep.max_parallel
    raise_if_any(impossible_here(machine, trials, most, visible))
    parts = plan_text.shared([_parts(trial.resolved) for trial in trials])
    title = f"{len(trials)} trial{'' if len(trials) == 1 else 's'}"
    parts.append((title, plan_text.trial_table(trials, every)))
    if reasons := plan_text.refused_layouts(trials, every):
        parts.append(("layouts refused", reasons))
    text = "".join(f"# {note}\n" for note in planned.notes) + _sections(parts)
    if every:
        for number, trial in enumerate(trials, start=1):
            text += f"\n# trial {number} of {len(trials)}: {' '.join(shown(trial.overrides))}\n"
            text += describe(trial.resolved)
    else:
        text += "".join(f"# {line}\n" for line in plan_text.next_lines(trials, command))
    sys.stdout.write(text)
    return 0


def describe(resolved: Resolved) -> str:
    """Return the plan in words: choices, layout, batch arithmetic, run folder."""
    return _sections(_parts(resolved))


def _parts(resolved: Resolved) -> list[tuple[str, list[str]]]:
    config = resolved.config
    unit = "GPU" if engine_named(config.hardware.engine).on_gpus else "process"
    return [
        ("machine", [resolved.machine.words()]),
        ("chosen", resolved.choices or ["nothing was left to choose"]),
        ("layout", [f"{resolved.layout}: {resolved.layout.words(unit)}"]),
        ("batch", resolved.batch.lines()),
        ("before it starts", resolved.warnings or ["nothing to download, under ten minutes"]),
        ("run folder", [run_folder(resolved)]),
    ]


def _sections(sections: list[tuple[str, list[str]]]) -> str:
    text = ""
    for title, lines in sections:
        text += f"# {title}\n" + "".join(f"#   {line}\n" for line in lines)
    return text


def layouts(resolved: Resolved, every: bool = False) -> str:
    """Return the layouts of the GPUs with their estimates, and why others are refused.

    Empty without GPUs, and for a native YAML, which is taken as written.

    Args:
        resolved: What is planned.
        every: Whether all are shown, not the best alone.
    """
    on_gpus = engine_named(resolved.config.hardware.engine).on_gpus
    if not on_gpus or getattr(resolved.composed, "native", None):
        return ""
    found = weighed(resolved)
    gpu = find_gpu(resolved.config.hardware.gpu, resolved.machine).kind
    work = workload_of(resolved.config)
    sections = [("layouts", table(found, resolved.layout, gpu.memory_gib, work, every))]
    reasons = refused(found, every)
    if reasons:
        sections.append(("layouts refused", reasons))
    return _sections(sections)


def trinity_yaml(resolved: Resolved) -> str:
    """Return the configuration that Trinity gets, as YAML."""
    from rlagent.trinity.translate import to_trinity

    translated: dict[str, Any] = to_trinity(resolved, run_folder(resolved))
    return "# configuration of Trinity\n" + yaml.dump(translated, Dumper=_Dumper, sort_keys=False)


class _Dumper(yaml.SafeDumper):
    """Writes repeated parts out, where PyYAML would print references to them."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def run_folder(resolved: Resolved) -> str:
    """Return where the run will be kept: {run.dir}/{run.name}-{trial id}."""
    run = resolved.config.run
    return f"{run.dir}/{run.name}-{resolved.trial_id}"


if __name__ == "__main__":
    sys.exit(main())
