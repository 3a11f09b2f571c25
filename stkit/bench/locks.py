"""A file that one run at a time holds, so that two never make the same.

The lock is the operating system's (flock): it ends with the last process that has the open file,
thus it is never stale. A stage inherits it, so that it stays held when the run that started the
stage was killed and the stage goes on. Who holds it stands in the file, for people.
"""

import os
import socket
from pathlib import Path

from stkit.core.errors import ArtifactError


class Lock:
    """A lock that is held. `file` is to be passed on to a process that is to hold it too."""

    def __init__(self, path: Path, file: int) -> None:
        self.path, self.file = path, file

    def release(self) -> None:
        self.path.unlink(missing_ok=True)
        os.close(self.file)


def acquire(path: Path) -> Lock | str:
    """The lock of this path, or who has it. ArtifactError where locks cannot be had."""
    try:
        import fcntl  # not on Windows
    except ImportError:
        raise ArtifactError(f"{path}: this system has no flock; run it on Linux or macOS") from None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        while True:
            file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                holder = os.read(file, 200).decode(errors="replace").strip()
                os.close(file)
                return holder or "another process"
            if _is(path, file):  # not one that its holder removed in the meantime
                break
            os.close(file)
        os.truncate(file, 0)
        os.write(file, f"process {os.getpid()} on {socket.gethostname()}\n".encode())
        return Lock(path, file)
    except OSError as error:
        raise ArtifactError(
            f"{path}: cannot be locked ({error.strerror}); pass a folder on another file system"
        ) from None


def _is(path: Path, file: int) -> bool:
    try:
        return os.path.samestat(os.stat(path), os.fstat(file))
    except FileNotFoundError:
        return False
