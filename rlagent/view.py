"""`rlagent view [outputs]`: what has run here, in a browser, live, on this machine only.

Serves pages made from the run folders, and writes nothing.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

from rlagent.base.endings import EXIT_CONFIG, EXIT_FAILED
from rlagent.base.screen import lasting_streams
from rlagent.records.folder import RunFolder
from rlagent.records.sweep_store import SweepFolder


@lasting_streams()
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Returns:
        0 when Ctrl+C or SIGTERM ended it; 1 when it cannot listen; 2 when there is no such folder.
    """
    parser = argparse.ArgumentParser(
        prog="rlagent view",
        description="Show runs and sweeps in a browser: state, live curves, rollouts, evaluations. "
        "Listens on 127.0.0.1 and asks for the token in the address that it prints; writes "
        "nothing. Ctrl+C ends it.",
    )
    parser.add_argument(
        "outputs", nargs="?", default="outputs", help="where run folders are, or one (outputs)"
    )
    parser.add_argument("--port", type=int, default=0, help="where to listen (a free port)")
    asked = parser.parse_args(sys.argv[1:] if argv is None else list(argv))
    root = Path(asked.outputs)
    if not root.is_dir():
        print(f"rlagent view: there is no folder {root}; name another one", file=sys.stderr)
        return EXIT_CONFIG
    if not 0 <= asked.port <= 65535:
        print(f"rlagent view: --port={asked.port}: must be in 0..65535", file=sys.stderr)
        return EXIT_CONFIG
    root, start = where(root)
    from rlagent.report.view.server import serve

    try:
        return serve(root, asked.port, _say, start)
    except OSError as error:
        print(
            f"rlagent view: --port={asked.port}: {error.strerror}; without --port a free one is "
            "taken",
            file=sys.stderr,
        )
        return EXIT_FAILED


def where(folder: Path) -> tuple[Path, str]:
    """The folder to show and the path of the first page: of a run or sweep, its own page."""
    folder = folder.resolve()
    for kind, found in (("sweep", SweepFolder(folder)), ("run", RunFolder(folder))):
        if found.exists():
            return folder.parent, f"/{kind}/{quote(folder.name, safe='')}"
    return folder, "/"


def _say(address: str) -> None:
    print(f"The view is at {address}\nCtrl+C ends it.", flush=True)


if __name__ == "__main__":
    sys.exit(main())
