"""Every rollout is kept, whoever writes, packs, is killed or damages files meanwhile."""

import gzip
import json
import math
import multiprocessing
import os
import stat

import pytest

from rlagent.config.resolve import resolve
from rlagent.launch.signals import Signals
from rlagent.launch.watch import Watch
from rlagent.machine.resources import Machine
from rlagent.records.calls import Call, compact
from rlagent.records.display import Display
from rlagent.records.files import append_row
from rlagent.records.folder import RunFolder
from rlagent.records.rollouts import Batch, Query, RolloutStore, head_of
from rlagent.records.rollouts.keeper import Keeper
from rlagent.records.rollouts.thin import next_step
from tests.configured import configured


@pytest.fixture
def store(tmp_path):
    return RolloutStore(tmp_path / "run" / "rollouts")


def row(step=1, group=0, run=0, phase="train", **fields):
    return {"phase": phase, "step": step, "group": group, "run": run, **fields}


def places(store, query=Query()):  # noqa: B008 - frozen
    return [(r["phase"], r["step"], r["group"], r["run"]) for r in store.read(query)]


def test_rollouts_are_read_by_step_and_task_packed_or_not(store):
    for step, group in [(2, 1), (1, 10), (2, 0), (1, 9)]:
        store.append(row(step, group))
    expected = [("train", 1, 9, 0), ("train", 1, 10, 0), ("train", 2, 0, 0), ("train", 2, 1, 0)]
    assert places(store) == expected
    assert store.seal(until=1) == [(1, "train")]
    assert [path.name for path in sorted(store.path.rglob("train*"))] == [
        "train-000002.jsonl", "train-000001.jsonl.gz"
    ]  # fmt: skip
    assert places(store) == expected
    store.seal()
    assert places(store) == expected
    assert store.activity() == 0


def test_of_a_rollout_that_a_resume_repeats_the_last_is_read(store):
    store.append(row(group=4, reward=None))
    store.append(row(group=5, reward=None))
    store.seal()
    store.append(row(group=4, reward=0.5))
    store.append(row(group=4, reward=1.0))
    for _ in range(2):
        assert [(r["group"], r["reward"]) for r in store.read()] == [(4, 1.0), (5, None)]
        assert [head.reward for head in store.heads()] == [1.0, None]
        store.seal()


def test_rollouts_of_other_sets_and_other_rollouts_of_a_task_are_not_repeats(store):
    for name in ("easy", "hard"):
        for run in (0, 1):
            store.append(row(0, 0, run, "eval", set=name))
    assert [(r["set"], r["run"]) for r in store.read()] == [
        ("easy", 0), ("easy", 1), ("hard", 0), ("hard", 1)
    ]  # fmt: skip


def test_what_a_row_holds_comes_back_with_numbers_that_json_lacks_and_texts_that_utf8_lacks(store):
    written = row(task={"a\ud800": ["\udfff", "\u2028\r\n"]}, metrics={"a": math.nan, "b": -1})
    store.append(written)
    for _ in range(2):
        (found,) = store.read()
        assert found["task"] == {"a\\ud800": ["\\udfff", "\u2028\r\n"]}
        assert math.isnan(found["metrics"]["a"])
        assert found["metrics"]["b"] == -1.0
        assert found["time"] > 1.7e9
        store.seal()


def test_only_the_owner_may_read_them(store):
    store.append(row())
    store.seal()
    store.append(row(2))
    for path in store.path.rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path
    assert stat.S_IMODE(store.path.stat().st_mode) == 0o700


def test_zcat_shows_lines_of_json_the_heads_first(store):
    store.append(row(reward=1.0))
    store.seal()
    packed = store.segment_file(store.batches()[0]).read_bytes()
    first, second = gzip.decompress(packed).splitlines()
    assert json.loads(first)["heads"]["reward"] == [1.0]
    assert json.loads(second)["reward"] == 1.0


def _append_many(path, process):
    for number in range(150):
        RolloutStore(path).append(row(number % 3, process, number))


def test_nothing_is_lost_while_several_processes_append_and_one_packs(store):
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=_append_many, args=(store.path, n)) for n in range(3)]
    for writer in writers:
        writer.start()
    seen: set = set()
    while any(writer.is_alive() for writer in writers):
        store.seal()
        # A reader meanwhile finds each once, and those that it found before.
        found = places(RolloutStore(store.path))
        assert len(set(found)) == len(found)
        assert seen <= set(found)
        seen = set(found)
    store.seal()
    assert len(places(store)) == 450


def test_a_rollout_that_is_written_while_its_step_is_packed_is_written_again(store, monkeypatch):
    write = os.write

    def packed_first(descriptor, data):
        monkeypatch.undo()
        # Nothing yet: the writer has just opened the file.
        store.seal()
        return write(descriptor, data)

    monkeypatch.setattr(os, "write", packed_first)
    store.append(row())
    assert places(store) == [("train", 1, 0, 0)]


def test_a_step_that_is_packed_while_steps_are_listed_is_listed(store, monkeypatch):
    store.append(row())
    listed = os.scandir

    def packed_before_the_second(folder):
        found = list(listed(folder))
        monkeypatch.undo()
        store.seal()
        return found

    monkeypatch.setattr(os, "scandir", packed_before_the_second)
    assert store.batches() == [(1, "train")]


def test_a_line_torn_by_a_kill_costs_only_itself(tmp_path):
    folder = RunFolder(tmp_path)
    folder.new_attempt()
    folder.rollouts.append(row())
    with (folder.rollouts.path / "open" / "train-000001.jsonl").open("a") as file:
        file.write('{"phase": "train", "st')
    assert places(folder.rollouts) == [("train", 1, 0, 0)]
    folder.new_attempt()
    folder.rollouts.append(row(group=1))
    assert places(folder.rollouts) == [("train", 1, 0, 0), ("train", 1, 1, 0)]


def test_what_a_packer_that_was_killed_left_is_read_and_packed(store):
    store.append(row())
    path = store.path / "open" / "train-000001.jsonl"
    path.rename(path.with_name("train-000001.17.jsonl"))
    store.append(row(group=1))
    assert len(places(store)) == 2
    store.seal()
    assert len(places(store)) == 2
    assert list((store.path / "open").iterdir()) == []


def _flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) * 3 // 4] ^= 0xFF
    path.write_bytes(content)


@pytest.mark.parametrize(
    "damage",
    [
        _flip,
        lambda path: os.truncate(path, path.stat().st_size // 2),
        lambda path: os.truncate(path, 20),
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"[]"),
        lambda path: path.write_bytes(gzip.compress(b"[]\n")),
        lambda path: path.write_bytes(gzip.compress(b'{"format": 99}\n')),
    ],
)
def test_a_damaged_segment_is_named_and_the_others_are_read(store, damage):
    for step in (1, 2):
        for group in range(20):
            store.append(row(step, group, reward=1.0, task={"question": f"{group} + {step}?"}))
    store.seal()
    path = store.segment_file(store.batches()[0])
    damage(path)
    assert {place[1] for place in places(store)} == {2}
    assert list(store.damaged) == [path]
    assert store.damaged[path]
    # What comes later is kept beside it.
    store.append(row(1, 5))
    store.seal()
    assert len(places(store)) == 21
    assert path.with_name(path.name + ".damaged").exists()


def test_rollouts_that_an_earlier_version_kept_are_read_beside_those_of_this_one(tmp_path):
    folder = RunFolder(tmp_path)
    said = [{"role": "user", "content": "Who?"}]
    for index in (0, 1):
        old = {"phase": "eval", "step": 0, "task_index": index, "run": 0}
        append_row(tmp_path / "trajectories.jsonl", {**old, "messages": said, "calls": 1})
    append_row(tmp_path / "trajectories.jsonl", {"phase": "eval", "step": 3, "task": "\ud800"})
    folder.rollouts.append(row(0, 2, phase="eval"))
    folder.rollouts.seal()
    expected = [(0, 0), (0, 1), (0, 2), (3, 0)]
    assert [(r["step"], r.get("group", 0)) for r in folder.rollouts.read()] == expected
    assert [head.turns for head in folder.rollouts.heads()] == [1, 1, 0, 0]


def test_a_head_holds_what_filters_compare():
    question = {"role": "user", "content": "What is 1 + 1?"}
    asked = {"role": "assistant", "tool_calls": [{"function": {"name": "calculator"}}]}
    result = {"role": "tool", "name": "calculator", "content": "2"}
    answer = {"role": "assistant", "content": "It is 2."}
    tools = [{"function": {"name": name}} for name in ("calculator", "search")]
    calls = compact(
        [
            Call([question], asked, "solver", tools, 10, 5),
            Call([question, asked, result], answer, "solver", tools, 20, 7),
        ]
    )
    head = head_of(
        row(5, 3, 2, set="easy", reward=0.5, success=False, error=None, calls=calls, attempt=2,
            task={"question": "What\nis \x1b[31m1 + 1?"}, row={"index": 7, "hash": "ab12"},
            model_version=3)
    )  # fmt: skip
    assert head == ("train", 5, "easy", 3, 2, 7, "ab12", "What is 1 + 1?", 0.5, False, None, 3, 1,
                    2, 12, ("calculator",), 2, None)  # fmt: skip
    assert head_of(row(5, phase="eval", model_version=3)).lag is None
    assert head_of(row(0, phase="train", model_version=0)).lag is None


def test_the_driver_has_steps_packed_and_hears_of_a_disk_that_is_full(store, monkeypatch):
    keeper = Keeper(store)
    store.append(row(1))
    store.append(row(2))

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("rlagent.records.rollouts.store.write_atomically", full)
        keeper.step_ended(1)
        keeper._works[0].exception()
        (line,) = keeper.news()
    assert "No space left" in line
    keeper.step_ended(1)
    assert keeper.close() == []
    assert keeper.close() == []
    assert sorted(store.sealed()) == [(1, "train"), (2, "train")]
    assert len(places(store)) == 2


def test_the_oldest_training_steps_are_given_up_first_and_the_outer_evaluations_never():
    sizes = dict.fromkeys(
        [Batch(0, "eval"), Batch(1, "train"), Batch(2, "eval"), Batch(2, "train"),
         Batch(3, "train"), Batch(4, "eval")], 1
    )  # fmt: skip
    thinned: set = set()
    given_up = []
    while (step := next_step(sizes, thinned)) is not None:
        given_up.append((*step.batch, step.keep))
        thinned.add(step.batch)
        if not step.keep:
            del sizes[step.batch]
    assert given_up == [
        (1, "train", 8), (2, "train", 8), (1, "train", 0), (2, "train", 0), (2, "eval", 0),
        (3, "train", 8), (3, "train", 0),
    ]  # fmt: skip
    assert sorted(sizes) == [(0, "eval"), (4, "eval")]


def test_rollouts_stay_within_their_bound_which_is_said_once_when_it_is_reached(store):
    def keep(keeper, step):
        for group in range(64):
            store.append(row(step, group, task={"question": os.urandom(500).hex()}))
        keeper.step_ended(step)
        keeper._works[-1].result()
        return keeper.news()

    bound = 110_000 / 2**30
    keeper = Keeper(store, bound)
    said = [keep(keeper, step) for step in range(1, 6)]
    assert [len(lines) for lines in said] == [0, 0, 1, 0, 0]
    assert "run.rollouts_gib" in said[2][0]
    assert "8 each" in said[2][0]
    keeper.close()
    # Another attempt goes on with it.
    keep(Keeper(store, bound), 6)
    assert sum(store.sealed().values()) <= 110_000
    kept = [len(list(store.heads(Query("train", (step, step))))) for step in range(1, 7)]
    assert kept == [8, 8, 8, 8, 64, 64]
    assert store.thinned[Batch(1, "train")] == (8, 64)
    assert [place[2] for place in places(store, Query("train", (1, 1)))] == list(range(0, 64, 8))


def test_a_damaged_segment_does_not_keep_the_others_from_being_thinned(store):
    for step in (1, 2, 3):
        for group in range(20):
            store.append(row(step, group))
    store.seal()
    _flip(store.segment_file(Batch(1, "train")))
    keeper = Keeper(store, 0.0)
    lines = keeper.close()
    assert any("train-000001" in line for line in lines)
    assert store.sealed() == {}


def test_what_becomes_known_later_joins_the_rollout_that_it_is_of(store):
    batch = Batch(1, "train")
    store.append(row(1, 0, reward=1.0))
    store.join(batch, [{"group": group, "run": 0, "advantages": [0.5]} for group in (0, 9)])
    for _ in range(2):
        assert [(r["reward"], r["advantages"]) for r in store.read()] == [(1.0, [0.5])]
        store.seal()
    store.join(batch, [{"group": 0, "run": 0, "advantages": [0.7]}])
    assert [r["advantages"] for r in store.read()] == [[0.7]]
    # A resume explores the step again: nothing of the attempt before stays with it.
    store.append(row(1, 0, reward=0.0))
    store.seal()
    assert [(r["reward"], r.get("advantages")) for r in store.read()] == [(0.0, None)]


def test_a_run_packs_the_rollouts_of_steps_that_ended_and_says_when_their_room_is_full(tmp_path):
    class Said(Display):
        lines: list = []

        def message(self, line):
            self.lines.append(line)

    folder, said = RunFolder(tmp_path), Said()
    attempt = folder.new_attempt()
    resolved = resolve(configured("run.rollouts_gib=0"), Machine((), 2, 24))
    watch = Watch(resolved, folder, attempt, said, Signals())
    for step in (0, 1, 2):
        folder.rollouts.append(row(step, phase="train" if step else "eval"))
    assert watch.tick(), "a rollout that ends is a sign of progress"
    folder.append_metrics("explorer", 1, {"rollout/rollouts": 1.0})
    watch.look()
    watch.close()
    assert folder.rollouts.activity() == 0
    assert folder.rollouts.batches() == [(0, "eval")]
    assert said.lines
    assert all("run.rollouts_gib=0: of the oldest training" in line for line in said.lines)
