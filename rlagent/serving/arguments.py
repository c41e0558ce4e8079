"""The arguments by which the commands after training name a checkpoint of a run. Light."""

import argparse


def checkpoint_arguments(parser: argparse.ArgumentParser) -> None:
    """Add `run`, `--step` and `--root`."""
    parser.add_argument("run", help="run: its folder, name or id, or `latest`")
    parser.add_argument("--step", default="best", help="base, best, last or a step (best)")
    parser.add_argument("--root", default="outputs", help="where run folders are (outputs)")
