"""The command line that the tools share which make what ships: `python -m tools.NAME [PART]`."""

import argparse
from collections.abc import Callable
from pathlib import Path

ASSETS = Path(__file__).parents[2] / "rlagent" / "assets"


def run(
    tool: str,
    description: str | None,
    write_data: Callable[[Path], None],
    build_model: Callable[[Path], None],
) -> None:
    """Make the data, the model, or both, as typed.

    Args:
        tool: Name of the tool.
        description: What `--help` says.
        write_data: Given the folder of the assets.
        build_model: Likewise.
    """
    parser = argparse.ArgumentParser(prog=f"python -m tools.{tool}", description=description)
    parser.add_argument("part", nargs="?", choices=["all", "data", "model"], default="all")
    parser.add_argument("--assets", type=Path, default=ASSETS, help="where to write")
    typed = parser.parse_args()
    if typed.part in ("all", "data"):
        write_data(typed.assets)
    if typed.part in ("all", "model"):
        build_model(typed.assets)
