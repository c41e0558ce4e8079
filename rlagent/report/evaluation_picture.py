"""Draws success.png of an evaluation: success by checkpoint, with its 95 % interval."""

import io

from rlagent.base.words import interval, percent
from rlagent.records.evaluations import EvaluationFolder
from rlagent.report.evaluation_page import success_of, title_of_evaluation
from rlagent.report.picture import blank, panel, shares, title, with_intervals


def evaluation_picture(folder: EvaluationFolder) -> bytes:
    """The picture of what was measured, 1200 x 600 pixels.

    Raises:
        DamagedError: results.json cannot be read.
    """
    measured = folder.measured()
    success, bounds = success_of(measured)
    figure = blank()
    axes = panel(figure, left=0.075, width=0.88)
    shares(axes)
    axes.xaxis.get_major_locator().set_params(integer=True)
    if len(success.steps) == 1:
        axes.set_xticks(success.steps)
    with_intervals(axes, success, bounds)
    newest = measured[-1]
    reached = f"{percent(newest['success'])} {interval(*bounds[-1])}"
    about = f"{newest['checkpoint']}: {reached} of {newest['tasks']} held-out tasks"
    title(figure, title_of_evaluation(folder.read_results()), f"{about}, 95 % intervals")
    png = io.BytesIO()
    figure.savefig(png, format="png")
    return png.getvalue()
