"""Folders that one bench at a time holds, so that two never write into the same.

The tasks of a bench inherit the lock, so that a folder stays held while one of them goes on after
the bench was killed.
"""

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from stkit.core import locks
from stkit.core.errors import ArtifactError

NAME = "bench.lock"


@contextmanager
def held(*folders: Path) -> Iterator[tuple[int, ...]]:
    """Hold folders; the open files are to be passed on to processes that are to hold them too.

    ArtifactError at once where somebody else holds one, and where locks cannot be had.
    """
    with ExitStack() as stack:
        different = dict.fromkeys(Path(os.path.realpath(folder)) for folder in folders)
        yield tuple(stack.enter_context(_held(folder)) for folder in different)


@contextmanager
def _held(folder: Path) -> Iterator[int]:
    def busy(holder: str) -> str:
        return (
            f"{folder}: {holder} holds this folder, or a task of its that outlived it; "
            "expected one bench at a time; wait until they end, or pass another -o and --work"
        )

    with ExitStack() as stack:
        try:
            file = stack.enter_context(locks.held(folder / NAME, busy))
        except OSError as error:
            raise ArtifactError(
                f"{folder / NAME}: cannot be locked ({error.strerror}); "
                "pass a folder on another file system"
            ) from None
        assert file is not None, "a lock that is needed is there"
        yield file
