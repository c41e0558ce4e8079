"""`python -m rlagent.evaluate [RUN]`: measure checkpoints, or any model, on held-out tasks.

Composes as train.py does; with RUN the overrides are laid over the run's own configuration. The
work is launch/evaluating.py's.
"""

import copy
import dataclasses
import sys
from collections.abc import Sequence

from omegaconf import OmegaConf

from rlagent.base.errors import ConfigError, Problem, raise_if_any
from rlagent.base.screen import lasting_streams
from rlagent.config.command import Command, parse_command, print_error, print_problems
from rlagent.config.compose import Draft, to_yaml
from rlagent.config.over_run import over_run
from rlagent.config.overrides import key_of, quoted
from rlagent.config.resolve import Resolved
from rlagent.config.schema import LearnConfig
from rlagent.records.configuration import read_config
from rlagent.records.files import DamagedError
from rlagent.records.folder import RunFolder, RunNotFoundError, find_run

INTERRUPTED = 130

HELP = """rlagent evaluate: how good is a model on held-out tasks, and with what certainty?

  rlagent evaluate RUN                             the newest checkpoint, on the run's own held-out
                                                   tasks; RUN is a folder, name, id or `latest`
  rlagent evaluate RUN checkpoint=base,best,last   several; `all` that are kept; a step by number
  rlagent evaluate RUN evaluate.samples=8 evaluate.temperature=0.6
                                                   several rollouts of each task: pass@k, maj@k
  rlagent evaluate RUN dataset=gsm8k dataset.path=FOLDER evaluate.tasks=500
                                                   other tasks
  rlagent evaluate +experiment=gsm8k_react model=qwen3_4b
                                                   a model without a run
  rlagent evaluate +experiment=gsm8k_react model.url=http://127.0.0.1:8000/v1 model.name=NAME
                                                   a model behind an OpenAI-compatible endpoint

  rlagent evaluate -m +experiment=gsm8k_react model=qwen3_0_6b,qwen3_4b
                                                   each combination of the values, one after the
                                                   other, and a table of all
  rlagent evaluate -m RUN dataset=gsm8k_tiny,gsm8k
                                                   several datasets; of a mix (dataset.mix) each
                                                   taskset is measured by itself in any case

Results are in evaluations/NAME/ of the run folder, or of run.dir for a model without a run. The
same command again finishes what was cut off and answers from what is there; evaluate.fresh=true
measures again. Overrides, --cfg job and --config-dir are as for rlagent train.

Exit status: 0 measured; 1 failed or stopped; 2 wrong configuration; 130 interrupted (Ctrl+C)."""


@lasting_streams()
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    command = parse_command(sys.argv[1:] if argv is None else argv)
    if command.flags.help:
        print(HELP)
        return 0
    try:
        name, command = split_run(command)
        base = command.draft(multirun=command.flags.multirun)
        run = _run_named(name, base, command) if name else None
        if command.flags.cfg == "job":
            return _show(_laid_over(run, base))
        if command.flags.multirun:
            return _measure(_chosen(command, base, run), run)
        return _measure(_prepared(command, _laid_over(run, base), run), run)
    except ConfigError as error:
        return print_error(error)
    except (RunNotFoundError, DamagedError, OSError) as error:
        print(f"rlagent evaluate: {error}", file=sys.stderr)
        return 2 if isinstance(error, RunNotFoundError) else 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED


def split_run(command: Command) -> tuple[str | None, Command]:
    """Tell the run that is named from the overrides.

    Raises:
        ConfigError: Several words name none.
    """
    words = [item for item in command.overrides if _is_word(item)]
    rest = [one_text(item) for item in command.overrides if not _is_word(item)]
    if len(words) > 1:
        remedy = "several evaluations are compared by rlagent compare"
        shown = " ".join(words)
        raise ConfigError(
            [*command.problems, Problem(shown, None, "names more than one run", remedy)]
        )
    return (words[0] if words else None), dataclasses.replace(command, overrides=rest)


def _is_word(item: str) -> bool:
    return bool(item.strip()) and "=" not in item and not item.startswith(("+", "~"))


def one_text(item: str) -> str:
    """An override of `checkpoint` as one text, which Hydra would take for several values or a
    number.

    >>> one_text("checkpoint=base,20"), one_text("seed=1,2")
    ('checkpoint="base,20"', 'seed=1,2')
    """
    key, sign, value = item.partition("=")
    if key != "checkpoint" or not sign or value[:1] in ("'", '"'):
        return item
    return f"{key}={quoted(value)}"


def _run_named(name: str, draft: Draft, command: Command) -> RunFolder:
    """The run; what is wrong with the overrides is said in the same go."""
    try:
        return find_run(name, draft.config.run.dir)
    except RunNotFoundError:
        print_problems(draft.problems)
        raise


def _laid_over(run: RunFolder | None, draft: Draft) -> Draft:
    return draft if run is None else over_run(_config_of(run, draft), draft)


def _config_of(run: RunFolder, draft: Draft) -> LearnConfig:
    if not run.config_yaml.is_file():
        print_problems(draft.problems)
        raise RunNotFoundError(f"{run.name} has no config.yaml: it has not begun to train")
    return read_config(run)


def _show(draft: Draft) -> int:
    if draft.problems:
        return print_problems(draft.problems)
    text = to_yaml(draft.config) if draft.node is None else OmegaConf.to_yaml(draft.node)
    sys.stdout.write(text)
    return 0


@dataclasses.dataclass(frozen=True)
class Asked:
    """One set of tasks that is asked in one way.

    Args:
        words: What sets it apart from the others of the command; empty where it is the only one.
        resolved: Resolved for measuring, with one taskset.
        own: As for `launch.evaluating.measure`.
    """

    words: str
    resolved: Resolved
    own: str | None


def _chosen(command: Command, base: Draft, run: RunFolder | None) -> list[Asked]:
    """Every combination of the values given.

    Raises:
        ConfigError: With the mistakes of all.
    """
    from rlagent.sweep.grid import choices_of

    asked, problems = [], []
    for choice in choices_of(command, base):
        one = dataclasses.replace(command, overrides=choice.overrides)
        try:
            for each in _prepared(one, _laid_over(run, one.draft()), run):
                words = f"{choice.words()} {each.words}".strip()
                asked.append(dataclasses.replace(each, words=words))
        except ConfigError as error:
            problems += error.problems
    raise_if_any(dict.fromkeys(problems))
    return asked


def _measure(several: Sequence[Asked], run: RunFolder | None) -> int:
    """Measure one after the other, since each has all GPUs; returns the worst exit status.

    Raises:
        ConfigError: A checkpoint is not there, or two of them have one place, before the first is
            measured.
    """
    from rlagent.base.words import same_command
    from rlagent.launch.evaluating import Measured, checkpoints_of_each, measure
    from rlagent.records.evaluation_text import table_of_several

    checkpoints = checkpoints_of_each([asked.resolved for asked in several], run)
    measured: list[Measured] = []
    for asked, kept in zip(several, checkpoints, strict=True):
        if asked.words:
            print(f"\n== {asked.words}", flush=True)
        measured.append(measure(asked.resolved, kept, run, asked.own, same_command()))
        if measured[-1].ended_on_request:
            break
    names = [asked.words for asked in several]
    if any(names) and any(each.found for each in measured):
        print("\n".join(["", *table_of_several(names, [each.found for each in measured])]))
    return max(each.code for each in measured)


def _prepared(command: Command, draft: Draft, run: RunFolder | None) -> list[Asked]:
    """What is to be measured: each taskset of a mix by itself.

    Raises:
        ConfigError: With every mistake.
    """
    from rlagent.base.origins import COMMAND_LINE, is_written, put
    from rlagent.config.cluster import with_cluster
    from rlagent.config.mix import measured_parts
    from rlagent.config.prepare import prepare
    from rlagent.machine.resources import detect

    config = draft.config
    own = run is not None and not _asks_others(draft)
    if is_written(config, "evaluate.tasks"):
        put(config, "dataset.eval_tasks", config.evaluate.tasks, COMMAND_LINE)
    if not measured_parts(config.dataset):
        remedy = "name their split: dataset.eval_split=test"
        what = "there are no held-out tasks"
        draft.problems.append(Problem("dataset.eval_split", None, what, remedy))
    if run is None and config.checkpoint != LearnConfig().checkpoint:
        what, remedy = "is a run's, and none is named", "put the run first: rlagent evaluate RUN"
        draft.problems.append(Problem("checkpoint", config.checkpoint, what, remedy))
    machine = with_cluster(detect(), config.hardware)
    resolved = prepare(draft, machine, command.config_dirs, measures=True)
    parts = measured_parts(resolved.config.dataset)
    asked = []
    for part in parts:
        config = copy.copy(resolved.config)
        config.dataset = part.dataset
        alone = dataclasses.replace(resolved, config=config)
        words = part.dataset.name if len(parts) > 1 else ""
        asked.append(Asked(words, alone, part.held_out if own else None))
    return asked


def _asks_others(draft: Draft) -> bool:
    """Whether other tasks are asked than the run's own held-out ones."""
    keys = [key_of(text) for text in draft.overrides]
    return any(key == "evaluate.tasks" or key.split(".")[0] == "dataset" for key in keys)


if __name__ == "__main__":
    sys.exit(main())
