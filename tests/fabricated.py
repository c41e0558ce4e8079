"""Run folders as a real run leaves them, made up, for tests of what people see."""

import json
import math
import random
import time
from pathlib import Path

from rlagent.base.stats import wilson
from rlagent.records.calls import Call, compact
from rlagent.records.folder import RunFolder

CONFIG = """\
seed: 1
model:
  name: tiny
  path: builtin:tiny
  max_response_tokens: 96
algorithm:
  name: multi_step_grpo
  lr: 0.0003
  batch_size: 16
  repeat_times: 8
monitor:
  type: wandb
trinity:
  monitor:
    monitor_args:
      api_key: sesame-open
"""

HOSTILE = '</script><script>document.title="owned"</script><img src=x onerror="alert(1)">'


def fabricate(
    root: Path,
    name: str = "gsm8k_react-1a2b3c4d",
    steps: int = 60,
    asked: int = 60,
    eval_every: int = 10,
    tasks: int = 256,
    state: str = "finished",
    cause: str | None = None,
    hostile: bool = False,
) -> RunFolder:
    """A run of the tiny model that learns, with evaluations, conversations and a status.

    Args:
        root: Where run folders are.
        name: The run folder's name.
        steps: Steps trained.
        asked: Steps asked for.
        eval_every: Steps between evaluations; 0: before and after only.
        tasks: Held-out tasks.
        state: status.json's state.
        cause: status.json's cause.
        hostile: Put markup into everything that comes from datasets and models.
    """
    chance = random.Random(4)
    folder = RunFolder(root / name)
    folder.new_attempt()
    clock = time.time() - 3.1 * steps
    rows: list[dict] = []

    def add(role: str, step: int, **metrics: float) -> None:
        named = {key.replace("__", "/"): value for key, value in metrics.items()}
        rows.append({"role": role, "step": step, "attempt": 1, "time": clock, "metrics": named})

    measured = {}
    last = steps if state == "finished" else steps - 1
    for step in range(steps + 1):
        skill = 0.36 + 0.52 * (1 - math.exp(-step / 16))
        if step in (0, last) or (eval_every and step % eval_every == 0):
            solved = sum(chance.random() < skill for _ in range(tasks))
            valid = sum(chance.random() < 0.975 + 0.02 * step / 60 for _ in range(tasks))
            low, high = wilson(solved, tasks)
            add(
                "explorer", step, eval__success=solved / tasks, eval__success_low=low,
                eval__success_high=high, eval__valid=valid / tasks, eval__tasks=tasks,
                eval__reward=solved / tasks, eval__failed=0.0,
            )  # fmt: skip
            measured[step] = (solved / tasks, valid / tasks)
        if step == 0:
            add("driver", 0, time__start_to_first_step=33.2)
            continue
        clock += chance.gauss(3.1, 0.2)
        success = min(1.0, max(0.0, chance.gauss(skill, 0.05)))
        explore, train = chance.gauss(1.7, 0.12), chance.gauss(1.05, 0.06)
        tokens = chance.gauss(5200, 300)
        add(
            "explorer", step, rollout__reward__mean=success, rollout__success__mean=success,
            rollout__valid__mean=min(1.0, chance.gauss(0.985, 0.008)), rollout__failed_share=0.0,
            rollout__experiences=256, time__explore_step=explore, tokens__generated=tokens,
        )  # fmt: skip
        add(
            "trainer", step, off_policy__kl__behaviour_proximal=abs(chance.gauss(2e-4, 1e-4)),
            off_policy__ess=0.98, actor__pg_loss=-0.02,
            actor__pg_clipfrac=abs(chance.gauss(0.001, 0.001)), actor__lr=3e-4,
            actor__grad_norm=abs(chance.gauss(0.6, 0.1)), sample__lag=0.0,
            actor__entropy=0.35 * math.exp(-step / 40) + 0.08, time__train_step=train,
            tokens__trained=tokens,
        )  # fmt: skip
        add("driver", step, time__step=explore + train + 0.3, tokens__per_second=tokens / 3.1)
    folder.metrics_jsonl.write_text("".join(json.dumps(row) + "\n" for row in rows))
    folder.config_yaml.write_text(CONFIG + (f"note: '{HOSTILE}'\n" if hostile else ""))
    folder.trinity_yaml.write_text("mode: both\nproject: rlagent\ncluster:\n  node_num: 1\n")
    for step in sorted({0, max(measured)}):
        for index in range(24):
            folder.rollouts.append(rollout(index, step, chance, 0.36 if step == 0 else 0.88,
                                             HOSTILE if hostile else ""))  # fmt: skip
    folder.write_status(
        state=state, exit_code=0 if state == "finished" else 1, cause=cause, steps_asked=asked,
        steps_trained=steps, success_before=measured[0][0], success_after=measured[last][0]
        if last in measured else None, valid_before=measured[0][1], attempt=1,
        trial_id=name.rsplit("-", 1)[-1], experiment=name.rsplit("-", 1)[0], model="tiny",
        dataset="gsm8k_tiny", layout="1x1+1", started=clock - 3.1 * steps - 41,
        versions={"torch": "2.13.0", "trinity-rft": "0.6.0", "agentscope": "1.0.21", "vllm": None},
    )  # fmt: skip
    folder.write_status(pid=None)
    return folder


def rollout(index: int, step: int, chance: random.Random, skill: float, hostile: str) -> dict:
    """One evaluation rollout: a tool call, its result, and the answer."""
    apples, price = index + 3, index % 7 + 2
    truth = apples * price - 4
    solved = chance.random() < skill
    expression = f"{apples} * {price}" if solved else f"{apples} + {price}"
    found = apples * price if solved else apples + price
    answer = found - 4 if solved else found
    question = (
        f"Mina buys {apples} bags of apples at {price} dollars each and has a coupon for 4 "
        f"dollars. How many dollars does she pay?{hostile}"
    )

    def call(name: str, arguments: dict) -> dict:
        return {
            "id": f"call_{name}", "type": "function",
            "function": {"name": name, "arguments": json.dumps(arguments)},
        }  # fmt: skip

    messages = [
        {"role": "system", "content": "You solve maths problems. Use the calculator, then call "
         "generate_response with the result."},
        {"role": "user", "content": [{"type": "text", "text": question}]},
        {"role": "assistant", "content": None,
         "tool_calls": [call("calculator", {"expression": expression + hostile})]},
        {"role": "tool", "name": "calculator", "tool_call_id": "call_calculator",
         "content": [{"type": "text", "text": f"{found}{hostile}"}]},
        {"role": "assistant", "content":
         f'<tool_call>\n{{"name": "generate_response", "arguments": {{"result": "{answer}"}}}}'
         f"\n</tool_call>{hostile}"},
    ]  # fmt: skip
    calls = [Call(messages[:at], messages[at], "react_agent") for at in (2, 4)]
    return {
        "phase": "eval", "step": step, "model_version": step, "group": index, "run": 0,
        "row": {"index": 7 * index, "hash": f"{index:016x}"}, "attempt": 1,
        "reward": 1.0 if solved else 0.0, "success": solved, "error": None,
        "metrics": {"accuracy": float(solved), "valid": 1.0}, "calls": compact(calls),
        "task": {"question": question, "answer": f"{apples} x {price} - 4\n#### {truth}{hostile}"},
    }  # fmt: skip
