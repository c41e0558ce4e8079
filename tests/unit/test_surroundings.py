"""What a run needs of the machine beside processor and memory is found, and mended if it can be."""

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from rlagent.base.endings import RunError
from rlagent.config.schema import HardwareConfig
from rlagent.launch import ray_cluster
from rlagent.machine import surroundings

LONG = "/tmp/" + 60 * "x"


def test_a_temporary_folder_too_long_for_sockets_gives_way_to_tmp():
    environ = {"TMPDIR": LONG, "HOME": "/tmp"}
    assert "go below /tmp" in surroundings.temporary_folder(environ).found
    assert surroundings.prepare(environ) == []
    assert environ["RAY_TMPDIR"] == "/tmp"


@pytest.mark.parametrize(
    ("environ", "found"),
    [
        ({"RAY_TMPDIR": LONG}, "too long for Ray's sockets"),
        ({"RAY_TMPDIR": "/proc/none"}, "/proc/none cannot be written"),
        ({"TMPDIR": "/proc/none"}, "/proc/none cannot be written"),
    ],
)
def test_a_temporary_folder_that_nothing_can_replace_keeps_a_run_from_starting(environ, found):
    (wrong,) = surroundings.prepare({"HOME": "/tmp", **environ})
    assert found in wrong.found
    assert f"set {next(iter(environ))} to a folder" in wrong.remedy


def test_a_short_temporary_folder_is_left_as_it_is():
    environ = {"TMPDIR": "/tmp", "HOME": "/tmp"}
    assert surroundings.prepare(environ) == []
    assert environ == {"TMPDIR": "/tmp", "HOME": "/tmp"}


def test_a_home_that_cannot_be_written_is_replaced_by_one_of_this_user_alone():
    environ = {"HOME": "/proc"}
    assert "cannot be written" in surroundings.home(environ).found
    assert surroundings.prepare(environ) == []
    assert os.access(environ["HOME"], os.W_OK)
    assert Path(environ["HOME"]).stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("environ", [{}, {"HOME": "/tmp/" + 300 * "x"}])
def test_a_home_that_cannot_be_looked_up_is_replaced_too(environ, monkeypatch):
    # As of a user without an entry in the system's list.
    monkeypatch.setattr(os.path, "expanduser", str)
    monkeypatch.setattr(surroundings.tempfile, "mkdtemp", _not_below_the_root)
    assert surroundings.prepare(environ) == []
    assert environ["HOME"] == str(surroundings._spare_home())


def _not_below_the_root(prefix, dir, really=surroundings.tempfile.mkdtemp):
    if Path(dir) == Path("/"):
        raise PermissionError(dir)
    return really(prefix=prefix, dir=dir)


LIMITED = """
import resource, sys
soft, hard = map(int, sys.argv[1:])
resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
from rlagent.machine import surroundings
wrong = surroundings.prepare()
print(resource.getrlimit(resource.RLIMIT_NOFILE)[0], *(each.remedy for each in wrong))
"""


@pytest.mark.parametrize(
    ("soft", "hard", "expected"),
    [(256, 4096, "1024"), (256, 512, "256 raise the limit: ulimit -Hn 1024"), (2048, 4096, "2048")],
)
def test_the_limit_of_open_files_is_raised_where_it_may_be(soft, hard, expected):
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if most != resource.RLIM_INFINITY and most < 4096:
        pytest.skip("this process may not open 4096 files")
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(soft), str(hard)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == expected


@pytest.mark.parametrize(
    ("ray", "environ", "said"),
    [("auto", "127.0.0.1:1", "RAY_ADDRESS=127.0.0.1:1"), ("127.0.0.1:1", "", "hardware.ray=")],
)
def test_an_address_where_no_ray_answers_is_named_with_where_it_comes_from(
    ray, environ, said, monkeypatch
):
    monkeypatch.setenv("RAY_ADDRESS", environ)
    with pytest.raises(RunError, match=f"{said}.*no Ray answers there"):
        ray_cluster.connect(HardwareConfig(ray=ray), "test", {}, 0, 2)
