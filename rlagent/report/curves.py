"""Which curves a report draws, from which metrics; how a chart is drawn is left to svg.py."""

from rlagent.base.stats import Series
from rlagent.report.data import ReportData
from rlagent.report.svg import Axis, Chart, Line, chart, stacked

SHARE = Axis(percent=True, low=0.0, high=1.0)
ZERO = Axis(low=0.0)

SMALL = (
    ("KL from the policy that sampled", "off_policy/kl/behaviour_proximal", ZERO),
    ("Effective sample size", "off_policy/ess", SHARE),
    ("Lag of samples, model versions", "sample/lag", Axis(low=0.0, high=1.0)),
    ("Tokens per second", "tokens/per_second", ZERO),
    ("Gradient norm", "actor/grad_norm", ZERO),
    ("Entropy", "actor/entropy", ZERO),
    ("Clipped share", "actor/pg_clipfrac", Axis(percent=True, low=0.0, high=0.01)),
    ("Dead groups: all rewards equal", "rollout/dead_share", SHARE),
    ("Groups explored for a step", "rollout/groups", ZERO),
)
"""Charts of one curve: title, metric, axis."""


MOST_OWN = 24
"""Charts of what the workflow itself reports."""


def all_charts(data: ReportData) -> tuple[tuple[Chart | None, Chart | None], list[Chart]]:
    """The large chart, for wide and for narrow windows (None without held-out measurements), and
    the small ones."""
    small = [training(data), reward(data), loss(data), time_split(data)]
    for title, name, axis in SMALL:
        line = Line(title, data.series(name), colour=1, smoothed=name == "tokens/per_second")
        small.append(chart(title, [line], axis))
    small += [own_metric(data, name) for name in data.own[:MOST_OWN]]
    small.append(sets(data))
    large = held_out(data, 1080, 330), held_out(data, 520, 300)
    return large, [figure for figure in small if figure]


def held_out_series(data: ReportData) -> tuple[Series, tuple[tuple[float, float], ...], Series]:
    """Held-out success, its 95 % bounds, and the valid share."""
    measured = data.evaluations
    success = Series(
        "eval/success", tuple(e.step for e in measured), tuple(e.success for e in measured)
    )
    bounds = tuple((e.low, e.high) for e in measured)
    valid = [e for e in measured if e.valid is not None]
    return (
        success,
        bounds,
        Series("eval/valid", tuple(e.step for e in valid), tuple(e.valid or 0.0 for e in valid)),
    )


def held_out(data: ReportData, width: int, height: int) -> Chart | None:
    """Held-out success with its 95 % band over the training curve, the valid share apart."""
    if not data.evaluations:
        return None
    success, bounds, valid = held_out_series(data)
    lines = [
        Line("valid answers", valid, colour=2, dashed=True, dots=True),
        Line("training", data.series("rollout/success/mean"), colour=5, smoothed=True),
        Line("success, with 95 % interval", success, colour=1, dots=True, band=bounds),
    ]
    tasks = data.evaluations[-1].tasks
    title = f"Held-out tasks ({tasks})" if tasks else "Held-out tasks"
    return chart(title, lines, SHARE, width, height)


def training(data: ReportData) -> Chart | None:
    """Accuracy and valid share of the training rollouts."""
    lines = [
        Line("valid answers", data.series("rollout/valid/mean"), colour=2, dashed=True),
        Line("success", data.series("rollout/success/mean"), colour=1, smoothed=True),
        Line("failed rollouts", _if_any(data.series("rollout/failed_share")), colour=4),
    ]
    return chart("Training rollouts", lines, SHARE)


def reward(data: ReportData) -> Chart | None:
    """Mean reward of the training rollouts."""
    line = Line("mean per step", data.series("rollout/reward/mean"), colour=1, smoothed=True)
    return chart("Training reward", [line], ZERO)


def loss(data: ReportData) -> Chart | None:
    """Loss of the conversations that are learnt from, and of those that are held out."""
    lines = [
        Line("learnt from", data.series("actor/sft_loss"), colour=1, smoothed=True),
        Line("held out", data.series("eval/loss"), colour=2, dots=True),
    ]
    return chart("Loss, nats per token of the assistant", lines, ZERO)


PARTS = (
    ("rollout", ("time/rollout",)),
    ("agent code", ("time/agent",)),
    ("training", ("time/train_step",)),
    ("sync and saving", ("time/sync_weight", "time/save_checkpoint")),
)
"""Where the seconds of a step go, by metric; what is left of it is waiting."""


def own_metric(data: ReportData, name: str) -> Chart | None:
    """What the workflow reports under a name, of the training rollouts and of held-out tasks."""
    lines = [
        Line("training", data.series(f"rollout/{name}/mean"), colour=1, smoothed=True),
        Line("held-out", data.series(f"eval/{name}"), colour=2, dots=True),
    ]
    return chart(name, lines, Axis())


def sets(data: ReportData) -> Chart | None:
    """Held-out success of each set, where there are several."""
    names = dict.fromkeys(one.name for each in data.evaluations for one in each.sets)
    lines = [
        Line(name, data.series(f"eval/{name}/success"), colour=1 + index % 5, dots=True)
        for index, name in enumerate(names)
    ]
    return chart("Held-out success by set", lines, SHARE) if lines else None


def time_split(data: ReportData) -> Chart | None:
    """Seconds of each step by part, and the rest where the whole is known."""
    train, whole = data.series("time/train_step"), data.series("time/step")
    parts = list(PARTS)
    if not data.series("time/rollout"):
        # A run from before the rollouts' own seconds were measured.
        parts[:2] = [("explore", ("time/explore_step",))]
    found = {name: [data.series(metric) for metric in metrics] for name, metrics in parts}
    explored = found[parts[0][0]][0]
    steps = [step for step in explored.steps if train.at(step) is not None]
    if not steps:
        return None
    values = {
        name: [sum(one.at(step) or 0.0 for one in series) for step in steps]
        for name, series in found.items()
    }
    if whole:
        values["waiting"] = [
            max(0.0, (whole.at(step) or 0.0) - sum(column[i] for column in values.values()))
            for i, step in enumerate(steps)
        ]
    lines = [
        Line(name, Series(name, tuple(steps), tuple(column)), colour=index + 1)
        for index, (name, column) in enumerate(values.items())
        if any(column)
    ]
    return stacked("Seconds per step", lines)


def _if_any(series: Series) -> Series:
    """The series when it is not zero throughout: a flat line of no failures says nothing."""
    return series if any(series.values) else Series(series.name, (), ())
