"""`rlagent rollouts RUN`: the rollouts of a run, filtered; for people, or as JSON for programs.

Reads the run folder only, also while the run trains.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

from rlagent.base.ranges import rewards, steps
from rlagent.base.screen import lasting_streams
from rlagent.base.texts import shown
from rlagent.base.words import counted, short_path
from rlagent.records.files import plain
from rlagent.records.folder import RunFolder, RunNotFoundError, find_run
from rlagent.records.rollouts import Batch, Head, Query, Rollout, RolloutStore, head_of

SHOWN = {"conversations": 5, "table": 50, "steps": None}
"""What can be shown, and how many rollouts unless --limit says."""

UNWRAPPED = 10_000
"""Characters of a line where no terminal shows it."""


@lasting_streams()
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Returns:
        0, also when no rollout matches; 1 when a file of rollouts is damaged, after what the
        others hold; 2 when there is no such run or a filter cannot be understood.
    """
    asked = _parser().parse_args(sys.argv[1:] if argv is None else list(argv))
    try:
        store, name = _find(asked.run, asked.root, asked.evaluation)
    except RunNotFoundError as error:
        print(f"rlagent rollouts: {error}", file=sys.stderr)
        return 2
    query = _query(asked)
    if asked.format == "jsonl":
        _print_rows(store, query, asked.limit)
    else:
        _show(store, query, asked, name)
    for path, why in store.damaged.items():
        print(
            f"rlagent rollouts: {short_path(path)} is damaged ({why}); its rollouts are missing",
            file=sys.stderr,
        )
    return 1 if store.damaged else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="rlagent rollouts",
        description="Show the rollouts of a run. Filters are joined by and.",
        epilog="the keys of a row of --format jsonl: docs/rollouts.md",
    )
    parser.add_argument(
        "run", help="its folder, name or id, or `latest`; or an evaluation's folder"
    )
    add = parser.add_argument
    add("--step", type=steps, metavar="N|N-M", default=(None, None), help="17, 10-20, 10- or -20")
    add("--phase", choices=("train", "eval"), help="of training steps, or of evaluations")
    add("--evaluation", metavar="NAME", help="of `rlagent evaluate`, by the name of its folder")
    add("--set", metavar="NAME", help="of this set of held-out tasks")
    add(
        "--reward", type=rewards, metavar="X..Y", default=(None, None),
        help="1, 0..0.5, 0.5..; with a sign: --reward=-1..0"
    )  # fmt: skip
    add("--success", choices=("yes", "no"), help="whether the reward reached success_reward")
    add(
        "--failed", nargs="?", const="", metavar="ERROR", help="that raised, hung or ended their "
        "process; with a part of the error: by this one"
    )  # fmt: skip
    add(
        "--task", default="", metavar="T", help="of one task: its position in the split, from 0, "
        "or the beginning of its hash; shows it over the steps"
    )  # fmt: skip
    add("--run-number", type=int, metavar="N", help="this one among the rollouts of its task")
    add("--text", default="", help="in whose task, messages or error this stands, in any case")
    add("--tool", default="", metavar="NAME", help="that called this tool")
    add("--longer-than", type=int, metavar="N", help="with more than so many tokens of answers")
    add("--turns", type=int, metavar="N", help="with at least so many turns")
    add("--lag", type=int, metavar="N", help="sampled by weights at least so many versions old")
    add("--limit", type=_count, metavar="N", help="the first N (of conversations 5, of a table 50)")
    add("--show", choices=tuple(SHOWN), help="what to show of them (conversations)")
    add("--whole", action="store_true", help="long texts whole")
    add("--format", choices=("text", "jsonl"), default="text", help="text, or a row a line")
    add("--root", default="outputs", help="where run folders are (outputs)")
    return parser


def _find(text: str, root: str, evaluation: str | None) -> tuple[RolloutStore, str]:
    """The rollouts that are meant, and what to call them.

    Raises:
        RunNotFoundError: No run, or more than one, answers to the name, or no evaluation of it.
    """
    # An evaluation keeps its rollouts as a run does.
    folder = Path(text) / "rollouts"
    if folder.is_dir() and not RunFolder(text).exists():
        return RolloutStore(folder), Path(text).resolve().name
    run = find_run(text, root)
    if evaluation is None:
        return run.rollouts, run.name
    folders = {path.name: path for path in sorted((run.path / "evaluations").glob("*/"))}
    if evaluation not in folders:
        there = f"there are {', '.join(folders)}" if folders else "it has none"
        raise RunNotFoundError(f"no evaluation {evaluation!r} of {run.name}: {there}")
    return RunFolder(folders[evaluation]).rollouts, f"{run.name}, evaluation {evaluation}"


def _query(asked: argparse.Namespace) -> Query:
    return Query(
        phase=asked.phase,
        steps=asked.step,
        set=asked.set,
        run=asked.run_number,
        reward=asked.reward,
        success=None if asked.success is None else asked.success == "yes",
        failed=None if asked.failed is None else True,
        error=asked.failed or "",
        task=asked.task,
        text=asked.text,
        tool=asked.tool,
        longer_than=asked.longer_than,
        turns=asked.turns,
        lag=asked.lag,
    )


def _print_rows(store: RolloutStore, query: Query, limit: int | None) -> None:
    # JSON escapes some of what acts on a terminal only.
    ascii_only = sys.stdout.isatty()
    for row in islice(store.read(query), limit):
        # Other programs' JSON has no NaN.
        sys.stdout.write(json.dumps(plain(row), ensure_ascii=ascii_only) + "\n")
        if getattr(sys.stdout, "given_up", False):
            return


def _show(store: RolloutStore, query: Query, asked: argparse.Namespace, name: str) -> None:
    from rich.console import Console

    from rlagent.report import rollout_text

    width = None if sys.stdout.isatty() else UNWRAPPED
    console = Console(file=sys.stdout, markup=False, highlight=False, emoji=False, width=width)
    what = asked.show or ("steps" if asked.task else "conversations")
    limit = SHOWN[what] if asked.limit is None else asked.limit
    heads = list(_heads(store, query))
    print(_counts(store, query, heads, name))
    chosen = heads[:limit]
    if what == "table" and chosen:
        console.print(rollout_text.table(chosen))
    elif what == "steps":
        for part in rollout_text.over_steps(chosen):
            console.print(part)
    else:
        for row in _rows(store, query, len(chosen)):
            for part in rollout_text.conversation(row, asked.whole):
                console.print(part)
    if len(chosen) < len(heads):
        in_lines = ", --show table a line each" if what == "conversations" else ""
        print(f"{len(chosen):,} of {len(heads):,} shown: --limit N shows more{in_lines}")


def _heads(store: RolloutStore, query: Query) -> Iterator[Head]:
    """The heads of what matches; those of a text have to be read whole."""
    return map(head_of, store.read(query)) if query.text else store.heads(query)


def _rows(store: RolloutStore, query: Query, count: int) -> Iterator[Rollout]:
    return islice(store.read(query), count)


def _counts(store: RolloutStore, query: Query, heads: Sequence[Head], name: str) -> str:
    """How many match, and where none does, what there is instead."""
    if heads:
        solved = sum(head.success for head in heads)
        failed = sum(head.error is not None for head in heads)
        return (
            f"{name}: {counted(len(heads), 'rollout')}, {solved:,} with success, {failed:,} failed"
            + _thinned(store)
        )
    batches = store.batches()
    if not batches:
        return f"{name}: no rollouts yet"
    there = f"there are those of {_ranges(batches)}"
    if query.failed:
        return (
            f"{name}: no rollout failed with {'this' if query.error else 'an'} error; --success no "
            f"shows those without success ({there})"
        )
    return f"{name}: no rollout matches; {there}"


def _ranges(batches: Sequence[Batch]) -> str:
    words = []
    for phase, name in (("train", "training"), ("eval", "evaluations")):
        found = [batch.step for batch in batches if batch.phase == phase]
        if found:
            many = f"steps {found[0]} to {found[-1]}" if len(found) > 1 else f"step {found[0]}"
            words.append(f"{name} at {many}")
    return ", ".join(words) or shown(", ".join(sorted({batch.phase for batch in batches})))


def _thinned(store: RolloutStore) -> str:
    found = store.thinned
    if not found:
        return ""
    kept, of = (sum(each[at] for each in found.values()) for at in (0, 1))
    return f" (of {_ranges(sorted(found))} {kept:,} of {of:,} are kept: run.rollouts_gib)"


def _count(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(
            f"{text!r} is no number of rollouts; allowed: 0, 1, 2, ..."
        )
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
