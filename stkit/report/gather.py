"""What a report is of: each training that files and folders hold, read alike from either."""

import os
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from stkit.core import header
from stkit.core.errors import ArtifactError
from stkit.report import files, result, summary
from stkit.report.result import Result, Row


@dataclass
class Gathered:
    """What files and folders hold."""

    results: list[Result] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)  # one a file
    skipped: dict[str, str] = field(default_factory=dict)  # file -> why
    passed: int = 0  # JSON files in folders that no bench wrote
    folders: list[Path] = field(default_factory=list)
    poisons: dict[Path, dict[str, Any]] = field(default_factory=dict)  # folder -> name -> recipe

    def add(self, training: Result) -> None:
        """Take up a training; one that is unfinished, or of an epoch on the way, has a row and no
        more."""
        if training.unfinished is None and training.kept is None:
            self.results.append(training)
        self.rows.append(result.row(training))

    def versions(self) -> str | None:
        """Which versions are mixed, for people; None when all are the same."""
        counted = {
            key: Counter(training.versions.get(key, "unknown") for training in self.results)
            for key in ("stkit", "torch")
        }
        mixed = [
            f"{key} " + ", ".join(f"{version} ({n})" for version, n in sorted(counts.items()))
            for key, counts in counted.items()
            if len(counts) > 1
        ]
        return "; ".join(mixed) or None

    def notes(self) -> list[str]:
        """What a reader of the numbers should know, a line each."""
        lines = [f"note: skipped {file}: {why}" for file, why in self.skipped.items()]
        if self.passed:
            lines.append(f"note: passed over {self.passed} other JSON files, which no bench wrote")
        if self.versions():
            lines.append(f"note: made by different versions: {self.versions()}")
        return lines


def named_apart(results: Iterable[Result]) -> list[Result]:
    """Data sets that share a name but not their images get the digests into their names."""
    trainings = list(results)
    images: dict[tuple[str, str], set[tuple[str, str]]] = {}
    for one in trainings:
        images.setdefault(one.data, set()).add((one.images.clean, one.tested))
    return [replace(one, apart=_apart(one, images[one.data])) for one in trainings]


def _apart(training: Result, images: set[tuple[str, str]]) -> str:
    words = []
    if len({clean for clean, _ in images}) > 1:
        words.append(f"images {training.images.clean[:8]}")
    if len({tested for _, tested in images}) > 1:
        words.append(f"tested on {training.tested[:8] or 'nothing'}")
    return f" ({', '.join(words)})" if words else ""


def gather(paths: Iterable[Path]) -> Gathered:
    """Read files and the JSON of folders. A damaged result is noted and skipped.

    ArtifactError for a path that is not there and for a damaged safetensors file.
    """
    gathered, seen = Gathered(), set()
    for path in paths:
        place = os.path.realpath(path)
        if place in seen:  # named twice, or in a folder that is named too
            continue
        seen.add(place)
        if path.is_dir():
            gathered.folders.append(path)
            for file in sorted(path.glob("*.json")):
                place = os.path.realpath(file)
                if place not in seen:
                    seen.add(place)
                    _take(gathered, file, named=False)
        elif path.suffix != ".json":
            _take_file(gathered, path)
        elif not path.exists():
            raise ArtifactError(f"{path}: no such file; check the path")
        else:
            _take(gathered, path, named=True)
    return gathered


def noted(paths: Iterable[Path], *, on_note: Callable[[str], None]) -> Gathered:
    """`gather`, with a line to `on_note` for what a reader of the numbers should know.

    ArtifactError where nothing is left to report.
    """
    gathered = gather(paths)
    if len(gathered.skipped) == 1 and not gathered.rows and not gathered.passed:
        ((file, why),) = gathered.skipped.items()
        raise ArtifactError(f"{file}: {why}")
    for line in gathered.notes():
        on_note(line)
    if not gathered.rows:
        raise ArtifactError(
            "found nothing to report; pass files written by stkit, or the folder of a stkit bench"
        )
    return gathered


def _take(gathered: Gathered, path: Path, *, named: bool) -> None:
    """One JSON file; `named` by the user, rather than one of a folder."""
    try:
        read = files.read(path)
        if read["kind"] == files.RUN:
            gathered.add(result.of_run(str(path), read))
        elif named:
            gathered.rows.append(summary.poison(str(path), read))
        else:
            gathered.poisons.setdefault(path.parent, {})[read["name"]] = read.get("recipe")
    except ArtifactError as error:
        if not named and "other JSON" in str(error):
            gathered.passed += 1
        else:
            gathered.skipped[str(path)] = str(error).removeprefix(f"{path}: ")


def _take_file(gathered: Gathered, path: Path) -> None:
    """One safetensors file."""
    head = header.read(path)
    if head["kind"] == "checkpoint":
        head["records"] = header.numbers(head["records"])
        gathered.add(result.of_checkpoint(str(path), head))
    else:
        gathered.rows.append(summary.row(str(path), head))
