"""The pages of a sweep's trials: a driver that was killed wrote none, so its sweep's report does.

Which trials lack one is decided here; what a page shows is rlagent.report's.
"""

from collections.abc import Callable

from rlagent.base.cause import cause_of
from rlagent.base.words import short_path
from rlagent.records.files import written_at
from rlagent.records.folder import DIED, ENDED, RunFolder
from rlagent.records.sweep_store import SweepFolder
from rlagent.report import write_report


def write_trial_pages(folder: SweepFolder, say: Callable[[str], None]) -> None:
    """Write the page of each trial that lacks one; what cannot be written is said.

    Args:
        folder: The sweep's.
        say: Told, in one line, of each page that could not be written.
    """
    for row in folder.read().trials:
        run = folder.run_folder(row)
        try:
            if lacks_page(run):
                write_report(run)
        # The page of one trial must not cost the report of all.
        except Exception as error:
            place = short_path(run.report_html)
            say(f"trial {row.number + 1}: {place} could not be written: {cause_of(error)}")


def lacks_page(run: RunFolder) -> bool:
    """Whether a run that has ended has no page, or one older than its final status."""
    if not run.exists() or run.standing().get("state") not in (DIED, *ENDED):
        return False
    page, *told = (
        written_at(path) or 0 for path in (run.report_html, run.status_json, run.metrics_jsonl)
    )
    return page < max(told)
