"""`learn(workflow_func, config)`: the shipped script, both kinds of configuration, both returns."""

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from rlagent.base.paths import asset_dir
from rlagent.base.words import python_command
from rlagent.records.folder import RunFolder
from rlagent.records.rollouts import Query
from tests.cpu.runs import REPOSITORY, Run, environment, only_folder

SCRIPT = REPOSITORY / "experiments" / "gsm8k_react" / "train_react.py"

OURS = """
algorithm: {total_steps: 1, batch_size: 4, repeat_times: 4}
hardware: {engine: embedded}
dataset: {eval_tasks: 16}
run: {name: script}
"""

NATIVE = """
mode: both
project: my-project
group: my-group
name: native
checkpoint_root_dir: CHECKPOINTS
algorithm:
  algorithm_type: grpo
  repeat_times: 4
  optimizer: {lr: 1.0e-4}
model: {model_path: MODEL, max_response_tokens: 160, max_model_len: 1024}
cluster: {node_num: 1, gpu_per_node: 2}
buffer:
  total_epochs: 1
  batch_size: 4
  total_steps: 1
  explorer_input:
    taskset: {name: train, storage_type: file, path: DATA, split: train}
explorer:
  runner_per_model: 4
  rollout_model:
    engine_type: embedded
    engine_num: 1
    tensor_parallel_size: 1
trainer: {trainer_type: embedded, total_steps: 1, save_interval: 1}
synchronizer: {sync_method: memory, sync_interval: 1}
monitor: {monitor_type: tensorboard}
"""


def _ran(directory: Path, script: Path, timeout: float = 400) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, str(script)],
        cwd=directory,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


def _run_script(directory: Path, script: Path, timeout: float = 400) -> Run:
    done = _ran(directory, script, timeout)
    return Run(done.returncode, done.stdout + done.stderr, only_folder(directory))


def _script(directory: Path, text: str) -> Path:
    path = directory / "script.py"
    path.write_text(textwrap.dedent(text))
    return path


@pytest.mark.slow
def test_the_shipped_script_runs_by_itself(tmp_path):
    copy = tmp_path / SCRIPT.name
    copy.write_text(SCRIPT.read_text())
    (tmp_path / "train_react.yaml").write_text(OURS)
    result = _run_script(tmp_path, copy)
    assert result.returncode == 0, result.output
    assert result.status["state"] == "finished"
    assert result.status["steps_trained"] == 1
    # The agent without a calculator is in the tiny model's lessons too.
    assert any(result.folder.rollouts.read(Query("eval", (0, 0))))
    assert all(row["error"] is None for row in result.folder.rollouts.read())


@pytest.mark.slow
def test_a_workflow_with_judge_and_logger_in_a_plain_function_trains(tmp_path):
    (tmp_path / "config.yaml").write_text(OURS)
    script = _script(
        tmp_path,
        """
        import asyncio

        from agentscope.tuner import JudgeOutput, WorkflowOutput

        from rlagent import LearnConfig, learn


        def ask(task, model, logger, auxiliary_models):
            assert auxiliary_models == {}
            logger.info("asking")
            messages = [{"role": "user", "content": task["question"]}]
            reply = asyncio.run(model(messages))
            return WorkflowOutput(response=reply, metrics={"asked": 1.0})


        async def judge(task, response, logger):
            logger.info("judging")
            return JudgeOutput(reward=float(len(str(response)) % 2), metrics={"judged": 1.0})


        if __name__ == "__main__":
            outcome = learn(
                workflow_func=ask,
                judge_func=judge,
                config=LearnConfig.load_config("config.yaml"),
            )
            assert outcome.state == "finished"
        """,
    )
    result = _run_script(tmp_path, script)
    assert result.returncode == 0, result.output
    assert result.series("rollout/asked/mean", "explorer") == {1: 1.0}
    assert result.series("rollout/judged/mean", "explorer") == {1: 1.0}


@pytest.mark.slow
def test_a_result_belongs_to_the_arguments_and_globals_that_it_was_run_with(tmp_path):
    (tmp_path / "config.yaml").write_text(OURS)
    script = _script(
        tmp_path,
        """
        import functools

        from rlagent import LearnConfig, learn

        SCALE = 0.25


        async def solve(task, model, bonus):
            await model([{"role": "user", "content": task["question"]}])
            return bonus * SCALE


        def train(bonus):
            config = LearnConfig.load_config("config.yaml")
            # What a file names does not count beside what is passed.
            config.workflow.function = "rlagent.workflows.gsm8k_react:react_agent"
            return learn(functools.partial(solve, bonus=bonus), config)


        if __name__ == "__main__":
            outcomes = [train(0), train(1)]
            assert train(1) == outcomes[1]
            for outcome in outcomes:
                print("FOLDER", outcome.folder)
        """,
    )
    done = _ran(tmp_path, script, 900)
    assert done.returncode == 0, done.stdout + done.stderr
    folders = [line.split()[1] for line in done.stdout.splitlines() if line.startswith("FOLDER")]
    rewards = [RunFolder(folder).read_metrics("explorer") for folder in folders]
    assert len(set(folders)) == 2
    assert [_last(rows, "rollout/reward/mean") for rows in rewards] == [0.0, 0.25]
    assert done.stdout.count("done on") == 1


def _last(rows, name):
    return [row["metrics"][name] for row in rows if name in row["metrics"]][-1]


@pytest.mark.slow
def test_a_native_yaml_trains_and_reaches_trinity_unchanged(tmp_path):
    import yaml
    from omegaconf import OmegaConf

    text = NATIVE.replace("MODEL", str(asset_dir("tiny")))
    text = text.replace("DATA", str(asset_dir("gsm8k_tiny")))
    text = text.replace("CHECKPOINTS", str(tmp_path / "checkpoints"))
    (tmp_path / "native.yaml").write_text(text)
    script = _script(
        tmp_path,
        """
        from rlagent import LearnConfig, learn
        from rlagent.workflows.gsm8k_react import react_agent

        if __name__ == "__main__":
            learn(workflow_func=react_agent, config=LearnConfig.load_config("native.yaml"))
        """,
    )
    result = _run_script(tmp_path, script)
    assert result.returncode == 0, result.output
    assert result.status["steps_trained"] == 1
    given = yaml.safe_load(text)
    handed_over = OmegaConf.to_container(OmegaConf.load(result.folder.trinity_yaml))
    # Where Trinity keeps what: in the run folder, which leads to the given directory.
    ours = dict.fromkeys(("project", "group", "name", "checkpoint_root_dir"))
    # Its tasks are read there too, as they are written.
    taskset = given["buffer"]["explorer_input"]["taskset"]
    taskset["path"] = str(result.folder.path / "data" / "tasks" / "0-taskset")
    assert {**_part(given, handed_over), **ours} == {**given, **ours}
    own = tmp_path / "checkpoints" / result.folder.name
    assert result.folder.checkpoints.resolve() == own
    assert (own / "global_step_1").is_dir()


def _part(shape, whole):
    """What `whole` says for the keys of `shape`."""
    if isinstance(shape, dict):
        return {key: _part(value, whole.get(key)) for key, value in shape.items()}
    return whole


@pytest.mark.slow
def test_a_script_may_learn_twice_behind_a_proxy_and_finds_its_environment_as_it_was(tmp_path):
    (tmp_path / "config.yaml").write_text(OURS)
    script = _script(
        tmp_path,
        """
        import os

        from rlagent import LearnConfig, learn
        from rlagent.workflows.gsm8k_react import react_agent

        if __name__ == "__main__":
            # Nobody answers there: what goes through the proxy fails.
            os.environ["http_proxy"] = os.environ["HTTP_PROXY"] = "http://127.0.0.1:9"
            before = dict(os.environ)
            for seed in (1, 2):
                config = LearnConfig.load_config("config.yaml")
                config.seed = seed
                config.run.dir = f"outputs/{seed}"
                assert learn(react_agent, config).state == "finished"
                assert dict(os.environ) == before
        """,
    )
    done = subprocess.run(
        [sys.executable, str(script)],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Logging error" not in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_a_failed_run_raises_with_its_cause(tmp_path):
    (tmp_path / "config.yaml").write_text(OURS)
    script = _script(
        tmp_path,
        """
        from rlagent import LearnConfig, learn


        async def broken(task, model):
            raise KeyError("no such thing")


        if __name__ == "__main__":
            learn(workflow_func=broken, config=LearnConfig.load_config("config.yaml"))
        """,
    )
    result = _run_script(tmp_path, script)
    assert result.returncode == 1
    assert "LearnError" in result.output
    assert "no such thing" in result.status["cause"]


@pytest.mark.slow
def test_a_stopped_script_ends_without_a_traceback_and_goes_on_when_run_again(tmp_path):
    (tmp_path / "config.yaml").write_text(OURS)
    (asked := tmp_path / "stop_once").touch()
    script = _script(
        tmp_path,
        f"""
        from pathlib import Path

        from rlagent import LearnConfig, learn
        from rlagent.records.folder import RunFolder
        from rlagent.workflows.gsm8k_react import react_agent


        async def stopping(task, model):
            asked = Path({str(asked)!r})
            if asked.exists():
                asked.unlink(missing_ok=True)
                RunFolder((asked.parent / "outputs" / "latest").resolve()).request_stop()
            return await react_agent(task, model)


        if __name__ == "__main__":
            learn(workflow_func=stopping, config=LearnConfig.load_config("config.yaml"))
        """,
    )
    stopped = _run_script(tmp_path, script)
    assert stopped.returncode == 1
    assert stopped.status["state"] == "stopped"
    assert "Traceback" not in stopped.output
    assert "Next, to resume:\n" in stopped.output
    assert f"{python_command()} script.py" in stopped.output
    again = _run_script(tmp_path, script)
    assert again.returncode == 0, again.output
    assert (again.status["attempt"], again.status["steps_trained"]) == (2, 1)
