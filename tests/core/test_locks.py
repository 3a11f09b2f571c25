"""One process at a time holds a lock, and no file of others is taken for one."""

import os
import signal
import threading
from pathlib import Path

import pytest

from stkit.core import locks
from stkit.core.errors import ArtifactError


def busy(holder: str) -> str:
    return f"busy: {holder}"


def test_a_lock_is_held_once_and_names_its_holder(tmp_path: Path) -> None:
    lock = tmp_path / "deep" / "x.lock"
    who = f"^busy: process {os.getpid()} on "
    with locks.held(lock, busy), pytest.raises(ArtifactError, match=who), locks.held(lock, busy):
        pass
    assert list(lock.parent.iterdir()) == []


def test_a_file_of_others_is_no_lock(tmp_path: Path) -> None:
    lock = tmp_path / "poetry.lock"
    lock.write_text("[[package]]")
    with pytest.raises(ArtifactError, match="found a file, expected none"), locks.held(lock, busy):
        pass
    assert lock.read_text() == "[[package]]"
    (tmp_path / "l").symlink_to("poetry.lock")
    with pytest.raises(OSError, match="symbolic"), locks.held(tmp_path / "l", busy):
        pass


def test_a_dead_ones_lock_is_taken(tmp_path: Path) -> None:
    (tmp_path / "l").write_text("process 1 on elsewhere\n" + " " * 300)
    with locks.held(tmp_path / "l", busy):
        assert (tmp_path / "l").read_text().startswith(f"process {os.getpid()} on ")
    assert list(tmp_path.iterdir()) == []


def test_where_there_are_no_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*_: object) -> None:
        raise OSError(37, "No locks available")

    monkeypatch.setattr("fcntl.flock", none)
    with locks.held(tmp_path / "l", busy, needed=False) as file:
        assert file is None
    with pytest.raises(OSError, match="no locks"), locks.held(tmp_path / "l", busy):
        pass
    assert list(tmp_path.iterdir()) == []


def test_signals_wait_also_when_another_thread_takes_them(tmp_path: Path) -> None:
    """As one of torch's does; and no lock is left by one that comes while it is made."""

    class Stopped(BaseException):
        pass

    def stop(number: int, _: object) -> None:
        raise Stopped

    def send() -> None:
        signal.pthread_kill(threading.get_ident(), signal.SIGTERM)

    before = signal.signal(signal.SIGTERM, stop)
    reached = []
    try:
        with pytest.raises(Stopped), locks.uninterrupted():
            thread = threading.Thread(target=send)
            thread.start()
            thread.join()
            reached.append(1)
        with pytest.raises(Stopped), locks.held(tmp_path / "l", busy):
            send()
    finally:
        signal.signal(signal.SIGTERM, before)
    assert reached and list(tmp_path.iterdir()) == []
