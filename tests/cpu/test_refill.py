"""Steps without their dead groups, with Trinity's own filter, readers and advantages."""

import asyncio
import json
from types import SimpleNamespace

import pytest
import torch
from trinity.algorithm import ADVANTAGE_FN
from trinity.buffer.pipelines.experience_pipeline import ensure_v1_operator
from trinity.buffer.task_scheduler import get_taskset_scheduler
from trinity.common.config import Config, DataSelectorConfig, OperatorConfig, TasksetConfig
from trinity.common.experience import EID, Experience

from rlagent.base.groups import EQUAL
from rlagent.trinity import refill
from rlagent.trinity.explorer import AgentExplorer
from rlagent.trinity.rollout import InProcess, SlotScheduler, Status
from rlagent.trinity.translate import REFILL, WEIGHT
from tests.cpu.runs import run

BATCH = 3


def tasks(folder, rows: int):
    """Trinity's tasks of a file, in its order, read for one step."""
    folder.mkdir()
    lines = [json.dumps({"question": f"{n}?", "answer": str(n)}) for n in range(rows)]
    (folder / "train.jsonl").write_text("\n".join(lines) + "\n")
    config = Config()
    config.buffer.batch_size, config.buffer.total_steps = BATCH, 1
    made = TasksetConfig(name="train", path=str(folder), split="train", storage_type="file")
    made.batch_size, made.total_steps, made.repeat_times = BATCH, 1, 2
    made.default_workflow_type = "rlagent.trinity.workflow.AgentWorkflow"
    made.enable_progress_bar = False
    config.buffer.explorer_input.tasksets = [made]
    return config, get_taskset_scheduler({}, config)


def questions(found) -> list[str]:
    return [task.raw_task["question"] for task in found]


def test_further_tasks_are_those_behind_the_steps_own(tmp_path):
    async def read():
        _, taskset = tasks(tmp_path / "tasks", 8)
        refill.allow_more(taskset, 3)
        first = await taskset.read()
        more = await refill.read_more(taskset, 2, (1, 1, 3))
        return questions(first), questions(more), taskset.state_dict()

    first, more, state = asyncio.run(read())
    assert (first, more) == (["0?", "1?", "2?"], ["3?", "4?"])
    # A resumed run goes on behind them.
    assert state == [{"current_index": 5}]


def experiences(*groups: list[float]) -> list[Experience]:
    """Two model calls for each rollout of each group."""
    return [
        Experience(
            eid=EID(batch=1, task=task, run=run, step=step),
            tokens=torch.arange(4),
            prompt_length=2,
            logprobs=torch.zeros(2),
            reward=reward,
        )
        for task, group in enumerate(groups)
        for run, reward in enumerate(group)
        for step in range(2)
    ]


def test_a_group_without_spread_is_left_out_however_its_rewards_are_rounded():
    keeps = refill.LiveGroups(threshold=EQUAL, limit=2)
    left, _ = keeps.process(experiences([0.1] * 3, [0.0, 1.0, 0.1], [0.3]))
    assert {each.eid.task for each in left} == {1}
    assert len(left) == 6


@pytest.mark.parametrize("name", ["step_wise_grpo", "grpo", "opmd", "asymre", "rec", "gigpo"])
def test_a_step_of_which_nothing_is_left_has_no_advantages_either(name):
    operator = ensure_v1_operator(ADVANTAGE_FN.get(name)())
    left, _ = asyncio.run(operator.process([]))
    assert left == []


class _Slots(SlotScheduler):
    """The scheduler without its processes: a rollout's reward is known when it is scheduled."""

    def __init__(self, rewards):
        self._rewards = rewards
        self.pending_tasks, self.completed_tasks = {}, {}
        self.task_num_map, self.batch_is_eval_map = {1: 0}, {}
        self._changed, self._task_ended = asyncio.Event(), asyncio.Event()

    def _split_and_submit_tasks(self, tasks, batch_id):
        self.pending_tasks[batch_id] = _Pending()
        super()._split_and_submit_tasks(tasks, batch_id)
        for wrapper, _, place in self.pending_tasks.pop(batch_id):
            number = wrapper.task.task_id
            assert place < wrapper.sub_task_num == wrapper.total_runs == 2
            metrics = [{"reward": reward} for reward in self._rewards(number)]
            result = SimpleNamespace(status=Status(2, 2, metrics))
            self.completed_tasks.setdefault(1, {})[number] = result


class _Pending(list):
    def extendleft(self, runs):
        self.extend(runs)


def explored(tmp_path, rewards, limit: int) -> list[int]:
    """Numbers of the groups that the explorer explores for its first step."""
    config, taskset = tasks(tmp_path / "tasks", 20)
    operators = [OperatorConfig(REFILL, {"threshold": EQUAL, "limit": limit})]
    config.data_processor.experience_pipeline.operators = operators
    assert refill.limit_of(config) == limit
    refill.allow_more(taskset, limit)

    async def go() -> list[int]:
        slots = _Slots(rewards)
        ours = SimpleNamespace(rewards=slots.rewards)

        async def extend(step, tasks):
            slots.schedule(tasks, step)

        ours.extend_batch = extend
        explorer = AgentExplorer.__new__(AgentExplorer)
        explorer.config, explorer.taskset, explorer._refill_limit = config, taskset, limit
        explorer.rollout_coordinator = InProcess(ours)
        explorer._remember = lambda: None
        slots.schedule(await taskset.read(), 1)
        await explorer._refill(1)
        return sorted(slots.completed_tasks[1])

    return asyncio.run(go())


def test_a_step_is_refilled_until_it_has_its_groups(tmp_path):
    # Every third group says something.
    found = explored(tmp_path, lambda n: [0.0, float(n % 3 == 0)], limit=4)
    assert len([n for n in found if n % 3 == 0]) >= BATCH
    assert found == list(range(len(found)))
    assert len(found) <= 4 * BATCH


def test_a_step_whose_groups_all_say_nothing_ends_at_the_limit(tmp_path):
    assert explored(tmp_path, lambda n: [1.0, 1.0], limit=2) == list(range(2 * BATCH))


def test_a_step_of_which_every_rollout_failed_is_not_refilled(tmp_path):
    assert explored(tmp_path, lambda n: [], limit=4) == list(range(BATCH))


@pytest.mark.slow
@pytest.mark.timeout(1300)
@pytest.mark.parametrize(
    ("filters", "groups", "trained"),
    [("keep", 4.0, True), ("drop", 4.0, False), ("refill", 8.0, False)],
)
def test_a_run_whose_groups_are_all_equal_ends_with_what_is_left_to_train_on(
    tmp_path, filters, groups, trained
):
    limit = ["algorithm.refill_limit=2"] if filters == "refill" else []
    result = run(
        tmp_path,
        "workflow.function=signal_agents:equal_in_a_group",
        f"algorithm.filter_groups={filters}",
        *limit,
        "algorithm.total_steps=3",
        timeout=1200,
    )
    assert result.returncode == 0, result.output
    assert result.status["steps_trained"] == 3
    assert set(result.series("rollout/groups", "explorer").values()) == {groups}
    assert set(result.series("rollout/dead_share", "explorer").values()) == {1.0}
    made = result.series("sample/experiences", "trainer")
    assert all(bool(number) is trained for number in made.values()), made
    assert "dead groups 100" in result.output


def test_several_tasksets_are_read_by_their_weights(tmp_path):
    config, _ = tasks(tmp_path / "first", 200)
    other, _ = tasks(tmp_path / "second", 20)
    config.buffer.batch_size, config.buffer.total_steps = 20, 10
    sets = [*config.buffer.explorer_input.tasksets, *other.buffer.explorer_input.tasksets]
    for one, weight in zip(sets, (1.0, 3.0), strict=True):
        one.batch_size, one.total_steps = 20, 10
        one.data_selector = DataSelectorConfig("shuffle", kwargs={WEIGHT: weight})
    config.buffer.explorer_input.tasksets = sets
    taskset = get_taskset_scheduler({}, config)
    refill.weigh(taskset, config)

    async def read() -> list[int]:
        steps = [await taskset.read() for _ in range(10)]
        return [task.index["taskset_id"] for step in steps for task in step]

    found = asyncio.run(read())
    assert len(found) == 200
    assert 0.6 < found.count(1) / 200 < 0.9
