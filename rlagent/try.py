"""`rlagent try RUN --task JSON`: the run's own workflow on one task of yours.

The work is serving/tried.py's.
"""

import argparse
import json
import secrets
import sys
from collections.abc import Sequence
from typing import Any

from rlagent.base.endings import EXIT_FAILED, EXIT_OK
from rlagent.base.errors import ConfigError, Problem
from rlagent.base.screen import lasting_streams
from rlagent.serving.arguments import checkpoint_arguments

EPILOG = """\
--task is a row of the dataset as JSON, or @FILE, or - for standard input. Nothing is written to
the run folder but the weights in a form that engines load.
Exit status: 0 each sample has a reward; 1 one failed; 2 there is no such run, or the task is none.
"""


@lasting_streams()
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    parser = argparse.ArgumentParser(
        prog="rlagent try",
        description="Run a run's workflow on one task with one of its checkpoints; shows the "
        "conversation, the reward and the metrics.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    checkpoint_arguments(parser)
    parser.add_argument("--task", required=True, help='such as \'{"question": "...", ...}\'')
    parser.add_argument("--samples", type=int, default=1, help="rollouts of the task (1)")
    parser.add_argument("--temperature", type=float, help="of the sampling (the run's)")
    parser.add_argument("--seed", type=int, help="of the sampling (another one each time)")
    parser.add_argument("--workflow", default="", help="instead of the run's: module:function")
    parser.add_argument("--judge", default="", help="instead of the run's: module:function")
    parser.add_argument("--engine", default="auto", help="auto, vllm or embedded (auto)")
    asked = parser.parse_args(sys.argv[1:] if argv is None else list(argv))
    from rlagent.serving.trained import say_outcome

    return say_outcome("try", lambda: _try(asked))


def _try(asked: argparse.Namespace) -> int:
    task = _task(asked.task)
    if asked.samples < 1:
        raise ConfigError([Problem("--samples", asked.samples, "at least 1")])
    if asked.temperature is not None and not 0 <= asked.temperature <= 100:
        raise ConfigError([Problem("--temperature", asked.temperature, "a number from 0 to 100")])

    from rlagent.serving.trained import find_trained

    trained = find_trained(asked.run, asked.step, asked.root)

    from rich.console import Console

    from rlagent.serving.beside import served_beside
    from rlagent.serving.screen import show_differences, show_sample
    from rlagent.serving.tried import functions_of, missing_columns, prepare, try_task

    functions = functions_of(trained, asked.workflow, asked.judge)
    console = Console(highlight=False, soft_wrap=True)
    if missing := missing_columns(trained, task):
        what = ", ".join(missing)
        print(f"the task has no {what}, which tasks of this run have", file=sys.stderr)
    console.print(f"{trained.kept} of {trained.run.name}", style="dim")
    seed = secrets.randbelow(2**31) if asked.seed is None else asked.seed
    with served_beside(trained, asked.engine, seed) as served:
        prepare(functions)
        samples = try_task(trained, task, served, functions, asked.samples, asked.temperature)
    for number, sample in enumerate(samples, 1):
        show_sample(console, sample, f"sample {number} of {len(samples)}")
    if len(samples) > 1:
        show_differences(console, samples)
    return EXIT_FAILED if any(sample.error is not None for sample in samples) else EXIT_OK


def _task(text: str) -> dict[str, Any]:
    """The task that is written, or in a file.

    Raises:
        ConfigError: It is no JSON object.
        OSError: The file cannot be read.
    """
    if text == "-":
        text = sys.stdin.read()
    elif text.startswith("@"):
        with open(text[1:], encoding="utf-8") as file:
            text = file.read()
    try:
        task = json.loads(text)
    except ValueError as error:
        remedy = 'write a row of the dataset, as \'{"question": "What is 2 + 3?"}\''
        raise ConfigError([Problem("--task", text, f"is no JSON ({error})", remedy)]) from error
    if not isinstance(task, dict):
        raise ConfigError([Problem("--task", text, "a task is an object: names and values")])
    return task


if __name__ == "__main__":
    sys.exit(main())
