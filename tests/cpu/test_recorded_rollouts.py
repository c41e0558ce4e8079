"""A rollout's record: every call that it made, by agent, and what leads from it to its row."""

import asyncio
import hashlib
import json
from types import SimpleNamespace
from typing import Any

import pytest
import random_model
import torch
from trinity.buffer.operators.filters.reward_filter import MaskResponseTruncatedOperator
from trinity.common.config import GenerationConfig
from trinity.common.experience import EID, Experience

from rlagent.backends.embedded.engine.service import Service, ServiceOptions
from rlagent.records.calls import conversations
from rlagent.records.folder import RunFolder
from rlagent.trinity import recording
from rlagent.trinity.advantages import NoteAdvantages
from rlagent.trinity.trainer import unmasked
from rlagent.trinity.translate import CUT_RESPONSE
from rlagent.trinity.workflow import AgentWorkflow, RolloutError, Task
from tests.cpu.runs import AGENTS

LOGS_ITSELF = f"{AGENTS}/logging_agents.py:logs_itself"
ROW = {"set": "easy", "number": 3, "question": "What is 2 + 3?", "nested": {"a": [1, None]}}


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    folder = random_model.save(tmp_path_factory.mktemp("model"))
    service = Service(ServiceOptions(str(folder), "random", 512, max_response_tokens=8))
    service.start()
    yield service
    service.stop()


def rolled_out(
    service: Service,
    folder: RunFolder,
    function: str,
    row: dict,
    is_eval: bool = True,
    args: dict | None = None,
    **more,
) -> list:
    """Run the fourth rollout of a held-out task, row 17 of its split, with the weights of step 5;
    returns its experiences."""
    wrapper = SimpleNamespace(
        api_address=service.url,
        api_key=getattr(service, "key", None) or "none",
        config=SimpleNamespace(
            model_path="random", engine_type="embedded", enable_thinking=None, top_k=-1, seed=1
        ),
    )
    options = {
        "function": function,
        "args": {"log": str(folder.path / "log.jsonl"), **(args or {})},
        "run_folder": str(folder.path),
        "attempt": 2,
        "timeout": 60.0,
        **more,
    }
    task = Task(
        raw_task=row, is_eval=is_eval, batch_id="5/easy", task_id=9, workflow_args=options,
        index={"index": 17}, rollout_args=GenerationConfig(temperature=1.0, top_p=1.0),
    )  # fmt: skip

    async def run() -> list:
        recording._clients.clear()
        workflow = AgentWorkflow(task=task, model=wrapper)
        workflow.number, workflow.model_version = 3, 5
        try:
            return await workflow.run_async()
        finally:
            for client in recording._clients.values():
                await client.plain.close()
                await client.close()

    return asyncio.run(run())


def test_a_record_holds_every_call_by_agent_and_leads_to_the_row(service, tmp_path):
    folder = RunFolder(tmp_path)
    experiences = rolled_out(service, folder, LOGS_ITSELF, ROW)
    (row,) = folder.rollouts.read()
    where = {name: row[name] for name in ("phase", "step", "set", "attempt", "group", "run")}
    assert where == {
        "phase": "eval", "step": 5, "set": "easy", "attempt": 2, "group": 17, "run": 3
    }  # fmt: skip
    digest = hashlib.sha256(json.dumps(ROW, sort_keys=True).encode()).hexdigest()[:16]
    assert row["row"] == {"index": 17, "hash": digest}
    assert (row["model_version"], row["task"]) == (5, ROW)
    said = conversations(row)
    assert [(one.agent, one.calls) for one in said] == [
        ("first", 2), ("second", 2), (None, 1), (None, 1), (None, 1), (None, 1)
    ]  # fmt: skip
    # Two turns: asked, answered, asked again, answered again.
    assert [message["role"] for message in said[0].messages] == ["user", "assistant"] * 2
    counted = [call["prompt_tokens"] + call["response_tokens"] for call in row["calls"]]
    assert counted == [len(experience.tokens) for experience in experiences]
    assert {call["finish"] for call in row["calls"]} <= {"stop", "length"}
    for call, experience in zip(row["calls"], experiences, strict=True):
        assert call["logprobs"] == [round(x, 3) for x in experience.logprobs.tolist()]
        assert len(call["tokens"]) == call["response_tokens"]
        assert call["response"]["content"] in "".join(call["tokens"])


def test_a_workflows_metric_that_is_named_like_one_of_ours_is_reported_beside_it(service, tmp_path):
    experiences = rolled_out(service, RunFolder(tmp_path), LOGS_ITSELF, ROW)
    metrics = experiences[-1].metrics
    assert metrics["success"] == 0.0
    assert metrics["workflow/success"] == 3 / 7


def test_the_record_of_a_rollout_that_failed_holds_what_was_said_until_then(service, tmp_path):
    folder = RunFolder(tmp_path)
    with pytest.raises(Exception, match="row 4 is made to fail"):
        rolled_out(service, folder, LOGS_ITSELF, {**ROW, "number": 4})
    (row,) = folder.rollouts.read()
    assert "row 4 is made to fail" in row["error"]
    assert len(row["calls"]) == 8


def cut(experiences: list) -> list:
    return [each for each in experiences if each.truncate_status == CUT_RESPONSE]


def test_a_response_that_was_cut_is_trained_on_masked_or_its_rollout_is_left_out(service, tmp_path):
    def roll(name: str, **more) -> tuple[list, RunFolder]:
        folder = RunFolder(tmp_path / name)
        folder.make()
        return rolled_out(service, folder, LOGS_ITSELF, ROW, **more), folder

    trained, _ = roll("train", is_eval=False)
    assert cut(trained) == []
    assert trained[-1].metrics["truncated"] == 1.0
    marked, _ = roll("mask", is_eval=False, truncated="mask")
    masked, counted = MaskResponseTruncatedOperator().process(marked)
    assert counted["masked_truncated_count"] == len(cut(marked)) > 0
    assert unmasked(masked) == [each for each in marked if each not in cut(marked)]
    with pytest.raises(RolloutError, match=r"cut at model\.max_response_tokens"):
        roll("drop", is_eval=False, truncated="drop")
    # An evaluation trains on nothing.
    kept, _ = roll("eval", truncated="drop")
    assert len(kept) == len(trained)


def test_a_secret_that_a_workflow_is_given_by_reference_is_not_written(
    service, tmp_path, monkeypatch
):
    folder = RunFolder(tmp_path)
    secret = str(folder.path / "sesame.jsonl")
    monkeypatch.setenv("SESAME", secret)
    said = {**ROW, "question": f"the key is {secret}"}
    rolled_out(service, folder, LOGS_ITSELF, said, args={"log": "${oc.env:SESAME}"})
    kept = "".join(path.read_text() for path in folder.rollouts.path.rglob("*.jsonl"))
    assert "sesame" not in kept
    assert "the key is (hidden)" in kept


def test_advantages_of_a_group_are_noted_with_its_rollouts(tmp_path):
    store = RunFolder(tmp_path).rollouts
    for run in (0, 1, 2):
        store.append({"phase": "train", "step": 4, "group": 7, "run": run})

    def experience(run: int, call: int, advantages: Any, mask: list[int] | None) -> Experience:
        return Experience(
            eid=EID(batch=4, task=7, run=run, step=call),
            tokens=torch.arange(3),
            prompt_length=1,
            action_mask=None if mask is None else torch.tensor(mask),
            advantages=torch.tensor(advantages),
        )

    experiences = [
        experience(0, 0, [0.25, 0.25], [1, 1]),
        experience(0, 2, [0.0, 0.12345], [0, 1]),
        experience(1, 0, [-1.0, -0.5], [1, 1]),
        experience(1, 1, [-1.0, -1.0], [0, 0]),
        experience(1, 2, 0.5, None),
        Experience(eid=EID(batch=4, task=7, run=2), tokens=torch.arange(3), prompt_length=1),
    ]
    kept, metrics = asyncio.run(NoteAdvantages(store).process(experiences))
    assert (kept, metrics) == (experiences, {})
    assert [row.get("advantages") for row in store.read()] == [
        [0.25, None, 0.1235], [[-1.0, -0.5], None, 0.5], None
    ]  # fmt: skip
