"""`rlagent data`: the tasks as the workflow will see them; conversations to learn from, of GSM8K's
answers or of a run's own rollouts.

What is shown is trinity/preview.py's. Conversations of GSM8K are workflows/gsm8k_teacher.py's,
those of rollouts records/taught.py's; here they are counted and written.
"""

import argparse
import asyncio
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlagent.base.errors import ConfigError, Problem
from rlagent.base.ranges import rewards, steps
from rlagent.base.screen import lasting_streams
from rlagent.base.words import counted, short_path
from rlagent.config.schema import DatasetConfig
from rlagent.records.files import row_bytes, write_atomically
from rlagent.records.folder import RunFolder, RunNotFoundError, find_run
from rlagent.records.rollouts import Query, RolloutStore
from rlagent.records.taught import conversation_row, taught_by
from rlagent.serving.trained import say_outcome

if TYPE_CHECKING:
    from rlagent.workflows.teacher import Transcript

HUB = "openai/gsm8k"
HELD_OUT = "their tasks are held out: a model that learns from them is no longer measured by them"
FILE = "conversations.jsonl"
EPILOG = """\
a row: `messages` and `tools`, as OpenAI's interface, TRL and Trinity have them; algorithm=sft
dataset=conversations dataset.path=FILE learns from them. Only training tasks are taken, so that no
held-out one is learnt. Exit status: 0 written; 1 it could not be; 2 the data is wrong.
"""


@lasting_streams()
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    parser = argparse.ArgumentParser(
        prog="rlagent data",
        description="Show the tasks of a configuration, or write conversations to learn from.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    kinds = parser.add_subparsers(dest="kind", required=True, metavar="KIND")
    words = (
        "GSM8K's answers, each annotated calculation a call of the shipped workflow's calculator"
    )
    gsm8k = kinds.add_parser("gsm8k_tools", help=words, description=words)
    gsm8k.add_argument(
        "--source", default=HUB, help=f"GSM8K: a folder with train.jsonl, a file, or {HUB}"
    )
    gsm8k.add_argument("--to", type=Path, required=True, help="file to write, .jsonl")
    gsm8k.add_argument("--limit", type=_positive, help="the first so many rows (all)")
    _rollout_arguments(kinds)
    words = "the first tasks as the workflow will see them, how many there are, and how long"
    # Its arguments are overrides, which are Hydra's to read.
    kinds.add_parser("show", help=words, add_help=False)
    arguments = sys.argv[1:] if argv is None else list(argv)
    if arguments[:1] == ["show"]:
        return _show(arguments[1:])
    asked = parser.parse_args(arguments)
    if asked.kind == "gsm8k_tools":
        return say_outcome("data", lambda: _gsm8k_tools(asked.source, asked.to, asked.limit))
    return say_outcome("data", lambda: _from_rollouts(asked))


def _rollout_arguments(kinds: Any) -> None:
    words = "what a run's rollouts of training tasks said, each conversation once"
    parser = kinds.add_parser(
        "from-rollouts",
        help=words,
        description=words,
        epilog="rejection sampling: --successful --best 1, then algorithm=sft from the base model; "
        "expert iteration: the same from model.path=RUN, again and again (docs/warm-start.md)",
    )
    add = parser.add_argument
    add("run", help="run: its folder, name or id, or `latest`")
    add("--to", type=Path, help=f"file to write, .jsonl (RUN/{FILE})")
    add("--successful", action="store_true", help="those whose reward reached success_reward")
    add(
        "--reward", type=rewards, metavar="X..Y", default=(None, None),
        help="1, 0..0.5, 0.5..; with a sign: --reward=-1..0"
    )  # fmt: skip
    add("--step", type=steps, metavar="N|N-M", default=(None, None), help="17, 10-20, 10- or -20")
    add(
        "--best", type=_positive, metavar="K", help="of each task the K best: most reward, shortest"
    )
    add(
        "--phase", choices=("train", "eval"), default="train",
        help=f"eval: rollouts of the evaluations, which are refused otherwise: {HELD_OUT}"
    )  # fmt: skip
    add(
        "--evaluation", metavar="NAME", help="an evaluation of `rlagent evaluate`, of its own tasks"
    )
    add("--root", default="outputs", help="where run folders are (outputs)")


SHOW_HELP = """rlagent data show [key=value ...] [--rows]

Shows the tasks of a configuration after dataset.map and dataset.filter, as the workflow will see
them: how many of how many rows each split has, how long their texts are, and the first of each.
Overrides and --config-dir are as for rlagent train; --rows shows ten tasks of each split.
Starts nothing and writes nothing. Exit status: 0; 1 it cannot be reached; 2 something is wrong.

  rlagent data show +experiment=gsm8k_react dataset=gsm8k_tiny
  rlagent data show dataset.path=mine.jsonl 'dataset.map={question: prompt, answer: solution}'
  rlagent data show dataset.path=mine.csv 'dataset.filter="level <= 3"'"""


def _show(argv: Sequence[str]) -> int:
    from rlagent.config.command import parse_command, print_error
    from rlagent.config.prepare import prepare
    from rlagent.machine.resources import detect
    from rlagent.trinity.preview import preview

    command = parse_command(argv, {"--rows": "Show ten tasks of each split"})
    if command.flags.help:
        print(SHOW_HELP)
        return 0
    try:
        resolved = prepare(
            command.draft(), detect(), command.config_dirs, plan_only=True, workflow_given=True
        )
        print("\n".join(preview(resolved.config.dataset, 10 if command.flags.rows else 1)))
    except ConfigError as error:
        return print_error(error)
    return 0


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number of at least 1")
    return int(text)


def _gsm8k_tools(source: str, to: Path, limit: int | None) -> int:
    taught, without = gsm8k_rows(source, limit)
    _write(to, taught, without)
    return 0


def gsm8k_rows(
    source: str = HUB, limit: int | None = None
) -> tuple[list[dict[str, Any]], Counter[str]]:
    """GSM8K's training answers as conversations, and how many have none, by the reason."""
    from rlagent.trinity.kept_tasks import rows_of

    dataset = DatasetConfig(path=source, subset="main" if source == HUB else None)
    rows = islice(rows_of(source, "train", dataset, "--source"), limit)
    return asyncio.run(_taught(rows))


async def _taught(rows: Iterable[Mapping[str, Any]]) -> tuple[list[dict[str, Any]], Counter[str]]:
    from rlagent.workflows.gsm8k_teacher import NoLessonError, conversations

    taught, without = [], Counter[str]()
    async for _, found in conversations(rows):
        if isinstance(found, NoLessonError):
            without[found.kind] += 1
        else:
            taught.append(as_row(found))
    return taught, without


def as_row(transcript: "Transcript") -> dict[str, Any]:
    """A conversation as a row."""
    return conversation_row(transcript.messages, transcript.tools)


def _from_rollouts(asked: argparse.Namespace) -> int:
    run = find_run(asked.run, asked.root)
    phase = "eval" if asked.evaluation else asked.phase
    store = _evaluation(run, asked.evaluation) if asked.evaluation else run.rollouts
    query = Query(
        phase=phase,
        steps=asked.step,
        reward=asked.reward,
        success=True if asked.successful else None,
    )
    taught = taught_by(store, store.read(query), asked.best)
    if not taught.rows:
        raise ConfigError([Problem(run.name, None, *_nothing(store, phase, taught.left_out))])
    to = asked.to or run.path / FILE
    _write(to, taught.rows, taught.left_out, f" of {counted(taught.rollouts, 'rollout')}")
    if phase == "eval":
        print(f"note: {HELD_OUT}")
    return 0


def _evaluation(run: RunFolder, name: str) -> RolloutStore:
    folders = {path.name: path for path in sorted((run.path / "evaluations").glob("*/"))}
    if name not in folders:
        there = f"there are {', '.join(folders)}" if folders else "it has none"
        raise RunNotFoundError(f"no evaluation {name!r} of {run.name}: {there}")
    return RunFolder(folders[name]).rollouts


def _nothing(store: RolloutStore, phase: str, left_out: Counter[str]) -> tuple[str, str]:
    """Why no conversation is left, and what to do."""
    if store.damaged:
        path, why = next(iter(store.damaged.items()))
        return f"{short_path(path)} is damaged: {why}", "take other steps: --step"
    if left_out:
        said = "; ".join(f"{number} x {reason}" for reason, number in left_out.most_common(3))
        return f"no conversation is left: {said}", "take other rollouts"
    others = {batch.phase for batch in store.batches()} - {phase}
    if "eval" in others and not store.batches(phase):
        return f"it has rollouts of evaluations only, and {HELD_OUT}", "ask for them: --phase eval"
    return "no rollout matches", "`rlagent rollouts RUN` shows which there are"


def _write(to: Path, rows: list[dict[str, Any]], left_out: Counter[str], of_what: str = "") -> None:
    write_atomically(to, b"".join(map(row_bytes, rows)))
    print(f"{short_path(to)} holds {counted(len(rows), 'conversation')}{of_what}")
    if count := left_out.total():
        said = "; ".join(f"{number} x {reason}" for reason, number in left_out.most_common(3))
        print(f"left out {count}{'' if of_what else ' rows'}: {said}")


if __name__ == "__main__":
    sys.exit(main())
