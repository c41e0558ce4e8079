"""The sweep folder reads back what was written to it."""

from rlagent.records.sweep_store import FINISHED, Sweep, SweepFolder, TrialRow


def trial(number, objective, state=FINISHED):
    return TrialRow(
        number,
        [f"seed={number}"],
        {"seed": number},
        trial_id=f"t{number}",
        folder=f"../run-t{number}",
        state=state,
        objective=objective,
    )


def test_a_sweep_is_read_back_as_it_was_written(tmp_path):
    sweep = Sweep("mine", "abc", ["-m", "seed=1,2"], trials=[trial(1, 0.5), trial(2, None)])
    folder = SweepFolder(tmp_path / "sweep-mine-abc")
    folder.write(sweep)
    assert folder.read() == sweep
    assert folder.run_folder(sweep.trials[0]).path == tmp_path / "run-t1"


def test_the_best_trial_is_a_finished_one_in_the_asked_direction():
    trials = [trial(1, 0.5), trial(2, 0.9, state="pruned"), trial(3, 0.7), trial(4, None)]
    assert Sweep("s", "i", [], trials=trials).best().number == 3
    assert Sweep("s", "i", [], direction="minimize", trials=trials).best().number == 1
    assert Sweep("s", "i", [], trials=trials[3:]).best() is None
