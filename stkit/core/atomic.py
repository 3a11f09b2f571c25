"""A file or folder appears whole or not at all: it is written under another name, then renamed.

All that stkit writes goes through here. What was at the path stays as it was until the rename, and
when writing fails: then nothing is left but an ArtifactError that says why.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from stkit.core.errors import ArtifactError


@contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """A binary file to write into, which takes its place at `path` at the end of the block.

    Parent folders are made. ArtifactError when the disk is full or the folder cannot be written.
    """
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException as error:
        with suppress(OSError):
            temporary.unlink()
        # torch.save raises a RuntimeError of its own about a write that failed.
        reason = error.__context__ if isinstance(error, RuntimeError) else error
        if isinstance(reason, OSError):
            raise _unwritten(path, reason) from None
        raise


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 text file; what no encoding has, half of a pair, is written as its number."""
    with whole_file(path) as file:
        file.write(text.encode(errors="backslashreplace"))


@contextmanager
def whole_folder(root: Path) -> Iterator[Path]:
    """A new folder to write into, which takes its place at `root` at the end of the block.

    `root` is new, or an empty folder. ArtifactError when it cannot be written, and where another
    writer of it was killed and left its work.
    """
    temporary = root.absolute().parent / f"{root.absolute().name}.tmp"
    if temporary.exists():
        raise ArtifactError(f"{temporary}: left by an export that was stopped; remove it")
    try:
        temporary.mkdir(parents=True)
        yield temporary
        if root.exists():  # may be where the user stands, or a link: it stays the folder it is
            for child in temporary.iterdir():
                child.rename(root / child.name)
        else:
            temporary.rename(root)
    except OSError as error:
        raise _unwritten(root, error) from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _unwritten(path: Path, error: OSError) -> ArtifactError:
    return ArtifactError(
        f"{path}: cannot be written ({error.strerror or error}); free some space or pass another -o"
    )
