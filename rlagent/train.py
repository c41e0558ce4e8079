"""`python -m rlagent.train`: compose, check, resolve, then hand over to the launch.

Exit status, of a run and of a sweep: 0 the asked steps were trained and saved; 1 it failed or was
stopped; 2 the configuration is wrong; 130 interrupted. Ray and torch are imported only when a run
really starts.
"""

import sys
from collections.abc import Sequence

from omegaconf import DictConfig, OmegaConf

from rlagent.base.errors import ConfigError, Problem
from rlagent.base.screen import lasting_streams
from rlagent.config.command import Command, parse_command, print_error, print_problems, run_hydra
from rlagent.config.fillable import left_open
from rlagent.config.schema import AUTO

INTERRUPTED = 130

HEADER = """Train an LLM agent with reinforcement learning.

  python -m rlagent.train +experiment=gsm8k_react [key=value ...]     (or: rlagent train ...)

  rlagent plan +experiment=gsm8k_react          what would run: every choice, the batch
                                                arithmetic and Trinity's configuration
  rlagent plan +experiment=gsm8k_react --yaml   what LearnConfig.load_config reads back
  rlagent doctor                                can it start here?

== Presets ==
One per group (model=tiny); those with + are added (+experiment=gsm8k_react).
"""
FOOTER = """
== Flags ==
  --cfg job      print the composed configuration and stop
  --config-dir   a folder of your own presets beside the shipped ones
  -m             one trial per combination of the values given (seed=1,2,3)
  --hydra-help   Hydra's own flags and settings

Exit status, of a run and of a sweep: 0 trained and saved; 1 failed, or stopped on request
(rlagent stop, SIGTERM, a closed terminal); 2 wrong configuration; 130 interrupted (Ctrl+C)."""


@lasting_streams()
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    command = parse_command(sys.argv[1:] if argv is None else argv)
    flags = command.flags
    try:
        if flags.experimental_rerun:
            raise ConfigError(
                [
                    Problem(
                        "--experimental-rerun",
                        None,
                        "is not supported",
                        "rlagent plan --yaml keeps a configuration for LearnConfig.load_config",
                    )
                ]
            )
        if flags.cfg == "job":
            return _show(command)
        if flags.help:
            return _help(command)
        if flags.cfg or _is_hydras(command):
            return _hydras(command)
        if flags.multirun:
            from rlagent.sweep.begin import run

            return run(command)
        return _train(command)
    except ConfigError as error:
        return print_error(error)
    except KeyboardInterrupt:
        # A run turns Ctrl+C into an end of its own; this one came while none was under way.
        print("interrupted", file=sys.stderr)
        return INTERRUPTED


def _is_hydras(command: Command) -> bool:
    flags = command.flags
    return bool(flags.hydra_help or flags.info or flags.shell_completion)


def _hydras(command: Command) -> int:
    """Let Hydra answer, unless the overrides are wrong and matter for the answer."""
    flags = command.flags
    matter = flags.cfg or flags.info
    problems = command.draft(multirun=flags.multirun).problems if matter else command.problems
    return print_problems(problems) if problems else run_hydra(command)


def _help(command: Command) -> int:
    """Print groups, presets and the configuration of the overrides, core keys explained."""
    from rlagent.config.knobs import explained
    from rlagent.config.presets import preset_table

    draft = command.draft()
    if draft.problems or draft.node is None:
        return print_problems(draft.problems)
    rows = preset_table(command.config_dirs)
    width = max(len(name) for name, _ in rows)
    table = "".join(f"  {name:<{width}}  {', '.join(presets)}\n" for name, presets in rows)
    fields = "\n== Configuration ==\nAny field can be set (algorithm.lr=1e-5), Trinity's own too "
    fields += "(trinity.trainer.save_interval=5).\n\n"
    print(HEADER + table + fields + explained(OmegaConf.to_yaml(draft.node)) + FOOTER)
    return 0


def _show(command: Command) -> int:
    """Print the composed configuration, as Hydra's --cfg job does, from one composition."""
    draft = command.draft(multirun=command.flags.multirun)
    if draft.problems or draft.node is None:
        return print_problems(draft.problems)
    # What `auto` may still fill is shown as `auto`, as LearnConfig.load_config reads it.
    whole = OmegaConf.create(OmegaConf.to_container(draft.node, resolve=command.flags.resolve))
    for key in left_open(draft.config):
        OmegaConf.update(whole, key, AUTO)
    node: object = whole
    package = command.flags.package
    if package and package != "_global_":
        node = OmegaConf.select(whole, package)
        if node is None:
            return print_problems([Problem("--package", package, "there is no such group")])
        print(f"# @package {package}")
    if not isinstance(node, DictConfig):
        print(node)
        return 0
    sys.stdout.write(OmegaConf.to_yaml(node))
    return 0


def say(line: str) -> None:
    """Print a line at once."""
    print(line, flush=True)


def _train(command: Command) -> int:
    from rlagent.config.cluster import with_cluster
    from rlagent.config.contradictions import sweep_without_m
    from rlagent.config.prepare import prepare
    from rlagent.machine.resources import detect
    from rlagent.sweep import handover, leash

    led = leash.hold()
    resolved = handover.taken()
    if resolved is None:
        draft = command.draft()
        machine = with_cluster(detect(), draft.config.hardware)
        if draft.config.model.warm_start:
            from rlagent.launch.warm_start import from_warm_start

            # What is wrong with this run is said before another one is trained.
            prepare(draft, machine, command.config_dirs, plan_only=True)
            draft, code = from_warm_start(command, draft, machine, say)
            if code:
                return code
        resolved = prepare(draft, machine, command.config_dirs)
    for line in () if led else sweep_without_m(resolved.config.sweep):
        print(line, file=sys.stderr)
    from rlagent.base.words import same_command
    from rlagent.launch.launch import launch

    return launch(resolved, command=same_command).exit_code


if __name__ == "__main__":
    sys.exit(main())
