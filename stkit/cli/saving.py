"""Long work that may be stopped: training, EM and REM run through `run`, saved on a clock."""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from stkit.cli import output
from stkit.core.errors import ArtifactError, Interrupted, Taken

if TYPE_CHECKING:
    from stkit.engine.runtime import Runtime

MEET_EVERY = 0.5  # seconds between two meetings of ranks, about
SHARE = 50  # a save that took t seconds is followed by at least SHARE * t of work: 2 % of the time


R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)


@dataclass
class Clock:
    """When unfinished work is saved, and after how many steps ranks meet to agree on that.

    every: seconds between two saves, at least. now: tells the time.
    """

    every: float = field(
        default_factory=lambda: float(os.environ.get("STKIT_SAVE_EVERY", "30"))  # for tests
    )
    now: Callable[[], float] = perf_counter
    wait: int = field(default=1, init=False)

    def __post_init__(self) -> None:
        self.saved = self.met = self.now()
        self.cost = 0.0  # seconds, of the last save

    def meet(self, runtime: "Runtime", signals: list[int]) -> tuple[int, bool]:
        """The signal that any rank has caught, or 0, and whether it is time to save."""
        now = self.now()
        due = now - self.saved > max(self.every, SHARE * self.cost)
        often = meet_after(self.wait, now - self.met)
        self.met = now
        stop, due, self.wait = runtime.meet(max(signals, default=0), due, often)
        return stop, due

    def save(self, work: "Work[Any]", part: Path) -> None:
        """Save, and note what that costs."""
        start = self.now()
        _save(work, part)
        self.saved = self.now()
        self.cost = self.saved - start


class Work(Protocol[R_co]):
    """What can be stopped and gone on with: `stkit.training.loop.Training`, and EM's and REM's."""

    runtime: "Runtime"

    @property
    def done(self) -> bool:
        """Whether nothing is left to do."""
        ...

    @property
    def place(self) -> str:
        """How far it has come, for people."""
        ...

    @property
    def progress(self) -> tuple[int, int]:
        """Units done, and of how many."""
        ...

    def steps(self) -> Iterator[R_co | None]:
        """Go on to the end; yields often, and a record now and then."""
        ...

    def tensors(self) -> dict[str, Any]:
        """What a file of it holds."""
        ...

    def head(self) -> dict[str, Any]:
        """The header of that file."""
        ...

    def resume(self, head: dict[str, Any], tensors: dict[str, Any]) -> None:
        """Take up what such a file holds."""
        ...


class Save(Protocol):
    """What writes a result."""

    def __call__(self, path: Path, *, replace: bool) -> object:
        """Write it, see `core.artifact.write`."""
        ...


def part_of(out: Path) -> Path:
    """Where the unfinished work for `out` lies."""
    return out.parent / f"{out.name}.part"


@contextmanager
def claimed(
    out: Path,
    *,
    force: bool,
    resume: bool | None = None,
    folder: bool = False,
    runtime: "Runtime | None" = None,
) -> Iterator[None]:
    """Hold `out`, a file or a `folder` to be, so that no other run writes it, to the end of the
    block.

    resume: of work that may be unfinished, whether it is gone on with; then `out` may be there, see
    `finished`. runtime: of a command that all ranks compute, of which the first holds it for all.
    ArtifactError at once when `out`, or unfinished work for it, is in the way, and when another run
    holds it, which is named.
    """
    from stkit.core import atomic, locks

    def busy(holder: str) -> str:
        return (
            f"{out}: {holder} is at work on it; expected one run at a time; "
            "wait until it ends, or pass another -o"
        )

    def look() -> None:
        if folder:
            atomic.unused(out)
        else:
            atomic.free(out, force=force or bool(resume))
        part = part_of(out)
        if resume is False and not force and part.exists():
            raise ArtifactError(
                f"{part}: unfinished work is there; pass --resume to go on with it, "
                "or --force to throw it away"
            )

    with ExitStack() as stack:
        with runtime.together() if runtime else nullcontext():
            if output.rank() == 0:
                look()
                lock = out.parent / f"{out.name}.lock"
                try:
                    stack.enter_context(locks.held(lock, busy, needed=False))
                except OSError as error:
                    raise ArtifactError(f"{lock}: {error.strerror}; pass another -o") from None
                look()  # the run that held it may just have ended
        yield


def finished(
    out: Path, kind: str, expected: dict[str, Any], runtime: "Runtime", *, force: bool
) -> dict[str, Any] | None:
    """The header of the finished result of this work, from an earlier run; None: there is none.

    That run was killed at its very end, so that `out` is there, whole; or it found `out` taken, so
    that its result lies in `out`.part, and is given its place now. expected: recipe, seed and
    inputs of the result. ArtifactError where `out` is there and of other settings.
    """
    head = None
    with runtime.together():
        if runtime.first:
            head = _finished(out, kind, expected, force=force)
    shared: dict[str, Any] | None = runtime.shared(head)
    if shared is not None:
        output.note(f"{out}: was finished before, by the same settings")
    return shared


def _finished(
    out: Path, kind: str, expected: dict[str, Any], *, force: bool
) -> dict[str, Any] | None:
    """The same, for rank 0."""
    from stkit.core import artifact, atomic, header

    part = part_of(out)
    if out.exists() and not force:
        head, _ = artifact.read(out, kind, verify=True)
        other = header.differences(head, expected)
        if other or not _whole(head):
            raise ArtifactError(
                f"{out}: exists already and was made with other settings: {'; '.join(other)}; "
                "pass --force to replace it or another -o"
            )
        part.unlink(missing_ok=True)
        return head
    if not part.exists():
        return None
    head = header.read(part)
    if head["kind"] != kind or not _whole(head) or header.differences(head, expected):
        return None
    artifact.read(part, verify=True)
    atomic.place(part, out, replace=force)
    return head


def _whole(head: dict[str, Any]) -> bool:
    """Whether a file is a result, rather than unfinished work."""
    return bool(head.get("progress", {}).get("done", True))


def take_up(work: Work[Any], out: Path, kind: str) -> None:
    """Go on from the unfinished work for `out`, if there is any; ArtifactError if it is not its."""
    from stkit.core import artifact

    part, runtime = part_of(out), work.runtime
    with runtime.together():
        unfinished = artifact.read(part, kind, verify=True) if part.exists() else None
    runtime.same(
        unfinished and unfinished[0]["digest"], f"{part} (it must lie where all ranks read it)"
    )
    if unfinished is None:
        return
    try:
        work.resume(*unfinished)
    except ArtifactError as error:
        raise ArtifactError(f"{part}: {error}") from None
    except (KeyError, IndexError, TypeError, ValueError) as error:  # what no run has written
        raise ArtifactError(
            f"{part}: damaged, it does not fit this run ({type(error).__name__}: {error}); "
            "pass --force to start again"
        ) from None
    output.note(f"resuming at {work.place}")


def run(
    work: Work[R],
    out: Path,
    finish: Callable[[], Save],
    *,
    label: str,
    line: Callable[[R], str] | None,
    force: bool = False,
    clock: Clock | None = None,
) -> None:
    """Take every step; save to `out`.part on a clock, and on SIGINT or SIGTERM before stopping.

    finish: computes the result, by all ranks, and gives what writes it; no signal comes between
    that and the removal of `out`.part. line: makes a line on stderr of each record; None prints
    none. force: replace a file that has appeared at `out` in the meantime; else the result is kept
    in `out`.part, and the ArtifactError says so.
    """
    part, clock = part_of(out), clock or Clock()
    with _caught() as signals:
        with output.bar(label) as progress:
            for number, record in enumerate(work.steps()):
                progress(*work.progress)
                if record and line:
                    output.note(line(record))
                if work.done:
                    break
                if work.runtime.world_size > 1 and number % clock.wait:
                    continue
                stop, due = clock.meet(work.runtime, signals)
                if stop or due:
                    clock.save(work, part)
                if stop:
                    raise Interrupted(
                        f"interrupted at {work.place}; it is saved in {part}; "
                        "the same command with --resume goes on",
                        stop,
                    )
        save = finish()
        with work.runtime.together():
            if work.runtime.first:
                _place(save, out, force=force)


def _place(save: Save, out: Path, *, force: bool) -> None:
    """Write the result, to `out`.part where `out` was taken in the meantime."""
    part = part_of(out)
    try:
        save(out, replace=force)
    except Taken as taken:
        save(part, replace=True)
        raise ArtifactError(
            f"{out}: appeared while this was at work, and was left as it is; the result is kept in "
            f"{part}; pass --resume --force to replace the file by it, or move the file away and "
            "pass --resume"
        ) from taken
    part.unlink(missing_ok=True)


@contextmanager
def _caught() -> Iterator[list[int]]:
    """The signals that came meanwhile, which end nothing."""
    signals: list[int] = []
    names = (signal.SIGINT, signal.SIGTERM)
    before = {name: signal.signal(name, lambda number, _: signals.append(number)) for name in names}
    try:
        yield signals
    finally:
        for name, handler in before.items():
            signal.signal(name, handler)


def meet_after(wait: int, took: float) -> int:
    """In how many steps ranks meet again, where the last `wait` steps took so many seconds.

    At most twice as many as before: a few quick steps say little of those to come.
    """
    return min(2 * wait, 1000, max(1, round(wait * MEET_EVERY / max(took, 1e-6))))


def _save(work: Work[Any], part: Path) -> None:
    """Write the unfinished work; every rank gives what it has, rank 0 writes."""
    from stkit.core import artifact

    tensors, head = work.tensors(), work.head()
    with work.runtime.together():
        if work.runtime.first:
            artifact.write(part, tensors, head)
