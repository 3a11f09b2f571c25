"""Long work that may be stopped: training, EM and REM run through `run`, saved on a clock."""

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from time import perf_counter
from typing import Any, Protocol

from stkit.cli import output
from stkit.errors import ArtifactError, Interrupted

SAVE_EVERY = float(os.environ.get("STKIT_SAVE_EVERY", "30"))
"""Seconds between two saves of unfinished work, at least; the variable is there for tests."""
SHARE = 50  # a save that took t seconds is followed by at least SHARE * t of work: 2 % of the time


class Work(Protocol):
    """What can be stopped and gone on with: `stkit.training.Training`, and EM's and REM's."""

    @property
    def done(self) -> bool: ...
    @property
    def place(self) -> str: ...
    @property
    def progress(self) -> tuple[int, int]: ...
    def steps(self) -> Iterator[dict | None]: ...
    def tensors(self) -> dict[str, Any]: ...
    def head(self) -> dict: ...
    def resume(self, head: dict, tensors: dict[str, Any]) -> None: ...


def part_of(out: Path) -> Path:
    """Where the unfinished work for `out` lies."""
    return out.parent / f"{out.name}.part"


def clear(out: Path, *, resume: bool, force: bool) -> None:
    """ArtifactError when `out`, or unfinished work for it, is in the way."""
    from stkit import artifacts

    artifacts.free(out, force=force)
    artifacts.unclaimed(part_of(out), resume=resume, force=force)


def take_up(work: Work, out: Path, kind: str) -> None:
    """Go on from the unfinished work for `out`, if there is any; ArtifactError if it is not its."""
    from stkit import artifacts

    part = part_of(out)
    if not part.exists():
        return
    head, tensors = artifacts.read(part, kind)
    try:
        work.resume(head, tensors)
    except ArtifactError as error:
        raise ArtifactError(f"{part}: {error}") from None
    output.note(f"resuming at {work.place}")


def run(
    work: Work,
    out: Path,
    finish: Callable[[], object],
    *,
    label: str,
    line: Callable[[dict], str] | None,
) -> None:
    """Take every step; save to `out`.part on a clock, and on SIGINT or SIGTERM before stopping.

    finish: writes the result; no signal comes between it and the removal of `out`.part.
    line: makes a line on stderr of each record; None prints none.
    """
    from stkit import artifacts

    part, caught = part_of(out), list[int]()
    names = (signal.SIGINT, signal.SIGTERM)
    before = {name: signal.signal(name, lambda number, _: caught.append(number)) for name in names}
    saved, cost = perf_counter(), 0.0
    try:
        with output.bar(label) as progress:
            for record in work.steps():
                progress(*work.progress)
                if record and line:
                    output.note(line(record))
                if work.done:
                    break
                if caught or perf_counter() - saved > max(SAVE_EVERY, SHARE * cost):
                    start = perf_counter()
                    artifacts.write(part, work.tensors(), work.head())
                    saved = perf_counter()
                    cost = saved - start
                if caught:
                    raise Interrupted(
                        f"interrupted at {work.place}; it is saved in {part}; "
                        "the same command with --resume goes on",
                        caught[0],
                    )
        finish()
        part.unlink(missing_ok=True)
    finally:
        for name, handler in before.items():
            signal.signal(name, handler)
