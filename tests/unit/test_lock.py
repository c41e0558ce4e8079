"""The lock of a folder: held by one process, and asked about by any number."""

import fcntl

import pytest

from rlagent.base.lock import is_locked, locked, waited_for


def test_a_folder_is_locked_while_it_is_held(tmp_path) -> None:
    assert not is_locked(tmp_path / "no such folder")
    assert not is_locked(tmp_path)
    with locked(tmp_path) as lock:
        assert lock is not None
        assert is_locked(tmp_path)
        with locked(tmp_path) as second:
            assert second is None
        assert is_locked(tmp_path)
    assert not is_locked(tmp_path)


def test_a_file_is_held_by_one_at_a_time(tmp_path) -> None:
    file = tmp_path / "lock"
    with waited_for(file), file.open("a") as other, pytest.raises(BlockingIOError):
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    with file.open("a") as other:
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_two_who_ask_at_once_hear_the_same(tmp_path) -> None:
    with (tmp_path / ".lock").open("w") as asking:
        fcntl.flock(asking, fcntl.LOCK_SH)
        assert not is_locked(tmp_path)


def test_a_look_at_a_lock_keeps_nobody_from_taking_it(
    tmp_path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flock, asking = fcntl.flock, (tmp_path / ".lock").open("w")
    flock(asking, fcntl.LOCK_SH)

    def until_it_was_shared(file, how: int) -> None:
        flock(file, how)
        if how & fcntl.LOCK_SH:
            asking.close()

    monkeypatch.setattr(fcntl, "flock", until_it_was_shared)
    with locked(tmp_path) as lock:
        assert lock is not None
    assert asking.closed
