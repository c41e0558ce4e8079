"""`rlagent export RUN`: a checkpoint as a Hugging Face folder that others load.

The work is serving/export.py's.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from rlagent.base.screen import lasting_streams
from rlagent.base.words import short_path
from rlagent.serving.trained import find_trained, say_outcome

EPILOG = """\
a checkpoint is named `base` (the model before training), `best` (by held-out success), `last`, or
by its step. Exit status: 0 written; 1 it could not be; 2 there is no such run, checkpoint or place.
"""


@lasting_streams()
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    parser = argparse.ArgumentParser(
        prog="rlagent export",
        description="Write a checkpoint of a run as a Hugging Face folder, with a model card.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("run", help="run: its folder, name or id, or `latest`")
    parser.add_argument("--step", default="best", help="base, best, last or a step (best)")
    parser.add_argument("--to", type=Path, required=True, help="folder to write, new or empty")
    parser.add_argument(
        "--dtype",
        choices=("float32", "bfloat16", "float16"),
        default="",
        help="of the weights (what the rollout engines computed with)",
    )
    parser.add_argument("--root", default="outputs", help="where run folders are (outputs)")
    asked = parser.parse_args(sys.argv[1:] if argv is None else list(argv))
    return say_outcome("export", lambda: _export(asked))


def _export(asked: argparse.Namespace) -> int:
    from rlagent.serving.export import export

    trained = find_trained(asked.run, asked.step, asked.root)
    place = export(trained, asked.to, asked.dtype)
    print(f"{short_path(place)} holds {trained.kept} of {trained.run.name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
