"""A run on given conversations: what it may be asked for, and what it is planned as."""

import json
from dataclasses import replace

import pytest

from rlagent.base.errors import ConfigError
from rlagent.config import wrong_rows
from rlagent.config.check import check
from rlagent.config.conversations import conversation, file_problems
from rlagent.config.identity import identity
from rlagent.config.over_run import over_run
from rlagent.config.resolve import resolve
from rlagent.config.task_files import scan
from rlagent.machine.resources import GPU, Machine
from rlagent.planner.layout import Layout
from rlagent.records.progress import Progress
from rlagent.records.summary import loss_lines
from rlagent.trinity.kept_tasks import write_held_out
from rlagent.trinity.translate import to_trinity
from tests.configured import configured, drafted

CPU = Machine((), 4, 16.0)
SAID = {"messages": [{"role": "user", "content": "2?"}, {"role": "assistant", "content": "2"}]}


@pytest.fixture
def file(tmp_path):
    found = tmp_path / "conversations.jsonl"
    found.write_text("".join(json.dumps({**SAID, "n": n}) + "\n" for n in range(40)))
    return found


def learning(file, *overrides, hardware="cpu"):
    return configured(
        "algorithm=sft",
        "dataset=conversations",
        f"dataset.path={file}",
        "workflow=own",
        f"hardware={hardware}",
        *overrides,
    )


def refused(config):
    return {problem.key: str(problem) for problem in check(config)}


def test_it_needs_no_workflow(file):
    assert check(learning(file)) == []


@pytest.mark.parametrize(
    "asked",
    [
        "algorithm.repeat_times=8",
        "algorithm.kl_coef=0.1",
        "algorithm.max_lag=1",
        "algorithm.filter_groups=drop",
        "algorithm.shuffle_rewards=true",
        "algorithm.group_by=task",
        "algorithm.discount=0.9",
        "dataset.order=difficulty",
        "hardware.engines=2",
    ],
)
def test_what_only_rollouts_give_a_meaning_is_refused(file, asked):
    assert asked.partition("=")[0] in refused(learning(file, asked))


def test_it_says_which_data_it_needs(file):
    nothing = refused(configured("algorithm=sft", "workflow=own"))
    assert "dataset=conversations dataset.path=FILE.jsonl" in nothing["dataset.path"]
    tasks = refused(configured("algorithm=sft", "workflow=own", "dataset=gsm8k_tiny"))
    assert "messages" in tasks["dataset.columns"]


def test_on_a_cpu_the_trainer_is_alone_and_passes_three_times_over_what_is_not_held_out(file):
    resolved = resolve(learning(file, "model=tiny", "algorithm.batch_size=4"), CPU)
    assert resolved.layout == Layout(0, 1, 1)
    # Of 40 conversations 4 are held out.
    assert resolved.config.algorithm.total_steps == 27
    assert resolved.config.algorithm.lr == pytest.approx(3e-3)
    assert resolved.batch.lines()[0] == "conversations per step 4"
    assert "3 epochs" in resolved.batch.lines()[1]
    assert not any("policies" in line for line in resolved.choices)


def test_the_first_words_say_that_there_is_no_engine(file):
    config = configured(
        "algorithm=sft", "dataset=conversations", f"dataset.path={file}", "workflow=own"
    )
    h100 = Machine((GPU("NVIDIA H100 80GB HBM3", 80),) * 8, 64, 1024)
    assert resolve(config, CPU).choices[0].startswith("hardware: the trainer alone (embedded)")
    assert resolve(config, h100).choices[0].startswith("hardware: the trainer alone (verl)")


def test_of_eight_gpus_all_are_the_trainers(file):
    config = learning(file, "model=qwen3_4b", hardware="8gpu")
    resolved = resolve(config, CPU, plan_only=True)
    assert resolved.layout.engines == 0
    assert resolved.layout.trainer_gpus == 8
    assert "no rollout engine" in resolved.layout.words()
    assert Layout.parse(str(resolved.layout)) == resolved.layout
    tree = to_trinity(resolved, "run")
    assert (tree["mode"], tree["explorer"]) == ("train", {})
    assert tree["cluster"] == {"node_num": 1, "gpu_per_node": 8}


def test_a_layout_with_engines_is_refused_with_the_one_without(file):
    config = learning(file, "model=qwen3_4b", "hardware.layout=4x1+4", hardware="8gpu")
    with pytest.raises(ConfigError, match=r"write 0x1\+4"):
        resolve(config, CPU, plan_only=True)


def test_rollouts_need_an_engine(file):
    config = configured("model=qwen3_4b", "hardware=8gpu", "hardware.layout=0x1+8")
    with pytest.raises(ConfigError, match="there is no engine"):
        resolve(config, CPU, plan_only=True)


def call(arguments):
    return {
        "role": "assistant",
        "tool_calls": [{"function": {"name": "f", "arguments": arguments}}],
    }


def test_the_forms_of_trinity_openai_and_trl_are_one():
    tool = {"type": "function", "function": {"name": "f", "parameters": None}}
    user = {
        "role": "user",
        "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}],
    }
    texts = {"messages": json.dumps([user, call('{"x": 1}')]), "tools": json.dumps([tool])}
    table = {"messages": [{**user, "name": None}, call({"x": 1, "y": None})], "tools": [tool]}
    assert conversation(texts) == conversation(table)
    found = conversation(table)
    assert found.messages[0] == {"role": "user", "content": "ab"}
    assert found.messages[1]["tool_calls"][0]["function"]["arguments"] == {"x": 1}
    assert found.tools == [{"type": "function", "function": {"name": "f"}}]


def test_what_a_table_fills_nested_arguments_up_with_was_not_said():
    near = {"near": {"place": "a", "zip": None}, "stops": [{"at": 1, "name": None}, None]}
    found = conversation({"messages": [call(near)]}).messages[0]
    said = {"near": {"place": "a"}, "stops": [{"at": 1}, None]}
    assert found["tool_calls"][0]["function"]["arguments"] == said


def test_null_in_the_text_of_arguments_was_said_and_is_learnt():
    found = conversation({"messages": [call('{"x": null}')]}).messages[0]
    assert found["tool_calls"][0]["function"]["arguments"] == {"x": None}


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ({"messages": []}, "has no messages"),
        ({"messages": "[1"}, "no JSON"),
        ({"messages": [{"role": "user", "content": "a"}]}, "no message of the assistant"),
        ({"messages": [{"role": "assistant", "content": ""}]}, "no message of the assistant"),
        ({"messages": [{"role": "bot", "content": "a"}]}, "messages.0.role is 'bot'"),
        ({"messages": ["a"]}, "messages.0 is no object but a text"),
        ({**SAID, "tools": {"name": "f"}}, "tools is no list but an object"),
        ({**SAID, "tools": [{"name": "f"}]}, "tools.0 is no function with a name"),
        ({"messages": [call("{")]}, "arguments are no JSON"),
        ({"messages": [call([1])]}, "arguments are no object but a list"),
        ({"messages": [{**call({}), "role": "user"}]}, "in a message of the role user"),
    ],
)
def test_what_cannot_be_learnt_from_is_said_with_its_place(row, why):
    with pytest.raises(ValueError, match=why.replace(".", r"\.").replace("(", r"\(")):
        conversation(row)


def test_wrong_rows_are_named_by_their_lines(tmp_path):
    file = tmp_path / "some.jsonl"
    wrong = {"messages": [{"role": "bot"}]}
    file.write_text("\n".join(json.dumps(row) for row in (SAID, wrong, SAID, *[wrong] * 4)))
    problems = [str(p) for p in file_problems(file, "dataset.path", str(file))]
    assert [f"line {n} of" in text for n, text in zip((2, 4, 5), problems, strict=False)] == [
        True
    ] * 3
    assert "2 more rows" in problems[3]


def test_of_tasks_and_of_conversations_as_many_wrong_rows_are_named(tmp_path, monkeypatch):
    monkeypatch.setattr(wrong_rows, "SHOWN", 1)
    file = tmp_path / "some.jsonl"
    file.write_text(f"{json.dumps(SAID)}\n" + 'not JSON\n{"messages": 1}\n' * 3)
    of_conversations = file_problems(file, "dataset.path", "some")
    of_tasks = scan(file, ["messages"], "dataset.path", "some").problems
    for problems in (of_conversations, of_tasks):
        assert [each.message for each in problems[1:]] == ["2 more rows of it are wrong"]


def test_a_wrong_row_is_refused_before_anything_starts(file):
    with file.open("a") as lines:
        lines.write(json.dumps({"messages": [{"role": "bot"}]}) + "\n")
    with pytest.raises(ConfigError, match=r"line 41 of .*: messages\.0\.role is 'bot'"):
        resolve(learning(file), CPU)


def test_a_wrong_row_of_a_folder_of_files_is_refused_with_its_file(file):
    folder = file.parent / "conversations" / "train"
    folder.mkdir(parents=True)
    file.rename(folder / "first.jsonl")
    (folder / "second.jsonl").write_text(json.dumps({"messages": []}) + "\n")
    config = learning(folder.parent, "dataset.eval_split=null")
    with pytest.raises(ConfigError, match=r"line 1 of .*second\.jsonl: has no messages"):
        resolve(config, CPU)


def test_the_loss_is_shown_step_by_step_and_at_the_end():
    rows = [
        {"role": "trainer", "step": 0, "time": 0.0, "metrics": {"eval/loss": 2.0}},
        {"role": "trainer", "step": 1, "time": 1.0, "metrics": {"actor/sft_loss": 1.5}},
        {
            "role": "trainer",
            "step": 2,
            "time": 2.0,
            "metrics": {"actor/sft_loss": 1.25, "eval/loss": 1.0},
        },
    ]
    progress = Progress(total_steps=2)
    assert progress.take(rows) == [1, 2]
    assert progress.phrases(1) == ["loss 1.500"]
    assert progress.phrases(2) == ["loss 1.250", "held-out loss 1.000"]
    assert loss_lines(rows) == [
        "Held-out loss     2.000 at step 0 -> 1.000 at step 2, nats per token of the assistant"
    ]


def test_trials_on_conversations_can_be_compared_by_their_held_out_loss(file):
    by_loss = ("sweep.metric=eval/loss", "sweep.direction=minimize")
    assert check(learning(file, *by_loss)) == []
    assert "sweep.metric" in refused(configured(*by_loss))


WORKFLOW = "workflow.function=rlagent.workflows.gsm8k_react:react_agent"


def test_success_is_measured_on_tasks_that_are_named(file):
    assert "of which tasks is not said" in refused(learning(file, WORKFLOW))["workflow.function"]
    assert "workflow.function" in refused(learning(file, "evaluate.dataset=gsm8k_tiny"))
    assert "evaluate.dataset" in refused(configured("evaluate.dataset=gsm8k_tiny"))
    assert check(learning(file, WORKFLOW, "evaluate.dataset=gsm8k_tiny")) == []


def test_between_trainings_all_gpus_are_the_engines(file):
    asked = (WORKFLOW, "evaluate.dataset=gsm8k", "model=qwen3_4b", "hardware.layout=0x1+8s2")
    resolved = resolve(learning(file, *asked, hardware="8gpu"), CPU, plan_only=True)
    assert str(resolved.layout) == "0x1+8s2"
    assert resolved.measuring is not None
    assert str(resolved.measuring.layout) == "8x1"
    assert resolved.measuring.config.dataset.path == "openai/gsm8k"
    assert any("success of gsm8k before and after, on 8x1" in line for line in resolved.choices)


def test_tasks_of_ones_own_are_all_asked(file, tmp_path):
    tasks = tmp_path / "tasks.jsonl"
    tasks.write_text('{"question": "1?"}\n{"question": "2?"}\n')
    resolved = resolve(learning(file, WORKFLOW, f"evaluate.dataset={tasks}", "model=tiny"), CPU)
    assert resolved.measuring is not None
    said = write_held_out(resolved.measuring.config.dataset, tmp_path / "data")
    assert "only 2 held-out tasks" in said[0]
    assert resolved.measuring.layout == Layout(1, 1, 0)


def test_a_run_that_measures_no_success_is_the_run_it_was(file):
    assert "dataset" not in identity(learning(file)).get("evaluate", {})


def test_between_trainings_no_more_gpus_are_used_than_by_the_trainer(file):
    asked = (WORKFLOW, "evaluate.dataset=gsm8k", "model=qwen3_4b", "hardware.layout=0x1+4")
    resolved = resolve(learning(file, *asked, hardware="8gpu"), CPU, plan_only=True)
    assert resolved.measuring is not None
    assert str(resolved.measuring.layout) == "4x1"


def test_afterwards_it_is_measured_on_its_tasks_and_never_on_its_conversations(file):
    without = over_run(learning(file), drafted())
    assert ["holds no tasks" in str(p) for p in without.problems] == [True]
    typed = ["dataset=gsm8k_tiny"]
    named = over_run(learning(file), replace(drafted(*typed), overrides=typed))
    assert (named.problems, named.config.dataset.path) == ([], "builtin:gsm8k_tiny")
    run = learning(file, WORKFLOW, "evaluate.dataset=gsm8k_tiny", "dataset.eval_tasks=9")
    own = over_run(run, drafted())
    assert own.problems == []
    assert (own.config.dataset.path, own.config.dataset.eval_tasks) == ("builtin:gsm8k_tiny", 9)
