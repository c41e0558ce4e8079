"""`rlagent doctor`: can the chosen experiment start here, and if not, what to do.

Says what it finds in one table and exits 0 only when nothing failed. The checks are in
rlagent.health; each risky one runs in a process of its own.
"""

import shlex
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rlagent.base.screen import lasting_streams
from rlagent.base.words import python_command
from rlagent.health.row import FAIL, OK, WARN, Row, render

if TYPE_CHECKING:
    from rlagent.config.resolve import Resolved

HELP = """rlagent doctor: can an experiment start here, and if not, why

  rlagent doctor                                   the default, +experiment=gsm8k_react
  rlagent doctor +experiment=gsm8k_react model=qwen3_4b hardware=2gpu
  rlagent doctor --signal +experiment=gsm8k_react  also roll out some training tasks with the base
                                                   model: is there anything to learn from?
  rlagent doctor --patches                         what is changed in libraries, and why

Overrides and --config-dir are as for rlagent train. Exit status: 0 it could start; 1 something
is missing, each with its remedy; 2 the configuration is wrong."""

DEFAULT = "+experiment=gsm8k_react"

SIGNAL = "--signal"

UNREADABLE = "configuration"
"""The row that says that rlagent itself lacks a part: no mistake in the command."""


@lasting_streams()
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if any(word in ("-h", "--help") for word in arguments):
        print(HELP)
        return 0
    if "--patches" in arguments:
        from rlagent.health.patches import listing

        text, fit = listing()
        print(text)
        return 0 if fit else 1
    signal = SIGNAL in arguments
    arguments = [word for word in arguments if word != SIGNAL]
    if not any(word.lstrip("+").startswith("experiment=") for word in arguments):
        arguments = [DEFAULT, *arguments]
    print(f"rlagent doctor {' '.join(arguments)}\n", flush=True)
    config_rows, resolved = configuration(arguments)
    rows = _show("Configuration", config_rows)
    print("(now every part is imported and Ray is started, which takes a while)\n", flush=True)
    from rlagent.backends.registry import automatic_engine, engine_named
    from rlagent.health import parts
    from rlagent.health.patches import patch_rows

    engine = automatic_engine(on_gpus=False)
    if resolved is not None:
        engine = engine_named(resolved.config.hardware.engine)
    rows += _show("Versions and imports", [*parts.part_rows(engine), *patch_rows(engine)])
    rows += _show("Machine", machine_rows(resolved))
    if resolved is not None:
        rows += _show("Reachable", reach_rows(resolved))
    if all(row.state != FAIL for row in rows):
        failed = signal and resolved is not None and sampled_rows(resolved)
        print(verdict(rows, arguments))
        return 1 if failed else 0
    print(verdict(rows, arguments))
    wrong = any(row.state == FAIL and row.name != UNREADABLE for row in config_rows)
    return 2 if wrong else 1


def configuration(arguments: Sequence[str]) -> tuple[list[Row], "Resolved | None"]:
    """Compose, check and resolve what train would run here."""
    try:
        from rlagent.backends.registry import engine_named
        from rlagent.base.errors import ConfigError
        from rlagent.config.cluster import with_cluster
        from rlagent.config.command import parse_command
        from rlagent.config.prepare import prepare
        from rlagent.machine.resources import detect
    except ImportError as error:
        # The rows below say which part is missing, and what installs it.
        reason = f"cannot be read: {error}"
        return [Row(FAIL, UNREADABLE, reason, remedy="see the versions below")], None
    try:
        command = parse_command(arguments)
        draft = command.draft()
        machine = with_cluster(detect(), draft.config.hardware)
        pending = False
        if draft.config.model.warm_start:
            from rlagent.launch.warm_start import from_warm_start

            draft, _ = from_warm_start(command, draft, machine)
            pending = bool(draft.config.model.warm_start)
        resolved = prepare(draft, machine, command.config_dirs, plan_only=pending)
    except ConfigError as error:
        lines = dict.fromkeys(
            (problem.head or "flag", problem.message, problem.remedy) for problem in error.problems
        )
        return [
            Row(FAIL, key, message, remedy=remedy or "see rlagent train --help")
            for key, message, remedy in lines
        ], None
    config = resolved.config
    layout = f"{resolved.layout}: {resolved.layout.words()}"
    if not engine_named(config.hardware.engine).on_gpus:
        layout = f"{resolved.layout.engines} engine process and a trainer process, on the CPU"
        if not resolved.layout.engines:
            layout = "a trainer process, on the CPU"
    chosen = [
        ("model", config.model.name),
        ("data", config.dataset.name),
        ("engine", config.hardware.engine),
        ("layout", layout),
    ]
    return [Row(OK, name, text) for name, text in chosen], resolved


def machine_rows(resolved: "Resolved | None") -> list[Row]:
    """GPUs, Ray, shared memory and disk."""
    from rlagent.config.schema import HardwareConfig
    from rlagent.health import headroom as machine
    from rlagent.machine.resources import detect
    from rlagent.machine.surroundings import findings

    found = resolved.machine if resolved else detect()
    hardware = resolved.config.hardware if resolved else HardwareConfig()
    rows = [
        Row(OK, "CPU", f"{found.cores} cores, {found.memory_gib:.0f} GiB of memory"),
        *machine.gpu_rows(found, resolved),
        machine.ray_row(hardware),
        machine.shared_memory_row(),
        *(
            Row(FAIL if each.remedy else OK, each.name, each.found, remedy=each.remedy)
            for each in findings()
        ),
    ]
    folder = resolved.config.run.dir if resolved else "outputs"
    need = machine.checkpoint_bytes(resolved) if resolved else 0.0
    return [*rows, machine.disk_row(folder, need)]


def reach_rows(resolved: "Resolved") -> list[Row]:
    """Model, data, what the workflow requires, and W&B."""
    from rlagent.health import reachable as reach

    return [
        *reach.reach_rows(resolved.config),
        *reach.required_rows(resolved.config.workflow.requires),
        reach.wandb_row(resolved.config.monitor),
    ]


def sampled_rows(resolved: "Resolved") -> bool:
    """Roll out a sample and say what it holds; returns whether that failed."""
    from rlagent.launch.sampling import sample

    print("Signal (the base model rolls out some training tasks; engines start first)", flush=True)
    cause = sample(resolved)
    if cause:
        print(f"  no sample: {cause}")
    print()
    return bool(cause)


def verdict(rows: Sequence[Row], arguments: Sequence[str]) -> str:
    """The last line: whether it could start."""
    failed = sum(row.state == FAIL for row in rows)
    warned = sum(row.state == WARN for row in rows)
    notes = f" ({warned} warning{'s' if warned > 1 else ''})" if warned else ""
    if not failed:
        command = f"{python_command()} -m rlagent.train {shlex.join(arguments)}"
        return f"It could start here{notes}:\n  {command}"
    verb = "row fails" if failed == 1 else "rows fail"
    return f"It could not start here: {failed} {verb}{notes}; each names its remedy."


def _show(title: str, rows: list[Row]) -> list[Row]:
    print(render(title, rows) + "\n", flush=True)
    return rows


if __name__ == "__main__":
    sys.exit(main())
