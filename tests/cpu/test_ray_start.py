"""A Ray that is not up in time is started once more, and nothing of the first start stays."""

import json
import subprocess
import sys

import pytest

from tests.cpu.runs import environment, ray_processes

pytestmark = pytest.mark.alone

# Ray gives a node half a minute; here the clock of that wait runs faster, and the first look for
# the node finds none, as on a machine that is too busy.
CODE = """
import itertools, sys, time, types
import psutil, ray
from ray._private import node, services
from rlagent.config.schema import HardwareConfig
from rlagent.launch.ray_cluster import connect

look, looks = services.get_node, []

def get_node(*arguments):
    looks.append(arguments)
    if len(looks) == 1:
        raise RuntimeError("no such node yet")
    return look(*arguments)

services.get_node = get_node
node.time = types.SimpleNamespace(**vars(time))
node.time.monotonic = itertools.count(0, 31).__next__

def heads():
    return [child.name() for child in psutil.Process().children()].count("gcs_server")
"""

AGAIN = f"""
{CODE}
cluster = connect(HardwareConfig(ray="start"), "test", {{}}, 0, 2, say=print)
print("started", cluster.started, ray.cluster_resources()["CPU"])
print(heads())
ray.shutdown()
"""

NOT_AGAIN = f"""
{CODE}
def refuse(words):
    raise InterruptedError(words)

try:
    connect(HardwareConfig(ray="start"), "test", {{}}, 0, 2, say=refuse)
except InterruptedError as error:
    print(error, heads())
"""


def run_alone(code, folder, *words):
    """Run Python code in a process, and a process group, of its own."""
    return subprocess.run(
        [sys.executable, "-c", code, *words],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
        start_new_session=True,
    )


@pytest.mark.slow
def test_a_ray_that_was_not_up_in_time_is_started_again_and_leaves_nothing_behind(tmp_path):
    done = run_alone(AGAIN, tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "Ray was not up in time, as on a busy machine; it is started once more",
        "started True 2.0",
        "1",
    ]
    assert not ray_processes()


@pytest.mark.slow
def test_a_ray_that_was_not_up_in_time_is_not_started_again_when_the_run_is_to_stop(tmp_path):
    done = run_alone(NOT_AGAIN, tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout == (
        "Ray was not up in time, as on a busy machine; it is started once more 0\n"
    )
    assert not ray_processes()


# As in a notebook; the first and the last Ray ask for the token in ~/.ray.
AFTER_ANOTHER = """
import os, ray
from rlagent.config.schema import HardwareConfig
from rlagent.launch.ray_cluster import connect, leave

def cpus():
    found = ray.cluster_resources()["CPU"]
    ray.shutdown()
    return found

ray.init(num_cpus=1, include_dashboard=False)
print(cpus())
before = dict(os.environ)
cluster = connect(HardwareConfig(ray="start"), "test", {}, 0, 2)
print(ray.cluster_resources()["CPU"])
leave(cluster)
os.environ.clear()
os.environ.update(before)
ray.init(num_cpus=3, include_dashboard=False)
print(cpus())
"""


@pytest.mark.slow
def test_a_process_that_used_ray_starts_one_with_a_token_for_a_run_and_its_own_afterwards(tmp_path):
    done = run_alone(AFTER_ANOTHER, tmp_path)
    assert done.stdout.splitlines() == ["1.0", "2.0", "3.0"], done.stderr
    assert done.returncode == 0
    assert not ray_processes()


# What Ray does when the head that it connects to goes: it waits for another.
GOES_WHILE_JOINED = """
import functools, socket, sys, threading
import ray
from rlagent import train
from rlagent.launch import head, phases

listener = socket.create_server(("127.0.0.1", 0))

def init(*_, **__):
    listener.close()
    threading.Event().wait()

ray.init = init
head.PROBE_EVERY = head.GONE_AFTER = 0.1
phases.LastResort = functools.partial(head.LastResort, seconds=0.1)
address = f"127.0.0.1:{listener.getsockname()[1]}"
sys.argv = ["train", *sys.argv[1:], f"hardware.ray={address}"]
train.main()
"""


@pytest.mark.slow
def test_a_head_that_goes_while_it_is_joined_ends_the_run_with_that_cause(tmp_path):
    words = ["+experiment=gsm8k_react", "hardware=cpu", f"run.dir={tmp_path}", "monitor=local"]
    done = run_alone(GOES_WHILE_JOINED, tmp_path, *words)
    assert done.returncode == 1, done.stderr
    found = json.loads((tmp_path / "latest/status.json").read_text())
    assert found["state"] == "failed"
    assert "has not answered for" in found["cause"]


# As `timeout` does; the group is this process's own.
SIGNALLED = """
import os, signal
import ray
from rlagent.config.schema import HardwareConfig
from rlagent.launch.ray_cluster import connect

connect(HardwareConfig(ray="start"), "test", {}, 0, 2)
asked = []
signal.signal(signal.SIGTERM, lambda *_: asked.append("asked"))
os.killpg(os.getpgrp(), signal.SIGTERM)
print(*asked, ray.get(ray.remote(lambda: "alive").remote()))
ray.shutdown()
"""


@pytest.mark.slow
def test_a_sigterm_to_the_process_group_reaches_the_driver_and_leaves_ray_alone(tmp_path):
    done = run_alone(SIGNALLED, tmp_path)
    assert done.stdout.splitlines() == ["asked alive"], done.stderr
    assert done.returncode == 0
    assert not ray_processes()


# It comes when Ray's processes are started and this one is not yet connected to them, when it is,
# and when it is not any more.
WHILE_IT_STARTS = """
import os, signal
import ray
from ray._private.node import Node
from rlagent.config.schema import HardwareConfig
from rlagent.launch.ray_cluster import connect
from rlagent.upstream import ray as ray_patches
from rlagent.launch.signals import Signals

starts = Node.start_ray_processes

def start_ray_processes(node):
    starts(node)
    os.kill(os.getpid(), signal.SIGTERM)

Node.start_ray_processes = start_ray_processes
with Signals() as signals:
    with ray_patches.keeping_sigterm.apply():
        connect(HardwareConfig(ray="start"), "test", {}, 0, 2)
    os.kill(os.getpid(), signal.SIGTERM)
    print(*signals.received, ray.get(ray.remote(lambda: "alive").remote()))
    with ray_patches.keeping_sigterm.apply():
        ray.shutdown()
    os.kill(os.getpid(), signal.SIGTERM)
    print(*signals.received)
"""


@pytest.mark.slow
def test_a_sigterm_while_ray_starts_or_when_it_has_ended_is_the_runs_to_obey(tmp_path):
    done = run_alone(WHILE_IT_STARTS, tmp_path)
    assert done.stdout.splitlines() == ["15 15 alive", "15 15 15"], done.stderr
    assert done.returncode == 0
    assert not ray_processes()


A_STRANGER = """
import os, subprocess, sys
import psutil, ray
from rlagent.config.schema import HardwareConfig
from rlagent.launch.ray_cluster import connect

cluster = connect(HardwareConfig(ray="start"), "test", {}, 0, 2)
join = f"import ray; ray.init({cluster.address!r}, log_to_driver=False)"
kept = {key: value for key, value in os.environ.items() if not key.startswith("RAY_AUTH")}
for env in (os.environ, kept):
    print(subprocess.run([sys.executable, "-c", join], env=env, capture_output=True).returncode)
ray.get(ray.remote(lambda: "a worker, which listens too").remote())
here = psutil.Process()
opened = [c for p in (here, *here.children(recursive=True)) for c in p.net_connections("inet")]
# An IPv4 address of a socket that could also take IPv6.
print(*{c.laddr.ip.removeprefix('::ffff:') for c in opened if c.status == psutil.CONN_LISTEN})
words = [os.path.basename(w) for p in here.children(recursive=True) for w in p.cmdline()]
spare = ("agent.py", "ray::DashboardAgent", "dashboard.py", "log_monitor.py", "monitor.py")
print("ray_agent.py" in words, *(name for name in spare if name in words))
ray.shutdown()
"""


def test_a_ray_that_a_run_started_is_bare_listens_on_loopback_and_wants_the_runs_token(tmp_path):
    done = run_alone(A_STRANGER, tmp_path)
    lines = done.stdout.splitlines()
    assert lines[:3] == ["0", "1", "127.0.0.1"], done.stderr
    # Of what Ray starts beside there is only the stand-in.
    assert lines[3] == "True"
    assert not ray_processes()


def test_two_threads_that_import_never_see_half_of_ray():
    code = (
        "import sys\n"
        "from rlagent.launch import phases\n"
        "seen = []\n"
        "phases._import_validators = lambda: seen.append('ray' in sys.modules)\n"
        "phases.import_validators_beside().join()\n"
        "print(seen)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[True]"


# Two sessions of a driver after each other, as two checkpoints that are evaluated. Ray keeps what
# an actor has reserved until the driver ends.
AFTER_EACH_OTHER = """
from pathlib import Path
import ray
from ray.util.placement_group import placement_group
from rlagent.config.schema import HardwareConfig
from rlagent.launch.ray_cluster import connect
from rlagent.launch.session import Session

connect(HardwareConfig(ray="start"), "test", {}, 2, 2)

@ray.remote(num_cpus=0)
class Explorer:
    def reserve(self):
        self.group = placement_group([{"GPU": 1}, {"GPU": 1}])
        return self.group.wait(60)

class Config:
    ray_namespace = "test"

for _ in range(2):
    waits = (lambda: 0.0, "auto", lambda: (9.0, 9.0))
    session = Session(Config, 1, lambda: True, print, *waits, Path("logs"), trains=False)
    session.explorer = Explorer.remote()
    print(ray.get(session.explorer.reserve.remote()))
    session.close()
other = Explorer.remote()
print(ray.get(other.reserve.remote()))
session.explorer = Explorer.remote()
session.close()
# Those of others stay.
print(ray.available_resources().get("GPU", 0.0))
ray.shutdown()
"""


@pytest.mark.slow
def test_a_session_gives_its_gpus_back_to_the_next_of_the_same_driver(tmp_path):
    done = run_alone(AFTER_EACH_OTHER, tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["True", "True", "True", "0.0"], done.stderr
    assert not ray_processes()
