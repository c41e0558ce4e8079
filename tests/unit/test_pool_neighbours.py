"""Sweeps beside each other on one machine: what trials of one have, another does not give out."""

import contextlib
import io
import os
import shutil
import socket
from pathlib import Path

import pytest

from rlagent.base.lock import locked
from rlagent.base.process import start_ticks
from rlagent.records.find import sweep_folders
from rlagent.records.folder import RunFolder
from rlagent.records.sweep_store import Sweep, SweepFolder, TrialRow
from rlagent.sweep.grid import GridSource
from rlagent.sweep.live_table import PlainLines
from rlagent.sweep.neighbours import Neighbours
from rlagent.sweep.options import Options
from rlagent.sweep.pool import _Pool, run_sweep
from rlagent.sweep.shares import Ledger, Resources, Share
from rlagent.sweep.source import Need, Trial
from tests import stand_in

TAKES = Need(2, 3, 4.0)


def neighbour(root: Path, **launcher) -> SweepFolder:
    """A sweep beside ours with one trial that has something; launched by this process."""
    folder = SweepFolder(root / "outputs" / "sweep-theirs")
    row = TrialRow(0, [], {}, "0123abcd", "../theirs-0123abcd", state="running")
    row.gpu_ids, row.cores, row.memory_gib = ["4", "5"], 3, 4.0
    here = {"pid": os.getpid(), "pid_ticks": start_ticks(os.getpid()), "host": socket.gethostname()}
    folder.write(Sweep("sweep-theirs", "t", [], trials=[row], **{**here, **launcher}))
    return folder


def ours(root: Path) -> SweepFolder:
    return SweepFolder(root / "outputs" / "sweep-ours")


def test_what_a_launcher_that_lives_has_noted_is_taken_until_it_is_let_go(tmp_path) -> None:
    theirs, neighbours = neighbour(tmp_path), Neighbours(ours(tmp_path))
    assert neighbours.held(()) == [("sweep-theirs", ["4", "5"], TAKES)]
    sweep = theirs.read()
    sweep.trials[0].let_go()
    theirs.write(sweep)
    assert neighbours.held(()) == []


def test_of_a_launcher_that_is_gone_only_trials_that_live_count(tmp_path) -> None:
    theirs, neighbours = neighbour(tmp_path, pid=None, pid_ticks=None), Neighbours(ours(tmp_path))
    assert neighbours.held(()) == []
    RunFolder(tmp_path / "outputs" / "theirs-0123abcd").write_status(
        state="running", pid=os.getpid()
    )
    assert neighbours.held(()) == [("sweep-theirs", ["4", "5"], TAKES)]
    # The same trial, which now is ours.
    assert neighbours.held({"0123abcd"}) == []
    assert Neighbours(theirs).held(()) == []


def test_a_sweep_of_another_machine_takes_nothing(tmp_path) -> None:
    neighbour(tmp_path, host="elsewhere")
    assert Neighbours(ours(tmp_path)).held(()) == []


@pytest.mark.parametrize("text", ["{", "[]", '{"trials": [{"new": 1}]}'])
def test_a_sweep_that_cannot_be_read_may_have_any_gpu_as_long_as_its_launcher_lives(
    tmp_path, text
) -> None:
    theirs, neighbours = neighbour(tmp_path), Neighbours(ours(tmp_path))
    assert neighbours.held(()) == [("sweep-theirs", ["4", "5"], TAKES)]
    theirs.sweep_json.write_text(text)
    ledger = Ledger(Resources(("4", "6"), 4, 9.0))
    with locked(theirs.path):
        ledger.count_others(neighbours.held(()))
        assert ledger.waits_for(Need(1, 1, 1.0)) == (
            "1 GPU (0 free), shared with sweep-theirs (its sweep.json cannot be read)"
        )
        assert ledger.waits_for(Need(0, 1, 1.0)) == ""
    ledger.count_others(neighbours.held(()))
    assert ledger.free_gpus == ("4", "6")


def test_a_sweep_that_is_kept_elsewhere_counts_by_the_link_to_it_and_once(tmp_path) -> None:
    theirs, neighbours = neighbour(tmp_path), Neighbours(ours(tmp_path))
    elsewhere = tmp_path / "elsewhere"
    theirs.path.rename(elsewhere)
    theirs.path.symlink_to(elsewhere)
    theirs.path.with_name("sweep-zzz").symlink_to(theirs.path.name)
    assert neighbours.held(()) == [("sweep-theirs", ["4", "5"], TAKES)]


def test_a_sweep_that_vanishes_while_it_is_looked_at_takes_nothing(tmp_path, monkeypatch) -> None:
    theirs, look = neighbour(tmp_path), Path.stat

    def and_gone(path: Path, **given) -> os.stat_result:
        found = look(path, **given)
        if path == theirs.sweep_json:
            shutil.rmtree(theirs.path)
        return found

    monkeypatch.setattr(Path, "stat", and_gone)
    assert len(sweep_folders(tmp_path / "outputs")) <= 1
    assert not theirs.path.exists()
    neighbour(tmp_path)
    assert Neighbours(ours(tmp_path)).held(()) == []
    assert not theirs.path.exists()


def test_others_have_gpus_cores_and_memory_but_no_place_among_our_trials() -> None:
    ledger = Ledger(Resources(("4", "6"), 4, 9.0, most=1))
    ledger.count_others([("sweep-theirs", ["4", "5"], TAKES)])
    assert ledger.free_gpus == ("6",)
    assert ledger.waits_for(Need(2, 1, 6.0)) == (
        "2 GPUs (1 free) and 6.0 GiB of memory (4.0 free), shared with sweep-theirs"
    )
    assert ledger.take("a", Need(1, 1, 1.0)) == Share(("6",), 1)
    ledger.give_back("a")
    ledger.count_others([])
    assert ledger.waits_for(Need(2, 1, 6.0)) == ""


def test_logical_gpus_are_each_sweeps_own() -> None:
    ledger = Ledger(Resources(("logical-0",), 8, 64.0, kind="logical GPU"))
    ledger.count_others([("sweep-theirs", ["logical-0"], Need(1, 2, 3.0))])
    assert ledger.free_gpus == ("logical-0",)
    assert ledger.waits_for(Need(1, 7)) == "7 CPU cores (6 free), shared with sweep-theirs"


class LetsGo(PlainLines):
    """Ends the trial of the other sweep once ours is said to wait for it."""

    def __init__(self, theirs: SweepFolder) -> None:
        self.text, self.theirs = io.StringIO(), theirs
        super().__init__(self.text)

    def update(self, sweep: Sweep, running) -> None:
        super().update(sweep, running)
        if any("sweep-theirs" in row.waits_for for row in sweep.trials):
            other = self.theirs.read()
            other.trials[0].let_go()
            self.theirs.write(other)


@pytest.mark.parametrize(
    ("need", "words"),
    [
        (Need(1, 1, 1.0), "waits for 1 GPU (0 free), shared with sweep-theirs"),
        (Need(0, 2, 1.0), "waits for 2 CPU cores (1 free), shared with sweep-theirs"),
    ],
)
def test_a_trial_waits_for_what_another_sweep_has_and_then_runs(tmp_path, need, words) -> None:
    display = LetsGo(neighbour(tmp_path))
    trials = [stand_in.trial(tmp_path, 0, need=need)]
    sweep = Sweep("sweep-ours", "o", [])
    options = Options(argv=stand_in.argv, env=stand_in.environment(), lookahead=1)
    resources = Resources(("5",), 4, 64.0)
    source = GridSource(trials)
    assert run_sweep(ours(tmp_path), sweep, source, resources, options, display) == 0
    assert f"trial 1 (seed=0) {words}" in display.text.getvalue()


def pool_of(root: Path, name: str) -> tuple[_Pool, Trial, TrialRow]:
    """A launcher that lives, and a trial of its own that needs the only GPU there is."""
    trial = stand_in.trial(root, 0, f"wait:{name}", need=Need(1, 1, 1.0))
    folder = SweepFolder(root / "outputs" / name)
    options = Options(argv=stand_in.argv, env=stand_in.environment())
    display, source = PlainLines(io.StringIO()), GridSource([])
    resources = Resources(("7",), 8, 64.0)
    pool = _Pool(folder, Sweep(name, name, []), source, resources, options, display)
    pool.rows.begin()
    return pool, trial, pool.rows.of(trial)


def test_of_two_launchers_that_look_in_the_same_instant_one_gets_the_gpu(
    tmp_path, monkeypatch
) -> None:
    one, *of_one = pool_of(tmp_path, "sweep-one")
    other, *of_other = pool_of(tmp_path, "sweep-other")
    look, got = one.neighbours.held, []

    def look_and_be_overtaken(held_by_us):
        found = look(held_by_us)
        # Between the look and the note of one, the other wants the same.
        got.append(other._take(*of_other))
        return found

    monkeypatch.setattr(one.neighbours, "held", look_and_be_overtaken)
    got.append(one._take(*of_one))
    got.append(other._take(*of_other))
    assert got == [None, Share(("7",), 1), None]
    assert other.ledger.waits_for(Need(1)) == "1 GPU (0 free), shared with sweep-one"
    # What is noted is on disk before any process of it runs.
    assert one.folder.read().trials[0].gpu_ids == ["7"]
    assert not one.running


class Releases(PlainLines):
    """Lets other launchers choose at the first tick; remembers of each start whether it had."""

    def __init__(self, held: contextlib.ExitStack) -> None:
        super().__init__(io.StringIO(), silent=True)
        self.held, self.released, self.starts = held, False, []

    def started(self, row: TrialRow, resumed: bool, log: Path) -> None:
        self.starts.append(self.released)

    def update(self, sweep: Sweep, running) -> None:
        self.held.close()
        self.released = True


def test_a_trial_starts_once_the_other_launcher_has_noted_what_it_takes(tmp_path) -> None:
    theirs = Neighbours(SweepFolder(tmp_path / "outputs" / "sweep-theirs"))
    with contextlib.ExitStack() as held:
        assert held.enter_context(theirs.kept_out())
        display = Releases(held)
        sweep, source = Sweep("sweep-ours", "o", []), GridSource([stand_in.trial(tmp_path, 0)])
        options = Options(argv=stand_in.argv, env=stand_in.environment())
        resources = Resources((), 8, 64.0)
        assert run_sweep(ours(tmp_path), sweep, source, resources, options, display) == 0
    assert display.starts == [True]


def test_launchers_of_several_people_keep_each_other_out(tmp_path, monkeypatch) -> None:
    one, other = Neighbours(ours(tmp_path)), Neighbours(ours(tmp_path))
    with one.kept_out() as alone, monkeypatch.context() as patch:
        opened = Path.open

        def of_another_person(path: Path, mode: str = "r", **given):
            if mode == "w":
                raise PermissionError(path)
            return opened(path, mode, **given)

        patch.setattr(Path, "open", of_another_person)
        with other.kept_out() as both:
            assert (alone, both) == (True, False)
