"""Long work that may be stopped: training, EM and REM run through `run`, saved on a clock."""

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from stkit.cli import output
from stkit.core.errors import ArtifactError, Interrupted

if TYPE_CHECKING:
    from stkit.engine.runtime import Runtime

SAVE_EVERY = float(os.environ.get("STKIT_SAVE_EVERY", "30"))
"""Seconds between two saves of unfinished work, at least; the variable is there for tests."""
MEET_EVERY = 0.5  # seconds between two such meetings, about
SHARE = 50  # a save that took t seconds is followed by at least SHARE * t of work: 2 % of the time


R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)


class Work(Protocol[R_co]):
    """What can be stopped and gone on with: `stkit.training.loop.Training`, and EM's and REM's."""

    runtime: "Runtime"

    @property
    def done(self) -> bool: ...
    @property
    def place(self) -> str: ...
    @property
    def progress(self) -> tuple[int, int]: ...
    def steps(self) -> Iterator[R_co | None]: ...
    def tensors(self) -> dict[str, Any]: ...
    def head(self) -> dict[str, Any]: ...
    def resume(self, head: dict[str, Any], tensors: dict[str, Any]) -> None: ...


def part_of(out: Path) -> Path:
    """Where the unfinished work for `out` lies."""
    return out.parent / f"{out.name}.part"


def clear(out: Path, *, resume: bool, force: bool) -> None:
    """ArtifactError when `out`, or unfinished work for it, is in the way."""
    from stkit.core import artifact

    if output.rank() == 0:
        artifact.free(out, force=force)
        artifact.unclaimed(part_of(out), resume=resume, force=force)


def take_up(work: Work[Any], out: Path, kind: str) -> None:
    """Go on from the unfinished work for `out`, if there is any; ArtifactError if it is not its."""
    from stkit.core import artifact

    part, runtime = part_of(out), work.runtime
    with runtime.together():
        found = artifact.read(part, kind) if part.exists() else None
    runtime.same(found and found[0]["digest"], f"{part} (it must lie where all ranks read it)")
    if found is None:
        return
    try:
        work.resume(*found)
    except ArtifactError as error:
        raise ArtifactError(f"{part}: {error}") from None
    output.note(f"resuming at {work.place}")


def run(
    work: Work[R],
    out: Path,
    finish: Callable[[], object],
    *,
    label: str,
    line: Callable[[R], str] | None,
) -> None:
    """Take every step; save to `out`.part on a clock, and on SIGINT or SIGTERM before stopping.

    finish: writes the result; no signal comes between it and the removal of `out`.part.
    line: makes a line on stderr of each record; None prints none.
    """
    part, caught, runtime = part_of(out), list[int](), work.runtime
    names = (signal.SIGINT, signal.SIGTERM)
    before = {name: signal.signal(name, lambda number, _: caught.append(number)) for name in names}
    saved, cost = perf_counter(), 0.0
    met, wait = perf_counter(), 1  # ranks meet after so many steps to agree on what follows
    try:
        with output.bar(label) as progress:
            for number, record in enumerate(work.steps()):
                progress(*work.progress)
                if record and line:
                    output.note(line(record))
                if work.done:
                    break
                if runtime.world_size > 1 and number % wait:
                    continue
                now = perf_counter()
                due = now - saved > max(SAVE_EVERY, SHARE * cost)
                often = meet_after(wait, now - met)
                stop, due, wait = runtime.meet(max(caught, default=0), due, often)
                met = now
                if stop or due:
                    start = perf_counter()
                    _save(work, part)
                    saved = perf_counter()
                    cost = saved - start
                if stop:
                    raise Interrupted(
                        f"interrupted at {work.place}; it is saved in {part}; "
                        "the same command with --resume goes on",
                        stop,
                    )
        finish()
        if runtime.first:
            part.unlink(missing_ok=True)
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
