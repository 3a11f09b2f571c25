"""Long work that may be stopped: training, EM and REM run through `run`, what a picture is drawn of
through `carry`; saved on a clock."""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from stkit.cli import claims, output
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


def take_up(work: Work[Any], out: Path, kind: str) -> None:
    """Go on from the unfinished work for `out`, if there is any; ArtifactError if it is not its."""
    from stkit.core import artifact
    from stkit.engine.memory import out_of_memory

    part, runtime = claims.part_of(out), work.runtime
    with runtime.together(), claims.told(part):
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
    except (KeyError, IndexError, TypeError, ValueError, RuntimeError) as error:
        if out_of_memory(error):
            raise
        # what no run has written
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
    on_record: Callable[[R], object] | None = None,
    on_step: Callable[[], object] | None = None,
    force: bool = False,
    clock: Clock | None = None,
) -> None:
    """Take every step; save to `out`.part on a clock, and on SIGINT or SIGTERM before stopping.

    finish: computes the result, by all ranks, and gives what writes it; no signal comes between
    that and the removal of `out`.part. line: makes a line on stderr of each record; None prints
    none. on_record: called with each, by all ranks, before what comes after it is saved. on_step:
    called after each step. force: replace a file that has appeared at `out` in the meantime; else
    the result is kept in `out`.part, and the ArtifactError says so.
    """
    clock = clock or Clock()
    with _caught() as signals:
        with output.bar(label) as progress:

            def stepped(done: int, total: int) -> None:
                progress(done, total)
                if on_step:
                    on_step()

            for record in _walk(work, claims.part_of(out), signals, clock, stepped):
                if line:
                    output.note(line(record))
                if on_record:
                    on_record(record)
        save = finish()
        with work.runtime.together():
            if work.runtime.first:
                place(save, out, force=force)


def carry(
    work: Work[R],
    out: Path,
    *,
    resume: bool,
    progress: Callable[[int, int], None],
    clock: Clock | None = None,
) -> None:
    """Take every step of work that `out` is made of in the end, such as a picture; saved as by
    `run`, and once more when it is done, so that it is not lost where `out` cannot be written.

    resume: go on from `out`.part where there is one. Who has made `out` removes that.
    """
    if resume:
        take_up(work, out, "state")
    with _caught() as signals:
        for _ in _walk(work, claims.part_of(out), signals, clock or Clock(), progress):
            pass
        _save(work, claims.part_of(out))


def _walk(
    work: Work[R],
    part: Path,
    signals: list[int],
    clock: Clock,
    progress: Callable[[int, int], None],
) -> Iterator[R]:
    """Take the steps, and stop and save when a signal has come; gives each record, before what
    comes after it is saved."""
    for number, record in enumerate(work.steps()):
        progress(*work.progress)
        if record:
            yield record
        if work.done:
            break
        if work.runtime.world_size > 1 and number % clock.wait:
            continue
        stop, due = clock.meet(work.runtime, signals)
        if stop or due:
            clock.save(work, part)
        if stop:
            raise Interrupted(
                f"interrupted at {work.place}; what is done is saved in {part}; "
                "the same command with --resume goes on",
                stop,
            )


def place(save: Save, out: Path, *, force: bool) -> None:
    """Write the result, to `out`.part where `out` was taken in the meantime."""
    part = claims.part_of(out)
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
