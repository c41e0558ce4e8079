"""What a Ray that is started for a run offers, and what one that is joined adds."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import pytest
from configured import configured

from rlagent import doctor, learn, plan, train
from rlagent.base.endings import RunError
from rlagent.base.errors import UnreachableError
from rlagent.config import cluster
from rlagent.config.schema import HardwareConfig
from rlagent.launch import ray_cluster
from rlagent.launch.head import Head
from rlagent.launch.ray_cluster import colocated_env, gpus_to_offer
from rlagent.launch.signals import Signals
from rlagent.machine.resources import GPU, PLANNED_FOR, Machine, detect, write_machine
from rlagent.planner.layout import Layout
from rlagent.sweep import begin
from rlagent.upstream import ray as ray_patches

EIGHT = Machine((GPU("NVIDIA H100 80GB HBM3", 80.0),) * 8, 64, 500.0)


def test_a_colocated_gpu_is_offered_to_engine_and_trainer(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,4")
    layout = Layout(1, 1, 1, colocated=True)
    assert gpus_to_offer(layout, on_gpus=True) == 2
    assert colocated_env(layout, on_gpus=True) == {"CUDA_VISIBLE_DEVICES": "3,3"}


def test_a_raylet_starts_as_many_workers_as_there_are_actors_and_stand_ins_for_its_agents():
    given = ["raylet", "--session_dir=/tmp/s", "--node_id=ab", "--node_ip_address=127.0.0.1"]
    theirs = ["--runtime_env_agent_command=python -u main.py", "--dashboard_agent_command=python a"]
    command = [*given, "--num_prestart_python_workers=64", *theirs, "--head"]
    made = ray_patches.bare_raylet(command, 3)
    agent = f"{sys.executable} -I -S {ray_patches.STAND_IN} /tmp/s ab"
    assert made == [
        *given,
        "--num_prestart_python_workers=3",
        f"--runtime_env_agent_command={agent} 127.0.0.1 python -u main.py",
        f"--dashboard_agent_command={agent}",
        "--head",
    ]


# As a raylet, starts an agent and waits for its ports; ends when its input is closed.
RAYLET = """
import os, pathlib, subprocess, sys

os.environ["RAY_RAYLET_PID"] = str(os.getpid())
session = pathlib.Path(sys.argv[2])
agent = subprocess.Popen([sys.executable, "-I", "-S", *sys.argv[1:3], "ab", *sys.argv[4:]])
while len(list(session.glob("[!.]*_port_ab"))) < int(sys.argv[3]):
    assert agent.poll() is None
print(agent.pid, flush=True)
sys.stdin.read()
"""


@contextlib.contextmanager
def agent_of_a_raylet(session: Path, ports: int, *words: str) -> Iterator[int]:
    """A stand-in that has said so many ports; its raylet ends with the block, and then it."""
    command = [sys.executable, "-S", "-c", RAYLET, str(ray_patches.STAND_IN), str(session)]
    with subprocess.Popen(
        [*command, str(ports), *words], text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as raylet:
        agent = int(raylet.stdout.readline())
        yield agent
        raylet.stdin.close()
        # The stand-in has inherited it: this is its end too.
        assert raylet.stdout.read() == ""


def test_the_stand_in_for_the_dashboards_agent_listens_nowhere_and_ends_with_its_raylet(tmp_path):
    with agent_of_a_raylet(tmp_path, 3):
        assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {
            "metrics_agent_port_ab": "-1",
            "metrics_export_port_ab": "-1",
            "dashboard_agent_listen_port_ab": "-1",
        }


# Binds and answers as Ray's agent for runtime environments.
ANSWERS = """
import socket, sys

port = int(sys.argv[-1].removeprefix("--runtime-env-agent-port="))
bound = socket.socket()
bound.bind(("127.0.0.1", port))
bound.listen()
while True:
    with bound.accept()[0] as asked:
        asked.sendall(asked.recv(9) + sys.argv[1].encode())
"""


def test_the_agent_for_runtime_environments_starts_when_it_is_asked_and_answers_that(tmp_path):
    script = tmp_path / "main.py"
    script.write_text(ANSWERS)
    with agent_of_a_raylet(
        tmp_path, 1, "127.0.0.1", sys.executable, "-S", str(script), "--its"
    ) as agent:
        port = int((tmp_path / "runtime_env_agent_port_ab").read_text())
        waits = Path(f"/proc/{agent}/cmdline").read_bytes()
        for _ in range(2):
            with socket.create_connection(("127.0.0.1", port)) as asks:
                asks.sendall(b"hello")
                assert asks.recv(99) == b"hello--its"
        assert Path(f"/proc/{agent}/cmdline").read_bytes() != waits
        os.kill(agent, signal.SIGKILL)


def test_ray_leaves_sigterm_to_a_run_while_it_starts():
    from ray._private import utils

    with Signals() as signals:
        with ray_patches.keeping_sigterm.apply():
            utils.set_sigterm_handler(signal.SIG_IGN)
            os.kill(os.getpid(), signal.SIGTERM)
            # As Ray's C++ part, which asks nobody.
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        os.kill(os.getpid(), signal.SIGTERM)
        utils.set_sigterm_handler(signal.SIG_IGN)
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN
    assert signals.received == [signal.SIGTERM, signal.SIGTERM]


def test_sigterm_is_a_runs_again_when_ray_does_not_start():
    def start() -> None:
        with ray_patches.keeping_sigterm.apply():
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            raise RunError("Ray was not up in time, twice")

    with Signals() as signals:
        with pytest.raises(RunError):
            start()
        os.kill(os.getpid(), signal.SIGTERM)
    assert signals.received == [signal.SIGTERM]


def test_other_layouts_are_offered_what_they_use():
    layout = Layout(4, 1, 4)
    assert gpus_to_offer(layout, on_gpus=True) == 8
    assert colocated_env(layout, on_gpus=True) == {}


def test_the_cpu_is_offered_no_gpu():
    layout = Layout(1, 1, 1)
    assert gpus_to_offer(layout, on_gpus=False) == 0
    assert colocated_env(layout, on_gpus=False) == {}


def test_the_nodes_of_a_cluster_are_asked_for_by_the_sweep_and_not_again_by_its_trials(monkeypatch):
    asked = []
    monkeypatch.setattr(cluster, "_ask", lambda address: asked.append(address) or [8, 0, 8])
    joined = cluster.with_cluster(EIGHT, HardwareConfig(ray="ray://head:10001"))
    assert (joined.nodes, joined.cluster, asked) == (2, True, ["ray://head:10001"])
    monkeypatch.setenv(PLANNED_FOR, write_machine(joined))
    assert cluster.with_cluster(detect(), HardwareConfig(ray="ray://head:10001")) == joined
    assert len(asked) == 1


@pytest.fixture
def silent_cluster():
    """The address of a port that is open, but where nobody ever answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("import time; time.sleep(600)", "no answer in 1 s"),
        ("raise SystemExit('another version of Ray')", "another version of Ray"),
        ("raise SystemExit(3)", "exit status 3"),
        ("", "exit status 0"),
    ],
)
def test_a_cluster_that_does_not_say_what_it_has_is_an_error_and_not_one_node(
    monkeypatch, silent_cluster, code, said
):
    monkeypatch.setattr(cluster, "_ASK", code)
    monkeypatch.setattr(cluster, "_SECONDS", 1.0 if "sleep" in code else 60.0)
    with pytest.raises(UnreachableError) as caught:
        cluster.with_cluster(EIGHT, HardwareConfig(ray=silent_cluster))
    (problem,) = caught.value.problems
    assert problem.head == "hardware.nodes=auto"
    assert f"at {silent_cluster} does not say which nodes it has ({said})" in problem.message
    assert "hardware.ray=start" in problem.remedy


@pytest.mark.parametrize("command", [train, plan])
@pytest.mark.parametrize("arguments", [[], ["-m", "seed=1"]])
def test_a_cluster_that_does_not_answer_ends_a_command_with_one_line(
    monkeypatch, capsys, command, arguments
):
    monkeypatch.setattr("rlagent.machine.resources.detect", lambda: EIGHT)
    monkeypatch.setattr(plan, "detect", lambda: EIGHT)
    # Imported above: what is imported first while detect is replaced would keep the replacement.
    monkeypatch.setattr(begin, "detect", lambda: EIGHT)
    given = ["+experiment=gsm8k_react", "hardware.ray=127.0.0.1:1", *arguments]
    assert command.main(given) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("hardware.ray=127.0.0.1:1: no Ray answers there; start one with")


@pytest.mark.parametrize("arguments", [[], ["-m", "seed=1"]])
def test_what_is_planned_counts_the_nodes_that_a_run_would(monkeypatch, capsys, arguments):
    monkeypatch.setattr(plan, "detect", lambda: EIGHT)
    monkeypatch.setattr(cluster, "_ask", lambda address: [8, 8])
    given = ["+experiment=gsm8k_react", "hardware.ray=ray://head:10001", "hardware.gpus=8"]
    assert plan.main([*given, *arguments]) == 0
    assert "8 rollout engines on 1 GPU each, trainer on 8 GPUs" in capsys.readouterr().out


def test_the_doctor_counts_the_nodes_that_a_run_would(monkeypatch):
    monkeypatch.setattr("rlagent.machine.resources.detect", lambda: EIGHT)
    monkeypatch.setattr(cluster, "_ask", lambda address: [8, 8])
    asked = ["+experiment=gsm8k_react", "hardware.ray=ray://head:10001", "hardware.gpus=8"]
    rows, resolved = doctor.configuration(asked)
    assert resolved is not None
    assert (resolved.machine.nodes, resolved.layout.total_gpus) == (2, 16)
    assert "trainer on 8 GPUs" in next(row.found for row in rows if row.name == "layout")


@pytest.fixture
def starts(monkeypatch):
    """Stands in for Ray's start, which fails here as told; keeps how often it was tried."""
    import ray
    from ray._private import ray_constants
    from ray._private.node import Node

    class HalfStarted(Node):
        all_processes: ClassVar = {}

        def __init__(self, cause):
            raise Exception(cause)

        def kill_all_processes(self, **how):
            ended.append(how["wait"])

        def get_logs_dir_path(self):
            return "/tmp/ray/session_x/logs"

    tried, ended = [], []

    def fail(cause):
        def init(**options):
            tried.append(options["address"])
            HalfStarted(cause)

        monkeypatch.setattr(ray, "init", init)
        return tried, ended

    # Undone with the test.
    monkeypatch.setattr(ray_constants, "ENABLE_RAY_CLUSTER", True)
    # `connect` sets what Ray's processes inherit.
    monkeypatch.setattr(ray_cluster.os, "environ", dict(os.environ))
    return fail


def test_a_ray_that_is_not_up_in_time_twice_says_what_to_do_in_one_line(starts):
    tried, ended = starts("The current node timed out during startup. This could happen because")
    said = []
    with pytest.raises(RunError) as caught:
        ray_cluster.connect(HardwareConfig(ray="start"), "test", {}, 0, 2, say=said.append)
    assert (tried, ended, len(said)) == (["local"] * 2, [True] * 2, 1)
    (line,) = str(caught.value).splitlines()
    assert "run the same command again" in line
    assert "/tmp/ray/session_x/logs" in line


def test_a_ray_that_fails_otherwise_is_not_started_again(starts):
    tried, ended = starts("object_store_memory is too small")
    with pytest.raises(Exception, match="too small"):
        ray_cluster.connect(HardwareConfig(ray="start"), "test", {}, 0, 2)
    assert (tried, ended) == (["local"], [])


@pytest.fixture
def launched(monkeypatch):
    """Stands in for the launch, which needs Ray; keeps what it was given."""
    given = []

    def launch(resolved, **functions):
        given.append(resolved)
        return SimpleNamespace(exit_code=0)

    monkeypatch.setitem(sys.modules, "rlagent.launch.launch", SimpleNamespace(launch=launch))
    return given


async def ask(task, model):
    return 1.0


def test_learn_counts_the_nodes_of_the_cluster_that_it_joins(monkeypatch, launched):
    monkeypatch.setattr("rlagent.machine.resources.detect", lambda: EIGHT)
    monkeypatch.setattr(cluster, "_ask", lambda address: [8, 8])
    learn(workflow_func=ask, config=configured("hardware.ray=ray://head:10001", "hardware.gpus=8"))
    (resolved,) = launched
    assert (resolved.machine.nodes, resolved.layout.total_gpus) == (2, 16)


def test_where_no_cluster_would_be_joined_doctor_and_learn_ask_none_and_import_no_ray(tmp_path):
    code = """
import sys
from types import SimpleNamespace
from rlagent import LearnConfig, doctor, learn
from rlagent.config import cluster

def refuse(address):
    raise AssertionError(f"{address} was asked")

cluster._ask = refuse
machines = []
launch = lambda resolved, **_: machines.append(resolved.machine) or SimpleNamespace(exit_code=0)
sys.modules["rlagent.launch.launch"] = SimpleNamespace(launch=launch)
rows, resolved = doctor.configuration(["+experiment=gsm8k_react"])
async def ask(task, model):
    return 1.0
learn(ask, LearnConfig())
assert [m.nodes for m in (*machines, resolved.machine)] == [1, 1], rows
assert "ray" not in sys.modules
"""
    environment = {"PATH": "", "RAY_TMPDIR": str(tmp_path), "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_a_ray_that_ends_takes_its_own_processes_along_and_none_with_the_users_variables():
    waits = [sys.executable, "-c", "import sys; sys.stdin.read()"]
    logs = {**os.environ, "TRINITY_LOG_DIR": "/logs"}
    marks = {"its": {ray_cluster.MARK: "1a"}, "of another": {ray_cluster.MARK: "2b"}, "users": {}}
    processes = {
        name: subprocess.Popen(waits, stdin=subprocess.PIPE, env={**logs, **mark})
        for name, mark in marks.items()
    }
    head = Head("127.0.0.1:1", {"raylet": processes["users"]})
    try:
        ray_cluster.leave(ray_cluster.Cluster("127.0.0.1:1", started=True, head=head, mark="1a"))
        assert processes["its"].wait(60) == -signal.SIGKILL
        assert (processes["users"].poll(), processes["of another"].poll()) == (None, None)
    finally:
        for process in processes.values():
            process.kill()
            process.communicate()
