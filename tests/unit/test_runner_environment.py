"""What the processes that run agent code get in their environment."""

from rlagent.trinity.processes import environment_of


def test_runners_take_the_loop_of_asyncio_where_uvloop_is_installed(tmp_path, monkeypatch):
    (tmp_path / "uvloop.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    assert environment_of({"LEVEL": 3}) == {"LEVEL": "3", "RAY_USE_UVLOOP": "0"}
