"""The report of a sweep shows what its folders hold, whatever is missing, and none of it acts."""

import csv
import io
import json
import re
from types import SimpleNamespace

import pytest

from rlagent.base.stats import Series
from rlagent.config.command import parse_command
from rlagent.config.prepare import prepare
from rlagent.machine.resources import Machine
from rlagent.records.folder import RunFolder
from rlagent.records.objective import ranked
from rlagent.records.sweep_store import Sweep, SweepFolder, TrialRow
from rlagent.report import main, sweep_picture
from rlagent.report.importance import FEWEST, importance
from rlagent.report.parallel import parallel, scale
from rlagent.report.sweep import PNG, sweep_text, write_sweep_report
from rlagent.report.sweep_data import TrialData, groups_of, in_order, load_sweep, over_seeds
from rlagent.report.sweep_names import log_keys, shared_words
from rlagent.report.sweep_page import sweep_page
from rlagent.sweep import grid
from rlagent.sweep import main as sweep_main
from rlagent.sweep.search.corners import check_corners
from rlagent.sweep.search.space import space_of
from rlagent.sweep.search.start import is_search
from tests.fabricated import HOSTILE
from tests.fabricated_sweep import fabricate_sweep
from tests.unit.test_report import Tags


def row(number, objective, state="finished", **params):
    overrides = [f"{key}={value}" for key, value in params.items()]
    return TrialRow(
        number, overrides, params, f"t{number}", f"../t{number}", state=state, objective=objective
    )


def test_the_page_of_a_sweep_holds_every_part(tmp_path):
    text = sweep_page(load_sweep(fabricate_sweep(tmp_path, trials=20)))
    for part in ("Learning curves", "least to most of the seeds", "Parallel coordinates",
                 "PED-ANOVA over 18", "out of memory: 1", "workflow error: 1", "18 finished",
                 "The best trial's command", "algorithm.lr=3e-4"):  # fmt: skip
        assert part in text, part


def test_each_trial_links_to_its_own_page_by_a_relative_address(tmp_path):
    folder = fabricate_sweep(tmp_path, trials=6)
    links = [a["href"] for t, a in Tags(sweep_page(load_sweep(folder))).found if t == "a"]
    # One of the two failed trials has written nothing at all.
    assert len(links) == 5
    assert all((folder.path / link).is_file() for link in links)


def test_links_of_a_page_that_is_written_elsewhere_lead_to_the_trials(tmp_path):
    folder = fabricate_sweep(tmp_path / "outputs", trials=6)
    out = tmp_path / "else" / "where" / "x.html"
    (tmp_path / "shelf").mkdir()
    (tmp_path / "else").symlink_to(tmp_path / "shelf")
    assert main([str(folder.path), "--out", str(out)]) == 0
    links = [a["href"] for t, a in Tags(out.read_text()).found if t == "a"]
    assert len(links) == 5
    assert all((out.parent / link).is_file() for link in links)


def test_the_page_asks_nothing_of_the_network(tmp_path):
    text = sweep_page(load_sweep(fabricate_sweep(tmp_path)))
    tags = Tags(text).found
    assert not [t for t, _ in tags if t in ("link", "img", "iframe", "object", "base")]
    assert not [a for _, a in tags if "src" in a or ":" in a.get("href", "")]
    assert "url(" not in text
    assert "@import" not in text


def test_markup_in_overrides_and_causes_stays_text(tmp_path):
    text = sweep_page(load_sweep(fabricate_sweep(tmp_path, hostile=True, failed=3)))
    tags = Tags(text).found
    assert HOSTILE not in text
    assert [tag for tag, _ in tags].count("script") == 1
    assert not [a for _, a in tags if any(key.startswith("on") for key in a)]


def test_secrets_on_the_command_line_are_hidden_in_every_format(tmp_path):
    folder = fabricate_sweep(tmp_path, trials=3, failed=0)
    sweep = folder.read()
    sweep.argv += ["+judge.api_key=sesame", "+judge={token: sesame}"]
    for trial in sweep.trials:
        trial.overrides.append("judge.key=sesame")
        trial.params["judge.key"] = "sesame"
    folder.write(sweep)
    assert "judge.api_key=(hidden)" in sweep_page(load_sweep(folder))
    for text in (
        sweep_page(load_sweep(folder)),
        *(sweep_text(folder, f) for f in ("markdown", "csv")),
    ):
        assert "sesame" not in text


def test_hostile_text_cannot_leave_its_cell_in_markdown(tmp_path):
    folder = fabricate_sweep(tmp_path, hostile=True)
    sweep = folder.read()
    sweep.trials[0].overrides = ["a=x|y\n# title"]
    folder.write(sweep)
    text = sweep_text(folder, "markdown")
    assert "a=x\\|y # title" in text
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert all(line.replace("\\|", "").count("|") == 10 for line in rows)


@pytest.mark.parametrize("trials", [0, 1, 50, pytest.param(500, marks=pytest.mark.slow)])
def test_a_sweep_of_any_size_has_a_page_of_reasonable_size(tmp_path, trials):
    folder = fabricate_sweep(tmp_path, trials=trials, failed=0, steps=10)
    write_sweep_report(folder, pytest.fail)
    text = folder.report_html.read_text()
    assert text.count("<tr") == trials + 1
    assert len(text) < 1_000_000


def test_trials_without_any_folder_or_measurement_are_still_shown(tmp_path):
    folder = SweepFolder(tmp_path / "sweep-s-1")
    trials = [row(0, None, "waiting", seed=1), row(1, None, "failed", seed=2)]
    folder.write(Sweep("sweep-s-1", "1", ["-m", "seed=1,2"], trials=trials, state="failed"))
    text = sweep_page(load_sweep(folder))
    assert "No trial has recorded eval/success" in text
    assert "No finished trial has an objective yet" in text
    assert "unknown: 1" in text
    assert "seed=2" in sweep_text(folder, "markdown")


def test_layouts_are_ranked_beside_the_estimate_and_stamped_when_logical(tmp_path):
    folder = fabricate_sweep(tmp_path, trials=8, layouts=True, failed=0)
    data = load_sweep(folder)
    assert [entry.layout for entry in data.layouts] == ["4x1+4", "2x2+4", "6x1+2", "2x1+6s2"]
    first = data.layouts[0]
    assert first.gpus == 8
    assert first.tokens_s_gpu == pytest.approx(first.tokens_s / 8, rel=0.01)
    assert first.estimate_s == pytest.approx(2.6)
    words = "on logical GPUs, a CPU in truth: timings say nothing about GPUs"
    assert words in sweep_page(data).split("<h2>Layouts</h2>")[1]
    assert words in sweep_text(folder, "markdown")


@pytest.mark.parametrize("key", ["hardware.engines", "hardware.trainer_gpus", "hardware"])
def test_layouts_are_ranked_by_whichever_key_of_hardware_they_were_swept(tmp_path, key):
    folder = fabricate_sweep(tmp_path, trials=8, layouts=True, failed=0)
    sweep = folder.read()
    for number, trial in enumerate(sweep.trials):
        del trial.params["hardware.layout"]
        trial.params[key] = number
    folder.write(sweep)
    assert len(load_sweep(folder).layouts) == 4
    for trial in sweep.trials:
        trial.params["model"] = trial.params.pop(key)
    folder.write(sweep)
    assert load_sweep(folder).layouts == []


def test_a_layout_on_a_machine_without_gpus_takes_none(tmp_path):
    trials = load_sweep(fabricate_sweep(tmp_path, trials=2, failed=0)).trials
    assert [(trial.gpus, trial.tokens_s_gpu) for trial in trials] == [(0, None), (0, None)]


def test_without_different_layouts_there_is_no_ranking_of_them(tmp_path):
    assert load_sweep(fabricate_sweep(tmp_path)).layouts == []


def test_curves_are_joined_over_seeds_at_the_steps_that_all_measured():
    one, other = Series("m", (0, 5, 10), (0.0, 0.2, 0.4)), Series("m", (0, 10), (0.2, 0.8))
    mean, band = over_seeds([("finished", one), ("finished", other)])
    assert mean.steps == (0, 10)
    assert mean.values == pytest.approx((0.1, 0.6))
    assert band == ((0.0, 0.2), (0.4, 0.8))
    short = Series("m", (0,), (0.9,))
    mean, band = over_seeds([("finished", one), ("failed", short)])
    assert (mean.steps, band) == ((0, 5, 10), ())


def trial_of(row, curve):
    return TrialData(row, {}, curve, Series("r", (), ()), None, None, 0, None)


@pytest.mark.parametrize("direction", ["maximize", "minimize"])
def test_curves_are_named_in_the_order_of_the_ranking(direction):
    sign = 1 if direction == "maximize" else -1
    rows = [row(0, sign * 0.9, "pruned", a=0), row(1, sign * 0.2, a=1), row(2, None, "failed", a=2),
            row(3, sign * 0.4, a=3), row(4, sign * 0.5, "pruned", a=4)]  # fmt: skip
    trials = [trial_of(each, Series("m", (0, 1), (0.1, 0.2))) for each in rows]
    sweep = Sweep("s", "i", [], direction=direction, trials=rows)
    order = [group.trials[0].row for group in groups_of(trials, sweep)]
    assert order == [*ranked(sweep), rows[2]]


def test_trials_stand_as_the_terminal_ranks_them_and_failed_ones_last(tmp_path):
    folder = SweepFolder(tmp_path / "sweep-s-1")
    states = [("failed", None), ("pruned", 0.25), ("waiting", None), ("finished", 0.5),
              ("pruned", 0.5), ("finished", None), ("failed", None)]  # fmt: skip
    trials = [row(n, value, state, a=f"v{n}") for n, (state, value) in enumerate(states)]
    folder.write(Sweep("sweep-s-1", "1", ["-m"], trials=trials, state="failed"))
    assert [t.row.number for t in in_order(load_sweep(folder))] == [3, 4, 1, 5, 2, 0, 6]
    page = sweep_page(load_sweep(folder)).split("<h2>Trials</h2>")[1]
    for text in (page, sweep_text(folder, "markdown").split("| place |")[1]):
        assert re.findall(r"(?<=a=v)\d(?= \||<)", text) == list("3415206")


def alike_sweep(root, steps=4, trials=3):
    """Trials whose curves have the same values."""
    folder = fabricate_sweep(root, trials=trials, failed=0, steps=5)
    sweep = folder.read()
    for trial in sweep.trials:
        trial.overrides, trial.objective = [f"lr={trial.number}"], 0.5
        lines = [
            json.dumps({"role": "explorer", "step": step, "attempt": 1, "time": 0.0,
                        "metrics": {"eval/success": 0.5, "rollout/reward/mean": 0.5}})
            for step in range(steps)
        ]  # fmt: skip
        folder.run_folder(trial).metrics_jsonl.write_text("\n".join(lines) + "\n")
    folder.write(sweep)
    return folder


def test_of_curves_with_equal_values_the_best_lies_on_top_and_the_others_show(tmp_path):
    page = sweep_page(load_sweep(alike_sweep(tmp_path)))
    chart = page.split("data-chart=")[1]
    drawn = re.findall(r'<path class="line c(\d)"(?: style="stroke-width:(\d+)")?', chart)
    assert drawn == [("3", "8"), ("3", ""), ("2", "5"), ("2", ""), ("1", "")]
    # The last dots of all are the best one's, as large as ever.
    assert re.findall(r'r="([\d.]+)"/><line class="cursor"', chart)[0] == "3.5"
    assert re.findall(r'<i class="c(\d)"', chart) == ["1", "2", "3"]


def test_curves_that_only_cross_keep_their_width(tmp_path):
    page = sweep_page(load_sweep(fabricate_sweep(tmp_path, trials=8, failed=0)))
    assert "<path" in page
    assert "stroke-width:" not in page.split("</style>")[1]


def test_the_picture_draws_the_best_of_equal_curves_on_top(tmp_path, monkeypatch):
    kept = []
    monkeypatch.setattr(sweep_picture, "title", lambda figure, name, about: kept.append(figure))
    sweep_picture.draw_sweep(load_sweep(alike_sweep(tmp_path)), tmp_path / "x.png")
    for axes in kept[0].axes:
        lines = [line for line in axes.lines if line.get_alpha() is None]
        drawn = {line.get_color(): (line.get_zorder(), line.get_linewidth()) for line in lines}
        orders, widths = zip(*(drawn[colour] for colour in sweep_picture.COLOURS[:3]), strict=True)
        assert orders[0] > orders[1] > orders[2]
        assert widths[0] < widths[1] < widths[2]


def test_the_picture_shows_equal_points_without_a_line_between_them(tmp_path, monkeypatch):
    kept = []
    monkeypatch.setattr(sweep_picture, "title", lambda figure, name, about: kept.append(figure))
    data = load_sweep(alike_sweep(tmp_path, steps=2))
    sweep_picture.draw_sweep(data, tmp_path / "x.png")
    objective = kept[0].axes[0]
    assert [line.get_linestyle() for line in objective.lines] == [":"] * 3
    sizes = [dots.get_sizes()[0] for dots in objective.collections]
    assert sizes == sorted(set(sizes))
    # Steps of training follow each other: their rewards are joined, and are no dots.
    assert not list(kept[0].axes[1].collections)


def test_a_pruned_seed_does_not_count_beside_a_finished_one():
    rows = [row(0, 0.9, "pruned", a=0, seed=1), row(1, 0.2, a=0, seed=2)]
    trials = [trial_of(each, Series("m", (0, 1), (0.1, 0.2))) for each in rows]
    (group,) = groups_of(trials, Sweep("s", "i", [], trials=rows))
    assert group.objective == 0.2


def test_the_picture_says_what_is_grey(tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr(sweep_picture, "title", lambda figure, name, about: said.append(about))
    for trials in (20, 8):
        folder = fabricate_sweep(tmp_path / str(trials), trials=trials, failed=0, steps=5)
        sweep_picture.draw_sweep(load_sweep(folder), tmp_path / "x.png")
    assert "20 trials; named: the best 4, grey: the others" in said[0]
    assert "grey" not in said[1]


def test_the_picture_names_logical_gpus_but_no_seconds(tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr(sweep_picture, "title", lambda figure, name, about: said.append(about))
    folder = fabricate_sweep(tmp_path, trials=4, layouts=True, failed=0, steps=5)
    sweep_picture.draw_sweep(load_sweep(folder), tmp_path / "x.png")
    assert said[0].endswith("; on logical GPUs, a CPU in truth")


def test_the_command_of_the_best_trial_leaves_out_what_was_swept():
    argv = ["-m", "+experiment=e", "run.fresh=true", "algorithm.lr=1e-4,3e-4", "+sweep=layouts",
            "sweep.retries=1", "hydra.sweeper.params={}", "hydra/sweeper=basic", "--config-dir",
            "mine", "model=tiny"]  # fmt: skip
    sweep = Sweep("s", "i", argv, parameters=["algorithm.lr"])
    kept = ["+experiment=e", "+sweep=layouts", "--config-dir", "mine", "model=tiny"]
    assert shared_words(sweep) == kept


def test_the_report_says_what_the_command_of_the_best_trial_does(tmp_path):
    folder = fabricate_sweep(tmp_path, trials=4)
    for text in (sweep_page(load_sweep(folder)), sweep_text(folder, "markdown")):
        assert "done already; with run.fresh=true added it is trained from scratch" in text


@pytest.mark.parametrize(
    "words",
    [
        ("hardware.logical_gpus=2", "+sweep=layouts"),
        ("+sweep=optuna_lr", "sweep.n_trials=3"),
        pytest.param(
            ("+sweep=optuna", "algorithm.lr=tag(log,interval(1e-5,1e-3))"), marks=pytest.mark.slow
        ),
        pytest.param(
            ("++algorithm.lr=1e-4,3e-4", "seed=1,2", "sweep.retries=1"), marks=pytest.mark.slow
        ),
    ],
)
def test_the_command_of_the_best_trial_is_that_very_trial(words):
    argv = ["-m", "+experiment=gsm8k_react", "hardware=cpu", *words]
    command, machine = parse_command(argv), Machine((), cores=2, memory_gib=16.0)
    base = command.draft(multirun=True)
    if is_search(base):
        space = space_of(command, base)
        names, trial = space.names, check_corners(command, machine, space, base.config.sweep)[0]
    else:
        planned = grid.plan(command, machine, base)
        names, trial = planned.parameters, planned.trials[-1]
    shared = shared_words(Sweep("s", "i", argv, parameters=list(names)))
    again = parse_command([*shared, *trial.differing])
    alone = prepare(again.draft(), machine, again.config_dirs)
    assert alone.trial_id == trial.trial_id
    assert alone.config.algorithm.total_steps == trial.resolved.config.algorithm.total_steps


@pytest.mark.parametrize("direction", ["maximize", "minimize"])
def test_the_parameter_that_decides_is_the_important_one(direction):
    sign = 1 if direction == "maximize" else -1
    rows = [
        row(9 * i + j, sign * (10.0 * i + 0.01 * ((i * 7 + j * 5) % 9)), a=i, b=j)
        for i in range(9) for j in range(9)
    ]  # fmt: skip
    found = importance(rows, ["b", "a"], direction)
    assert found.shares[0][0] == "a"
    assert sum(share for _, share in found.shares) == pytest.approx(1)


def test_too_few_trials_say_so_instead_of_showing_chance():
    few = [row(i, float(i), a=i) for i in range(FEWEST - 1)]
    assert "too few" in importance(few, ["a"]).note
    same = [row(i, 1.0, a=i) for i in range(FEWEST)]
    assert "same objective" in importance(same, ["a"]).note
    alike = [row(i, float(i), a=1) for i in range(FEWEST)]
    assert "No parameter differs" in importance(alike, ["a"]).note


def test_without_a_finished_trial_nothing_is_said_of_parameters(tmp_path):
    folder = fabricate_sweep(tmp_path, trials=3, failed=3)
    text = sweep_text(folder, "markdown")
    assert "No trial finished." in text
    assert "No parameter" not in text
    unmeasured = [row(0, None, a=1), row(1, float("nan"), a=2)]
    assert "No trial that finished has an objective" in importance(unmeasured, ["a"]).note


def test_parallel_coordinates_stand_one_value_of_any_kind():
    rows = [row(0, 0.5, a="x", b=1), row(1, 0.5, a=True, b=1)]
    assert parallel(rows, ["a", "b"], "m").count("<polyline") == 2
    assert parallel(rows[:1], ["a"], "m") == ""
    assert parallel(rows, ["b"], "m") == ""


def test_an_axis_is_logarithmic_where_it_spans_much_or_was_searched_so():
    wide, near = scale("lr", [1e-5, 1e-4, 1e-3]), scale("lr", [1e-4, 2e-4, 4e-4])
    assert wide.log
    assert wide.places["0.0001"] == pytest.approx(0.5)
    assert not near.log
    assert scale("lr", [1e-4, 2e-4, 4e-4], searched_log=True).places["0.0002"] == pytest.approx(0.5)
    assert not scale("x", [0, 1, 100], searched_log=True).log
    rows = [row(n, 0.5, lr=lr) for n, lr in enumerate((1e-4, 2e-4, 4e-4))]
    assert ">lr, log<" in parallel(rows, ["lr"], "m", {"lr"})
    assert ">lr<" in parallel(rows, ["lr"], "m")


def test_keys_searched_by_logarithm_are_known_from_the_command():
    argv = ["-m", "--config-dir", "x", "hydra.sweeper.params.a=tag(log,interval(1,3))",
            "b=interval(1,3)", "+c=tag(log,int(interval(1,3)))"]  # fmt: skip
    assert log_keys(argv) == {"a", "c"}


def test_blue_lines_are_spoken_of_only_where_there_are_some(tmp_path):
    few = sweep_page(load_sweep(fabricate_sweep(tmp_path / "few", trials=8, failed=0, steps=5)))
    many = sweep_page(load_sweep(fabricate_sweep(tmp_path / "many", trials=30, failed=0, steps=5)))
    assert ("blue:" in few, 'class="trial top"' in few) == (False, False)
    assert ("blue: the best tenth" in many, 'class="trial top"' in many) == (True, True)


def test_lines_stay_within_their_axis():
    figure = parallel([row(0, 0.9, a=1), row(1, 0.1, a=2)], ["a"], "m")
    ends = [float(y) for y in re.findall(r'class="axis".*? y1="([\d.]+)" y2="[\d.]+"', figure)]
    lines = [float(y) for points in re.findall(r'points="([^"]+)"', figure)
             for y in re.findall(r",([\d.]+)", points)]  # fmt: skip
    assert max(lines) < min(ends)


def test_csv_has_a_row_per_trial_and_a_column_per_parameter(tmp_path):
    rows = list(csv.DictReader(io.StringIO(sweep_text(fabricate_sweep(tmp_path), "csv"))))
    assert len(rows) == 12
    assert float(rows[0]["algorithm.lr"]) == 1e-5
    assert rows[-2]["failure"] == "out of memory"


def test_a_launcher_that_is_gone_makes_a_sweep_died(tmp_path):
    folder = fabricate_sweep(tmp_path, state="running")
    sweep = json.loads(folder.sweep_json.read_text())
    assert load_sweep(folder).state == "died"
    sweep["host"] = "elsewhere"
    folder.sweep_json.write_text(json.dumps(sweep))
    assert load_sweep(folder).state == "running"


def test_report_takes_the_name_or_id_of_a_sweep_and_every_format(tmp_path, capsys):
    folder = fabricate_sweep(tmp_path)
    assert main([folder.name, "--root", str(tmp_path)]) == 0
    assert folder.report_html.is_file()
    assert (folder.path / PNG).read_bytes().startswith(b"\x89PNG")
    capsys.readouterr()
    assert main(["0a1b2c3d", "--root", str(tmp_path), "--format", "csv"]) == 0
    assert capsys.readouterr().out.startswith("trial,trial_id")
    out = tmp_path / "out.md"
    assert main([str(folder.path), "--format", "markdown", "--out", str(out)]) == 0
    assert out.read_text().startswith("# sweep-gsm8k_react")


def test_a_trial_is_still_found_by_its_own_id(tmp_path, capsys):
    fabricate_sweep(tmp_path)
    assert main(["00000003", "--root", str(tmp_path), "--format", "markdown"]) == 0
    assert capsys.readouterr().out.startswith("# gsm8k_react-00000003")


def test_what_is_not_there_names_runs_and_sweeps(tmp_path, capsys):
    folder = fabricate_sweep(tmp_path)
    assert main(["nothing", "--root", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert folder.name in said
    assert RunFolder(tmp_path / "gsm8k_react-00000003").name.split("-")[0] in said


def test_a_sweep_writes_its_page_at_its_end_and_survives_that_it_cannot(tmp_path):
    said = []
    display = SimpleNamespace(message=said.append)
    folder = fabricate_sweep(tmp_path)
    sweep_main._write_report(folder, display)
    assert folder.report_html.is_file()
    assert said == []
    folder.sweep_json.write_text("{")
    sweep_main._write_report(folder, display)
    assert "could not be written" in said[0]
