"""Files and folders that one process at a time holds, so that two never write into the same.

The lock is the operating system's (flock): it ends with the last process that has the open file,
thus it is never stale. Who holds it stands in the file, for people.
"""

import errno
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from stkit.core.errors import ArtifactError

try:
    import fcntl
except ImportError:
    fcntl = None  # type: ignore[assignment]
WINDOWS = fcntl is None

WORD = b"process "  # with which a lock file begins: one that is no lock is never emptied or removed
UNLOCKABLE = (errno.ENOLCK, errno.ENOTSUP, errno.EINVAL, errno.ENOSYS, errno.EBADF)


@contextmanager
def held(lock: Path, busy: Callable[[str], str], *, needed: bool = True) -> Iterator[int | None]:
    """Hold what this lock file stands for; gives the open file, to be passed on to processes that
    are to hold it too, or None where the file system knows no locks and none is `needed`.

    busy: the message, given who holds it, of the ArtifactError when somebody else does. OSError
    where the lock file cannot be made.
    """
    file = None
    try:
        with uninterrupted():
            file = _open(lock, busy)
        if file is None and needed:
            raise OSError(errno.ENOLCK, "this file system has no locks")
        yield file
    finally:
        if file is not None:
            with uninterrupted():
                lock.unlink(missing_ok=True)
                os.close(file)


def _open(lock: Path, busy: Callable[[str], str]) -> int | None:
    """The lock file, locked, with this process's name in it."""
    lock.parent.mkdir(parents=True, exist_ok=True)
    while True:
        file = os.open(lock, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o666)
        try:
            said = os.read(file, 200)
            if said and not said.startswith(WORD):
                raise ArtifactError(f"{lock}: found a file, expected none; move it out of the way")
            locked = alone(file)
            if locked is False:
                raise ArtifactError(busy(said.decode(errors="replace").strip() or "a process"))
        except BaseException:
            os.close(file)
            raise
        if locked is None:
            lock.unlink()
            os.close(file)
            return None
        if is_at(lock, file):  # not one that its holder removed in the meantime
            break
        os.close(file)
    try:
        os.truncate(file, 0)
        os.pwrite(file, f"process {os.getpid()} on {socket.gethostname()}\n".encode(), 0)
    except OSError:  # the disk is full
        lock.unlink(missing_ok=True)
        os.close(file)
        raise
    return file


def remove_dead(lock: Path) -> None:
    """Remove a lock file that a killed process has left: nobody holds it."""
    with suppress(OSError):
        file = os.open(lock, os.O_RDWR | getattr(os, "O_NOFOLLOW", 0))
        try:
            if os.read(file, len(WORD)) == WORD and alone(file) and is_at(lock, file):
                lock.unlink()
        finally:
            os.close(file)


@contextmanager
def uninterrupted() -> Iterator[None]:
    """SIGINT and SIGTERM wait until the end of the block.

    A mask would not do: another thread would take the signal, and the main thread act on it.
    """
    if threading.current_thread() is not threading.main_thread():  # which alone acts on signals
        yield
        return
    waiting: list[int] = []
    names = (signal.SIGINT, signal.SIGTERM)
    before = {name: signal.signal(name, lambda number, _: waiting.append(number)) for name in names}
    try:
        yield
    finally:
        for name, handler in before.items():
            signal.signal(name, signal.SIG_DFL if handler is None else handler)
        for number in waiting:
            signal.raise_signal(number)


def alone(file: int) -> bool | None:
    """Lock an open file or folder; False where another process has, None where none can."""
    if fcntl is None:
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in UNLOCKABLE:
            raise
        return None
    return True


def is_at(path: Path, file: int) -> bool:
    """Whether this open file is the one at the path."""
    try:
        return os.path.samestat(os.lstat(path), os.fstat(file))
    except FileNotFoundError:
        return False
