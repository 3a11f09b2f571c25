"""A file or folder appears whole or not at all: it is written under another name, then renamed.

All that stkit writes goes through here. What was at the path stays as it was until the rename, and
when writing fails: then nothing is left but an ArtifactError that says why. The other name is one
that nobody has, is opened through no link, and is locked while it is written, so that the next
writer sees which are left by dead ones, and removes those.
"""

import errno
import os
import re
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from secrets import token_hex
from typing import BinaryIO

from stkit.core import files, locks
from stkit.core.errors import ArtifactError, Taken

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""What a disk without space says."""


def free(path: Path, *, force: bool = False) -> None:
    """Make sure that `path` may be written: ArtifactError if it exists and not `force`, or if it is
    no regular file, which nothing replaces."""
    about = _there(path)
    if about is not None:
        _replaceable(path, about)
        if not force:
            raise ArtifactError(f"{path}: exists already; pass --force to replace it or another -o")
    home = next(folder for folder in path.absolute().parents if folder.exists())
    if not home.is_dir() or not os.access(home, os.W_OK):
        raise ArtifactError(f"{path}: {home} is no folder that can be written to; pass another -o")


def unused(root: Path) -> None:
    """Make sure that a folder may be made at `root`: ArtifactError if there is anything in it, or
    if it is where this process stands, which no other folder can take the place of."""
    if _there(root) is None:
        return
    if not root.is_dir() or any(root.iterdir()):
        raise ArtifactError(f"{root}: exists already; pass a new folder as -o")
    if root.is_symlink() or root.is_mount() or root.resolve() == Path.cwd():
        raise ArtifactError(
            f"{root}: is a link, a mount point or the folder one stands in; pass a new folder as -o"
        )


def _there(path: Path) -> os.stat_result | None:
    """What is at the path, a link as such; None where nothing is."""
    try:
        return os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:  # a loop of links, a name too long, a null in it
        reason = getattr(error, "strerror", None) or error
        raise ArtifactError(f"{path}: cannot be written ({reason}); pass another -o") from None


def _replaceable(path: Path, about: os.stat_result) -> None:
    if stat.S_ISLNK(about.st_mode):
        target = os.path.realpath(path)
        raise ArtifactError(f"{path}: is a link to {target}; pass the path that it leads to as -o")
    if not stat.S_ISREG(about.st_mode):
        kind = files.kind(about)
        raise ArtifactError(f"{path}: found {kind}, expected a file name; pass -o FILE")


@contextmanager
def whole_file(path: Path, *, replace: bool = True) -> Iterator[BinaryIO]:
    """A binary file to write into, which takes its place at `path` at the end of the block.

    Parent folders are made. ArtifactError when the disk is full or the folder cannot be written;
    Taken when a file has appeared at `path` that is not to be replaced.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _temporary(path) as (temporary, file):
            yield file
            file.flush()
            os.fsync(file.fileno())
            if locks.WINDOWS:  # which renames no open file
                file.close()
            place(temporary, path, replace=replace)
    except (OSError, RuntimeError) as error:
        # torch.save raises a RuntimeError of its own about a write that failed.
        reason = error.__context__ if isinstance(error, RuntimeError) else error
        if isinstance(reason, OSError):
            raise _unwritten(path, reason) from None
        raise


@contextmanager
def _temporary(path: Path) -> Iterator[tuple[Path, BinaryIO]]:
    """A new file beside `path`, locked and open; gone at the end unless it was renamed."""
    remove_dead(path)
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    while True:
        temporary = path.with_name(f"{path.name}.{token_hex(4)}.tmp")
        number = os.open(temporary, flags, 0o666)
        try:
            with open(number, "r+b") as file:
                if _kept(temporary, number):
                    yield temporary, file
                    return
        finally:
            with suppress(OSError):
                temporary.unlink()


def _kept(temporary: Path, number: int) -> bool:
    """Lock what was just made; False where another writer took it for a dead one's before."""
    return locks.alone(number) is not False and locks.is_at(temporary, number)


def remove_dead(path: Path) -> None:
    """Remove what writers of `path` left that were killed: nobody holds its lock."""
    name = re.compile(re.escape(path.name) + r"\.[0-9a-f]{8}\.tmp")
    with suppress(OSError), os.scandir(path.parent) as others:
        for each in [other.path for other in others if name.fullmatch(other.name)]:
            with suppress(OSError):
                _remove_if_dead(Path(each))


def _remove_if_dead(temporary: Path) -> None:
    folder = stat.S_ISDIR(os.lstat(temporary).st_mode)
    how = os.O_RDONLY if folder else os.O_RDWR
    number = os.open(temporary, how | os.O_NONBLOCK | os.O_NOFOLLOW)
    try:
        if locks.alone(number) and locks.is_at(temporary, number):
            shutil.rmtree(temporary) if folder else temporary.unlink()
    finally:
        os.close(number)


def place(temporary: Path, path: Path, *, replace: bool) -> None:
    """Give a finished file its name. Taken where one is there that is not to be replaced."""
    about = _there(path)
    if about is not None:
        _replaceable(path, about)
        if not replace:
            raise Taken(path)
    if replace:
        os.replace(temporary, path)
    else:
        try:
            os.link(temporary, path)  # fails where a file is, in one step
        except FileExistsError:
            raise Taken(path) from None
        except (OSError, AttributeError):  # a file system without hard links
            os.rename(temporary, path)
        else:
            temporary.unlink()
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    """Bring a new name to the disk, where the system can."""
    if locks.WINDOWS:
        return
    with suppress(OSError):
        number = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(number)
        finally:
            os.close(number)


def write_text(path: Path, text: str, *, replace: bool = True) -> None:
    """Write a UTF-8 text file; what no encoding has, half of a pair, is written as its number."""
    with whole_file(path, replace=replace) as file:
        file.write(text.encode(errors="backslashreplace"))


@contextmanager
def whole_folder(root: Path) -> Iterator[Path]:
    """A new folder to write into, which takes its place at `root` at the end of the block.

    `root` is new, or an empty folder, see `unused`. ArtifactError when it cannot be written.
    """
    unused(root)
    root, held = root.absolute(), None
    try:
        root.parent.mkdir(parents=True, exist_ok=True)
        remove_dead(root)
        temporary, held = _temporary_folder(root)
        try:
            yield temporary
            if held is not None and not locks.is_at(temporary, held):
                raise FileNotFoundError(errno.ENOENT, "it was removed while it was written")
            unused(root)
            temporary.rename(root)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    except OSError as error:
        raise _unwritten(root, error) from None
    finally:
        if held is not None:
            os.close(held)


def _temporary_folder(root: Path) -> tuple[Path, int | None]:
    """A new folder beside `root`, and what keeps it locked."""
    while True:
        temporary = root.with_name(f"{root.name}.{token_hex(4)}.tmp")
        temporary.mkdir()
        if locks.WINDOWS:  # which opens no folder
            return temporary, None
        with suppress(FileNotFoundError):  # taken for a dead writer's, and removed
            number = os.open(temporary, os.O_RDONLY)
            if _kept(temporary, number):
                return temporary, number
            os.close(number)


def _unwritten(path: Path, error: OSError) -> ArtifactError:
    space = "free some space or " if error.errno in (*FULL, None) else ""
    reason = error.strerror or error
    return ArtifactError(f"{path}: cannot be written ({reason}); {space}pass another -o")
