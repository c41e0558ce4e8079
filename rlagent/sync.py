"""`rlagent sync`: uploads the offline W&B runs of run folders, those that were not uploaded yet.

Selects and reports; the uploading is `wandb sync`, which marks what it has sent by a file
`run-*.wandb.synced` beside it, and only that mark counts as sent here.
"""

import argparse
import shlex
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rlagent.base.screen import lasting_streams
from rlagent.base.words import short_path
from rlagent.records.files import DamagedError
from rlagent.records.find import find_any
from rlagent.records.folder import DIED, ENDED, RunFolder, RunNotFoundError, run_folders
from rlagent.records.sweep_store import SweepFolder
from rlagent.records.wandb_access import key_source

NO_KEY = (
    "no W&B key was found, so nothing was uploaded; set WANDB_API_KEY or run `wandb login`, then "
    "the same command"
)


@dataclass(frozen=True)
class Selection:
    """What there is to do: folders to upload, and how many others there are, by reason."""

    wanted: tuple[Path, ...]
    synced: int
    # Runs that still write to their offline run.
    running: tuple[str, ...]


def select(folders: Sequence[RunFolder]) -> Selection:
    """The offline W&B runs of run folders that were not uploaded yet."""
    wanted: list[Path] = []
    running: list[str] = []
    synced = 0
    for folder in folders:
        open_ones = []
        for path in sorted(folder.wandb_dir.glob("offline-run-*")):
            if is_synced(path):
                synced += 1
            elif any(path.glob("*.wandb")):
                open_ones.append(path)
        if open_ones and _may_write(folder):
            # A part would be uploaded, and the mark would then hide the rest.
            running.append(folder.name)
        else:
            wanted += open_ones
    return Selection(tuple(wanted), synced, tuple(running))


def _may_write(folder: RunFolder) -> bool:
    """Whether a run goes on; of one on another host only its status can tell."""
    return folder.standing().get("state") not in (None, DIED, *ENDED)


def is_synced(path: Path) -> bool:
    """Whether `wandb sync` has marked an offline run as sent."""
    return any(path.glob("*.synced"))


def command(path: Path) -> list[str]:
    """The command that uploads one offline run."""
    return [sys.executable, "-m", "wandb", "sync", str(path)]


def run_folders_of(names: Sequence[str], root: str) -> list[RunFolder]:
    """The run folders that are meant, each once; all of `root` without names.

    Raises:
        RunNotFoundError: A name means nothing or several things.
    """
    if not names:
        return [*run_folders(Path(root)), *_without_status(Path(root))]
    found: dict[Path, RunFolder] = {}
    for name in names:
        folder = find_any(name, root)
        if isinstance(folder, SweepFolder):
            for row in folder.read().trials:
                run = folder.run_folder(row)
                found.setdefault(run.path, run)
        else:
            found.setdefault(folder.path, folder)
    return list(found.values())


def _without_status(root: Path) -> list[RunFolder]:
    """Folders of trials that died before their first status: the sweep made their W&B run."""
    found = [RunFolder(path.parent) for path in sorted(root.glob("*/wandb"))]
    return [run for run in found if not run.exists() and not run.path.is_symlink()]


def upload(
    paths: Sequence[Path], call: Callable[[Sequence[str]], int] = subprocess.call
) -> list[Path]:
    """Upload each; returns those that failed, after saying so.

    wandb may exit with 0 without having sent anything, so its mark decides.
    """
    failed = []
    for path in paths:
        print(f"uploading {short_path(path)}", flush=True)
        code = call(command(path))
        if code or not is_synced(path):
            reason = f"exit status {code}" if code else "wandb did not mark it as sent"
            print(f"not uploaded: {short_path(path)} ({reason})", file=sys.stderr)
            failed.append(path)
    return failed


@lasting_streams()
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Returns:
        0 when everything selected is uploaded, or nothing was left to upload; 1 when something
        was not; 2 when there is no such run or sweep.
    """
    parser = argparse.ArgumentParser(
        prog="rlagent sync", description="Upload offline W&B runs that were not uploaded yet."
    )
    parser.add_argument("names", nargs="*", metavar="RUN|SWEEP", help="without one: all")
    parser.add_argument("--root", default="outputs", help="where run folders are (outputs)")
    parser.add_argument("--dry-run", action="store_true", help="say what would be done")
    asked = parser.parse_args(sys.argv[1:] if argv is None else list(argv))
    try:
        found = select(run_folders_of(asked.names, asked.root))
    except (RunNotFoundError, DamagedError) as error:
        print(f"rlagent sync: {error}", file=sys.stderr)
        return 2
    print(
        f"{len(found.wanted)} offline W&B runs to upload, {found.synced} uploaded already"
        + (f", still running and left alone: {', '.join(found.running)}" if found.running else "")
    )
    if asked.dry_run:
        for path in found.wanted:
            print(shlex.join(command(path)))
        if found.wanted and key_source() is None:
            print("no W&B key was found: without --dry-run nothing would be uploaded")
        return 0
    if not found.wanted:
        return 0
    if key_source() is None:
        print(f"rlagent sync: {NO_KEY}", file=sys.stderr)
        return 1
    failed = upload(found.wanted)
    print(f"{len(found.wanted) - len(failed)} of {len(found.wanted)} uploaded")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
