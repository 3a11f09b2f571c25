"""Folders that one process at a time holds, so that two never write into the same.

The lock is the operating system's (flock): it ends with the last process that has the open file,
thus it is never stale. The tasks of a bench inherit it, so that the folder stays held while one of
them goes on after the bench was killed. Who holds it stands in the file, for people.
"""

import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from stkit.core.errors import ArtifactError

NAME = "bench.lock"


@contextmanager
def held(*folders: Path) -> Iterator[tuple[int, ...]]:
    """Hold folders; the open files are to be passed on to processes that are to hold them too.

    ArtifactError at once where somebody else holds one, and where locks cannot be had.
    """
    with ExitStack() as stack:
        different = dict.fromkeys(folder.resolve() / NAME for folder in folders)
        yield tuple(stack.enter_context(_held(path)) for path in different)


@contextmanager
def _held(path: Path) -> Iterator[int]:
    try:
        file = _open(path)
    except OSError as error:
        raise ArtifactError(
            f"{path}: cannot be locked ({error.strerror}); pass a folder on another file system"
        ) from None
    try:
        yield file
    finally:
        path.unlink(missing_ok=True)
        os.close(file)


def _open(path: Path) -> int:
    """The lock file, locked, with this process's name in it."""
    try:
        import fcntl  # not on Windows
    except ImportError:
        raise ArtifactError(f"{path}: this system has no flock; run it on Linux or macOS") from None
    path.parent.mkdir(parents=True, exist_ok=True)
    while True:
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.read(file, 200).decode(errors="replace").strip() or "another process"
            os.close(file)
            if not isinstance(error, BlockingIOError):
                raise
            raise ArtifactError(
                f"{path.parent}: {holder} holds this folder, or a task of its that outlived it; "
                "expected one bench at a time; wait until they end, or pass another -o and --work"
            ) from None
        if _is(path, file):  # not one that its holder removed in the meantime
            break
        os.close(file)
    os.truncate(file, 0)
    os.write(file, f"process {os.getpid()} on {socket.gethostname()}\n".encode())
    return file


def _is(path: Path, file: int) -> bool:
    try:
        return os.path.samestat(os.stat(path), os.fstat(file))
    except FileNotFoundError:
        return False
