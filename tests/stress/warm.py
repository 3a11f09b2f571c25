"""Command lines in processes forked from this one, which has imported all that they need.

Importing costs seconds a process, a fork some hundredths of one. Nothing here may run on more
than one thread before the last fork: a copy of a pool of threads has no threads in it.

A trap (traps.py) counts what a child writes and ends, fails or disturbs it at a call of choice.
"""

import ctypes
import gc
import importlib
import mmap
import os
import pkgutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import traps

LIMIT = 120.0  # seconds after which a command hangs, however busy the machine is
SUBREAPER = 36  # prctl: what a child leaves behind becomes a child of this process


def main(words: list[str]) -> int:
    """`stkit`, in this process."""
    from stkit.bench.run import Host
    from stkit.cli import main as stkit

    # a bench's tasks are forked, see `ForkedPopen`
    host = Host((sys.executable, "-m", "stkit"), cores=os.cpu_count() or 1)
    return stkit(words, host if words[:1] == ["bench"] else None)


def warm_up() -> None:
    """Import everything, on one thread, and run what imports late."""
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = "1"
    for name in ("STKIT_DATA", "COLUMNS", "NO_COLOR"):
        os.environ.pop(name, None)
    os.environ["STKIT_SAVE_EVERY"] = "0"
    import torch
    import typer

    import stkit

    torch.set_num_threads(1)
    saving = importlib.import_module("stkit.cli.saving")
    if hasattr(saving, "SHARE"):
        saving.SHARE = 0  # save at every chance, whatever that costs
    for module in pkgutil.walk_packages(stkit.__path__, "stkit."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    for name in ("timm", "sklearn.datasets", "sklearn.model_selection", "torchvision.datasets"):
        importlib.import_module(name)
    with suppress(ImportError):
        importlib.import_module("matplotlib.pyplot")
    ctypes.CDLL(None).prctl(SUBREAPER, 1)
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with tempfile.TemporaryDirectory() as folder, _quiet(folder):
        for line in (
            "data digits --size 16 --limit 20 -o d", "export d -o tree", "list frames",
            "train d --frame st --model small --epochs 1 --batch-size 10 -o n", "inspect n",
            "poison sp d -o s", "import s --clean d -o i", "report n", "no-such-command",
            "eval n d --split train", "acm n d",
        ):  # fmt: skip
            main(line.replace(" d", f" {folder}/d").replace(" digits", " digits").split())
    for number, handler in zip((signal.SIGINT, signal.SIGTERM), before, strict=True):
        signal.signal(number, handler)
    app = sys.modules["stkit.cli.app"]
    app.app = typer.main.get_command(app.app)  # which Typer would build anew for each command line
    gc.collect()
    gc.freeze()  # a collection in a child would touch, and so copy, all of the parent's memory


@contextmanager
def _quiet(folder: str) -> Iterator[None]:
    """Nothing printed; in a folder."""
    home, kept = os.getcwd(), [os.dup(1), os.dup(2)]
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.chdir(folder)
    for stream in (1, 2):
        os.dup2(nowhere, stream)
    try:
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os.chdir(home)
        for stream, copy in zip((1, 2), kept, strict=True):
            os.dup2(copy, stream)
            os.close(copy)
        os.close(nowhere)


@dataclass(frozen=True)
class Ended:
    """What a command left. code: negative where a signal ended it; hung: it had to be killed.

    calls: those that the trap counted; sprung: the call at which it acted, and what lay in the
    folder then.
    """

    code: int
    out: str
    err: str
    seconds: float
    hung: bool = False
    calls: int = 0
    sprung: str = ""

    @property
    def traceback(self) -> bool:
        """Whether it ended as no user should see."""
        return "Traceback (most recent call last)" in self.err

    @property
    def said(self) -> str:
        """The one line of an error; else what there is in its place."""
        lines = [line for line in self.err.splitlines() if line.startswith("error: ")]
        return lines[-1] if lines else self.err[-300:]

    @property
    def refused(self) -> bool:
        """Whether it ended with one line that says why, and exit code 1 or 2."""
        lines = [line for line in self.err.splitlines() if line.startswith("error: ")]
        return self.code in (1, 2) and len(lines) == 1 and not self.traceback


@dataclass
class Child:
    """A command under way."""

    pid: int
    streams: tuple[Any, ...]
    shared: mmap.mmap
    begun: float = field(default_factory=time.monotonic)

    def signal(self, number: int) -> None:
        """Send a signal, to it alone."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def wait(self, limit: float = LIMIT) -> Ended:
        """What it left, once it has ended."""
        hung, status, pause = False, 0, 0.001
        while True:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                break
            if time.monotonic() - self.begun > limit:
                hung = True
                self.signal(signal.SIGKILL)
            time.sleep(pause)
            pause = min(2 * pause, 0.01)
        seconds = time.monotonic() - self.begun
        texts = []
        for stream in self.streams:
            stream.seek(0)
            texts.append(stream.read().decode(errors="replace"))
            stream.close()
        calls, sprung = traps.noted(self.shared)
        self.shared.close()
        return Ended(
            os.waitstatus_to_exitcode(status), *texts, seconds, hung, calls, sprung
        )  # fmt: skip


@contextmanager
def _ending() -> Iterator[list[int]]:
    """End this process, a forked one, with the code that the block appends, or 70."""
    ended: list[int] = []
    try:
        yield ended
    except BaseException:
        traceback.print_exc()
    finally:
        with suppress(BaseException):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(ended[0] if ended else 70)


def start(
    words: list[str],
    *,
    cwd: Path,
    trap: traps.Trap | None = None,
    env: dict[str, str] | None = None,
    prepare: Callable[[], None] | None = None,
) -> Child:
    """Begin a command line in a folder. prepare: called in the child, before all else."""
    streams = tuple(os.fdopen(os.memfd_create(name), "rb") for name in ("out", "err"))
    shared = mmap.mmap(-1, traps.NOTES)
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid:
        return Child(pid, streams, shared)
    with _ending() as ended:
        os.setsid()  # no Ctrl-C to the harness is one to it
        nothing = os.open(os.devnull, os.O_RDONLY)
        for number, stream in enumerate((nothing, streams[0].fileno(), streams[1].fileno())):
            os.dup2(stream, number)
        for handled in (signal.SIGINT, signal.SIGTERM):
            signal.signal(handled, signal.SIG_DFL)
        os.chdir(cwd)
        os.environ |= env or {}
        _fork_tasks()
        if prepare:
            prepare()
        if trap:
            traps.arm(trap, shared)
        ended.append(main(words))
    raise AssertionError("the process has ended")


def run(words: list[str], *, cwd: Path, trap: traps.Trap | None = None, **more: Any) -> Ended:
    """A command line to its end."""
    return start(words, cwd=cwd, trap=trap, **more).wait()


def orphans() -> list[int]:
    """The processes that children of this one have left behind and that still run."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError, ValueError):
            about = path.read_text().rpartition(")")[2].split()
            if int(about[1]) == os.getpid() and about[0] != "Z":
                found.append(int(path.parent.name))
    return found


def settle(*, kill: bool) -> None:
    """Wait for what children have left behind, or kill it first."""
    if kill:
        for pid in orphans():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    end = time.monotonic() + LIMIT
    while time.monotonic() < end:
        with suppress(ChildProcessError):
            if os.waitpid(-1, os.WNOHANG)[0]:
                continue
        if not orphans():
            return
        time.sleep(0.005)
    settle(kill=True)


class ForkedPopen:
    """What `stkit bench` needs of `subprocess.Popen`, of a `stkit` that is forked."""

    def __init__(self, words: list[str], **how: Any) -> None:
        self.returncode: int | None = None
        self.pid = os.fork()
        if self.pid:
            return
        with _ending() as ended:
            traps.disarm()
            os.setpgid(0, 0)
            for handled in (signal.SIGINT, signal.SIGTERM):
                signal.signal(handled, signal.SIG_DFL)
            for number, stream in ((1, how["stdout"]), (2, how["stderr"])):
                os.dup2(stream if isinstance(stream, int) else stream.fileno(), number)
            os.environ.clear()
            os.environ |= how.get("env") or {}
            ended.append(main(words[words.index("stkit") + 1 :]))

    def poll(self) -> int | None:
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        while self.poll() is None:
            time.sleep(0.005)
        assert self.returncode is not None
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def _fork_tasks() -> None:
    """Let a bench in this process fork its tasks."""
    import subprocess

    real = subprocess.Popen

    def popen(words: Any, *args: Any, **how: Any) -> Any:
        ours = isinstance(words, (list, tuple)) and "stkit" in words
        return ForkedPopen(list(words), **how) if ours else real(words, *args, **how)

    subprocess.Popen = popen  # type: ignore[assignment, misc]
