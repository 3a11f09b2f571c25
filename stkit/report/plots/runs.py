"""The trainings of a picture, each with a name and a number for its look."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stkit.core.errors import ArtifactError
from stkit.report import files, gather
from stkit.report.groups import Group, grouped
from stkit.report.result import Result


@dataclass(frozen=True)
class Run:
    """A training. Those that differ in seeds alone share name and number."""

    result: Result
    name: str
    number: int

    def row(self) -> dict[str, str | int | float | None]:
        """What says in each row of the numbers which training they are of."""
        result = self.result
        return {
            "run": self.name, "data": result.data[0], "poison": result.called,
            "frame": result.frame, "model": result.model, "seed": result.seed,
        }  # fmt: skip


def runs(paths: Sequence[Path], *, on_note: Callable[[str], None]) -> list[Run]:
    """The finished trainings in these files, in the paper's order; see `compared`."""
    return compared(finished(paths, on_note=on_note))


def finished(paths: Sequence[Path], *, on_note: Callable[[str], None]) -> list[Result]:
    """The finished trainings in these files, and a note of each that is left out.

    None for an epoch on the way: its training has the records of all. ArtifactError where there are
    such alone.
    """
    gathered = gather.noted(paths, on_note=on_note)
    if not gathered.results and any("kept" in row for row in gathered.rows):
        raise ArtifactError(
            "found epochs on the way alone, expected trainings; pass the checkpoints at their end, "
            "which have the records of all epochs"
        )
    for row in gathered.rows if gathered.results else ():
        if row["kind"] not in ("checkpoint", files.RUN):
            on_note(f"note: left out {row['file']}: found a {row['kind']}, expected a training")
        elif "unfinished" in row:
            on_note(f"note: left out {row['file']}: unfinished")
    return gathered.results


def compared(results: Iterable[Result]) -> list[Run]:
    """Trainings that are shown in one picture, in the paper's order.

    ArtifactError where there is none, and for some of which nothing can be compared: on images from
    several sources, or of different numbers of classes.
    """
    groups = grouped(results, None)
    if not groups:
        raise ArtifactError(
            "found no finished training in these files; pass checkpoints, or results of stkit bench"
        )
    firsts = [group.first for group in groups]
    _one("images of", [first.images.source or "unknown" for first in firsts])
    _one("class counts", [first.classes for first in firsts if first.classes])
    names = _names(groups)
    return [
        Run(result, names[number], number)
        for number, group in enumerate(groups)
        for result in group.results
    ]


def _one(what: str, values: Iterable[Any]) -> None:
    apart = list(dict.fromkeys(values))
    if len(apart) > 1:
        raise ArtifactError(
            f"found trainings with {what} {' and '.join(map(str, apart))}, expected one in a "
            "picture; draw one picture for each"
        )


def _names(groups: Sequence[Group]) -> list[str]:
    """What tells each group from the others: its frame, and all else that differs."""
    said = [(g.first.data[0], g.first.called, g.frame, g.first.model) for g in groups]
    apart = [len(set(column)) > 1 for column in zip(*said, strict=True)]
    apart[2] = apart[2] or not any(apart)
    return [
        ", ".join(word for word, tells in zip(words, apart, strict=True) if tells) for words in said
    ]
