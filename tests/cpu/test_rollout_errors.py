"""What fails in a rollout fails it alone, with its real cause in one line, or is its reward."""

import asyncio
import functools
import logging

import pytest
import random_model
from agentscope.tuner import JudgeOutput, WorkflowOutput
from rolled import kept_rollout

from rlagent.backends.embedded.engine.service import Service, ServiceOptions
from rlagent.base.texts import MOST
from rlagent.records.folder import RunFolder
from rlagent.trinity.workflow import RolloutError


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    folder = random_model.save(tmp_path_factory.mktemp("model"))
    service = Service(ServiceOptions(str(folder), "random", 256, max_response_tokens=8))
    service.start()
    yield service
    service.stop()


@pytest.fixture
def rollout(service, tmp_path):
    """Runs one rollout of a function as a runner does; returns its experiences."""
    return functools.partial(kept_rollout, service, tmp_path)


def errors(tmp_path) -> list[str | None]:
    return [row["error"] for row in RunFolder(tmp_path).rollouts.read()]


async def ask(model, text="hello"):
    await model([{"role": "user", "content": text}])


async def says_what_utf8_cannot(task, model):
    await ask(model, "tell \ud800")
    raise ValueError("bad \ud800 text")


async def waits_for_too_little(task, model):
    await ask(model)
    await asyncio.wait_for(asyncio.sleep(60), 0.01)


async def waits_for_too_long(task, model):
    await ask(model)
    await asyncio.sleep(60)


async def returns_text_as_a_metric(task, model):
    await ask(model)
    return WorkflowOutput(reward=1.0, metrics={"a": "x"})


async def returns_an_unchecked_metric(task, model):
    await ask(model)
    return WorkflowOutput.model_construct(reward=1.0, metrics={"a": [1]})


async def answers(task, model):
    await ask(model)
    return WorkflowOutput(reward=1.0, metrics={"seen \ud800": 2})


async def reads_its_key(task, model):
    await ask(model)
    return float(task["workflow_args"]["header"] == "Bearer sesame")


def judges_by_a_text(task, response):
    return JudgeOutput(reward=1.0, metrics={"b": "y"})


def judge_fails(task, response):
    raise ConnectionError("the judge is away") from OSError("no route")


@pytest.mark.parametrize(
    ("function", "options", "line"),
    [
        (says_what_utf8_cannot, {}, "ValueError: bad \\ud800 text"),
        (
            waits_for_too_long,
            {"timeout": 0.3},
            "TimeoutError: a rollout took longer than workflow.timeout=0.3 s",
        ),
        (
            returns_text_as_a_metric,
            {},
            "ValidationError: WorkflowOutput.metrics.a: Input should be a valid number, unable to "
            "parse string as a number, given 'x'",
        ),
        (
            returns_an_unchecked_metric,
            {},
            "WorkflowResultError: workflow returns_an_unchecked_metric returned the metric a=[1]; "
            "it must be a number",
        ),
        (
            answers,
            {"judge": judges_by_a_text},
            "ValidationError: JudgeOutput.metrics.b: Input should be a valid number, unable to "
            "parse string as a number, given 'y'",
        ),
        (
            answers,
            {"judge": judge_fails},
            "ConnectionError: the judge is away (from OSError: no route)",
        ),
    ],
)
def test_the_cause_of_a_failed_rollout_is_one_line(rollout, tmp_path, function, options, line):
    with pytest.raises(RolloutError) as raised:
        rollout(function, **options)
    assert str(raised.value) == line
    assert errors(tmp_path) == [line]


def test_a_reference_of_a_native_taskset_is_read_by_the_rollout_alone(
    rollout, tmp_path, monkeypatch
):
    monkeypatch.setenv("PLANTED", "sesame")
    given = {"header": "Bearer ${oc.env:PLANTED}"}
    (experience,) = rollout(reads_its_key, workflow_args=given)
    assert experience.reward == 1.0
    assert given == {"header": "Bearer ${oc.env:PLANTED}"}
    for file in tmp_path.rglob("*"):
        assert file.is_dir() or b"sesame" not in file.read_bytes(), file


def test_a_wait_of_the_agents_own_is_not_the_timeout_of_the_rollout(rollout):
    with pytest.raises(RolloutError, match=r"^TimeoutError") as raised:
        rollout(waits_for_too_little)
    assert "workflow.timeout" not in str(raised.value)


def test_megabytes_are_in_the_log_once_and_nowhere_else(rollout, tmp_path, caplog, monkeypatch):
    text = "x" * 10**6 + "the end"

    async def writes_a_lot(task, model):
        await ask(model)
        raise ValueError(text)

    # Trinity's loggers hand nothing on.
    log = logging.getLogger("seen")
    monkeypatch.setattr("trinity.common.workflows.workflow.get_logger", lambda *_: log)
    with caplog.at_level(logging.ERROR, logger="seen"), pytest.raises(RolloutError) as raised:
        rollout(writes_a_lot)
    assert caplog.text.count("the end") == 1
    assert len(str(raised.value)) <= MOST
    assert raised.value.__suppress_context__
    assert RunFolder(tmp_path).rollouts.activity() < 10_000


def test_a_metric_may_have_any_name(rollout, tmp_path):
    (experience,) = rollout(answers)
    assert experience.metrics["seen \\ud800"] == 2.0
    assert errors(tmp_path) == [None]


async def _until_refused(model):
    messages = []
    while True:
        messages.append({"role": "user", "content": "go on " * 40})
        await model(messages)


async def talks_for_ever(task, model):
    await _until_refused(model)


async def talks_for_ever_and_wraps(task, model):
    try:
        await _until_refused(model)
    except Exception as error:
        raise RuntimeError("gave up") from error


async def talks_for_ever_in_a_group(task, model):
    async with asyncio.TaskGroup() as group:
        group.create_task(_until_refused(model))


async def talks_for_ever_and_raises_another(task, model):
    try:
        await _until_refused(model)
    except Exception:
        seen = True
    raise KeyError(seen)


@pytest.mark.parametrize(
    "function",
    [
        talks_for_ever,
        talks_for_ever_and_wraps,
        talks_for_ever_in_a_group,
        talks_for_ever_and_raises_another,
    ],
)
def test_an_endless_conversation_earns_the_overlong_reward_however_it_is_reported(
    rollout, function
):
    experiences = rollout(function, overlong_reward=-0.5)
    assert {experience.reward for experience in experiences} == {-0.5}
    assert experiences[-1].metrics["overlong"] == 1.0


async def gets_over_a_refusal(task, model):
    try:
        await _until_refused(model)
    except Exception:
        return WorkflowOutput(reward=1.0)


def test_an_agent_that_gets_over_a_refusal_earns_its_reward_and_its_judge_may_fail(rollout):
    experiences = rollout(gets_over_a_refusal, overlong_reward=-0.5)
    assert {experience.reward for experience in experiences} == {1.0}
    with pytest.raises(RolloutError, match="the judge is away"):
        rollout(gets_over_a_refusal, overlong_reward=-0.5, judge=judge_fails)
