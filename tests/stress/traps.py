"""A trap in a process: it counts the calls that write, and at the n-th something happens.

Counted are, within one folder: opening to write, every write to the file (what Python's buffers
hand to the system), fsync, flock, and making, renaming, linking, removing of files and folders.
"""

import builtins
import errno
import fcntl
import io
import json
import mmap
import os
import shutil
import signal
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

NOTES = 1 << 14  # bytes for what a trap tells the process that set it
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
ACTIONS = ("kill", "half", "int", "term", "full", "once", "vanish", "appear", "never")
GROWS = ("open", "write", "mkdir", "rename", "replace", "link", "symlink", "truncate", "fsync")
"""Calls that a full disk may refuse."""


@dataclass(frozen=True)
class Trap:
    """What happens at which call.

    kill: the process is gone before the call. half: half of a write is done, then it is gone.
    int, term: a signal to itself. full: no space from here on; once: no space for this call.
    vanish: the folder is removed. never: calls are counted only. at: counted from 1.
    """

    folder: Path
    action: str = "never"
    at: int = 0


@dataclass
class _State:
    """The trap of this process. inside: within one of the replacements."""

    trap: Trap | None = None
    shared: mmap.mmap | None = None
    calls: int = 0
    full: bool = False
    inside: bool = False


_state = _State()


def noted(shared: mmap.mmap) -> tuple[int, str]:
    """The calls counted, and the one at which the trap acted with what lay there."""
    text = bytes(shared[:]).rstrip(b"\0").decode(errors="replace")
    calls, _, sprung = text.partition("\n")
    return int(calls or 0), sprung


def disarm() -> None:
    """Count no longer."""
    _state.trap = None


def arm(trap: Trap, shared: mmap.mmap) -> None:
    """Set the trap in this process, for good."""
    real = os.path.realpath(trap.folder)
    _state.trap, _state.shared = Trap(Path(real), trap.action, trap.at), shared
    for name in (
        "mkdir", "rmdir", "unlink", "remove", "rename", "replace", "link", "symlink", "truncate",
    ):  # fmt: skip
        _replace(
            os, name, lambda args: args[-1] if len(args) > 1 and _is_path(args[1]) else args[0]
        )
    for name in ("fsync", "fdatasync", "ftruncate", "posix_fallocate"):
        _replace(os, name, lambda args: args[0])
    for name in ("write", "pwrite"):
        _replace(os, name, lambda args: args[0])
    _replace(fcntl, "flock", lambda args: args[0])
    _replace_os_open()
    _replace_open()


def _is_path(value: object) -> bool:
    return isinstance(value, (str, bytes, os.PathLike))


def _within(place: Any, folder: int | None = None) -> bool:
    """Whether a path, or an open file, is in the trap's folder."""
    if _state.trap is None or _state.inside:
        return False
    try:
        if isinstance(place, int) or hasattr(place, "fileno"):
            number = place if isinstance(place, int) else place.fileno()
            path = os.readlink(f"/proc/self/fd/{number}")
        else:
            path = os.fsdecode(place)
            if folder is not None:
                path = os.path.join(os.readlink(f"/proc/self/fd/{folder}"), path)
            path = os.path.abspath(path)
    except (OSError, TypeError, ValueError):
        return False
    root = str(_state.trap.folder)
    return path == root or path.startswith(root + "/")


def _call(name: str, path: object, half: Callable[[], object] | None = None) -> None:
    """One more counted call, which is about to be made."""
    trap = _state.trap
    assert trap is not None and _state.shared is not None
    _state.calls += 1
    text = f"{_state.calls:<12}\n".encode()
    _state.shared[: len(text)] = text
    if _state.full and name in GROWS and name != "fsync":
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), _named(path))
    if _state.calls != trap.at:
        return
    there = sorted(str(p.relative_to(trap.folder)) for p in trap.folder.rglob("*"))
    note = json.dumps({"call": name, "path": str(_named(path)), "there": there[:50]}).encode()
    _state.shared[len(text) : len(text) + len(note)] = note[: NOTES - len(text)]
    _act(trap, name, path, half)


def _act(trap: Trap, name: str, path: object, half: Callable[[], object] | None) -> None:
    """What the trap is there for."""
    match trap.action:
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        case "half":
            if half:
                half()
            os.kill(os.getpid(), signal.SIGKILL)
        case "int":
            os.kill(os.getpid(), signal.SIGINT)
        case "term":
            os.kill(os.getpid(), signal.SIGTERM)
        case "full" | "once":
            _state.full = trap.action == "full"
            if name in GROWS:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), _named(path))
        case "vanish":
            _state.inside = True
            shutil.rmtree(trap.folder, ignore_errors=True)
            _state.inside = False


def _named(path: object) -> object:
    return path if _is_path(path) else None


def _replace(module: Any, name: str, place: Callable[[tuple[Any, ...]], Any]) -> None:
    """A function of the system, counted from now on."""
    real = getattr(module, name, None)
    if real is None:
        return

    def counted(*args: Any, **how: Any) -> Any:
        where = place(args) if args else None
        folder = how.get("dir_fd", how.get("dst_dir_fd"))
        if where is not None and _within(where, folder):
            half = None
            if name == "write":
                half = lambda: real(args[0], bytes(args[1])[: len(args[1]) // 2])  # noqa: E731
            _call(name, where, half)
        return real(*args, **how)

    setattr(module, name, counted)
    if module is os:  # which shutil looks up to see what it may use
        for known in (os.supports_dir_fd, os.supports_fd, os.supports_follow_symlinks):
            if real in known:
                known.add(counted)


def _replace_os_open() -> None:
    real = os.open

    def opened(path: Any, flags: int, *args: Any, **how: Any) -> int:
        if flags & WRITES and _within(path, how.get("dir_fd")):
            _call("open", path)
        return real(path, flags, *args, **how)

    os.open = opened
    os.supports_dir_fd.add(opened)


class _Raw(io.FileIO):
    """A file of which every write to the system is counted."""

    def write(self, data: Any, /) -> int:
        if _within(self.fileno()):
            _call("write", self.name, lambda: io.FileIO.write(self, bytes(data)[: len(data) // 2]))
        return super().write(data)

    def truncate(self, size: int | None = None, /) -> int:
        if _within(self.fileno()):
            _call("truncate", self.name)
        return super().truncate(size)


def _replace_open() -> None:
    real = io.open

    def opened(
        file: Any, mode: str = "r", buffering: int = -1, encoding: Any = None, errors: Any = None,
        newline: Any = None, closefd: bool = True, opener: Any = None,
    ) -> Any:  # fmt: skip
        if not set(mode) & set("wax+") or not _within(file):
            return real(file, mode, buffering, encoding, errors, newline, closefd, opener)
        if not isinstance(file, int):
            _call("open", file)
        raw = _Raw(file, mode.replace("b", "").replace("t", ""), closefd, opener)
        if buffering == 0:
            return raw
        size = buffering if buffering > 1 else io.DEFAULT_BUFFER_SIZE
        buffer = io.BufferedRandom(raw, size) if "+" in mode else io.BufferedWriter(raw, size)
        if "b" in mode:
            return buffer
        text = io.TextIOWrapper(buffer, encoding, errors, newline, buffering == 1)
        with suppress(AttributeError):
            text.mode = mode  # type: ignore[misc]
        return text

    io.open = builtins.open = opened
