"""`rlagent export RUN`: a checkpoint as a Hugging Face folder that others load.

The work is serving/export.py's.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from rlagent.base.errors import ConfigError, Problem
from rlagent.base.screen import lasting_streams
from rlagent.base.words import short_path
from rlagent.serving.arguments import checkpoint_arguments

EPILOG = """\
--push shows what would go to the Hugging Face hub; with --yes it uploads. The key is that of
`hf auth login`, or HF_TOKEN. Without --to the model lies in the run folder.
A checkpoint is named `base` (the model before training), `best` (by held-out success), `last`, or
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
    checkpoint_arguments(parser)
    parser.add_argument("--to", type=Path, help="folder to write, new or empty")
    parser.add_argument(
        "--adapter", action="store_true", help="with model.lora: the adapter alone, for peft"
    )
    parser.add_argument("--push", metavar="USER/NAME", help="show what would go to the hub")
    parser.add_argument("--yes", action="store_true", help="with --push: upload it")
    parser.add_argument("--public", action="store_true", help="with --push: not private")
    parser.add_argument(
        "--dtype",
        choices=("float32", "bfloat16", "float16"),
        default="",
        help="of the weights (what the rollout engines computed with)",
    )
    asked = parser.parse_args(sys.argv[1:] if argv is None else list(argv))
    from rlagent.serving.trained import say_outcome

    return say_outcome("export", lambda: _export(asked))


def _export(asked: argparse.Namespace) -> int:
    from rlagent.serving.export import export, export_adapter, ready_folder
    from rlagent.serving.push import Upload, checked_repo
    from rlagent.serving.trained import find_trained

    if asked.to is None and asked.push is None:
        raise ConfigError([Problem("--to", None, "say where: --to FOLDER, or --push USER/NAME")])
    if asked.push is None and (asked.yes or asked.public):
        raise ConfigError([Problem("--yes, --public", None, "they belong to --push USER/NAME")])
    if asked.to is None and asked.dtype:
        raise ConfigError([Problem("--dtype", asked.dtype, "it needs --to FOLDER")])
    if asked.adapter and (asked.push or asked.dtype or asked.to is None):
        what = "is written to a folder, as it was trained"
        remedy = "give it --to FOLDER, without --push and --dtype"
        raise ConfigError([Problem("--adapter", None, what, remedy)])
    repo = asked.push and checked_repo(asked.push)
    trained = find_trained(asked.run, asked.step, asked.root)
    if asked.to is None and trained.kept.folder is None:
        raise ConfigError([Problem("--step", asked.step, "the base model needs --to FOLDER")])
    if asked.adapter:
        place = export_adapter(trained, asked.to)
        print(f"{short_path(place)} holds the adapter of {trained.kept} of {trained.run.name}")
        return 0
    if asked.to is not None:
        place = export(trained, asked.to, asked.dtype)
        print(f"{short_path(place)} holds {trained.kept} of {trained.run.name}", flush=True)
    else:
        place = Path(ready_folder(trained))
    if repo is None:
        return 0
    upload = Upload(place, repo, asked.public)
    print("\n".join(upload.words()), flush=True)
    if asked.yes:
        print(f"uploaded: {upload.run()}")
    else:
        print("nothing was uploaded; with --yes it is")
    return 0


if __name__ == "__main__":
    sys.exit(main())
