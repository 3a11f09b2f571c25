"""Noise that is kept beside a poison's result, so that a bare checkout need not make it again.

Class-wise noise is small. `stkit poison --class-noise` puts a poison together from it, or writes
it; the bench brings it to the tasks' files before they start, and takes it home when they are done.
"""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from stkit.bench.tasks import NOISE, Task
from stkit.core import atomic, files, header
from stkit.core.errors import ArtifactError

LARGEST = 1_000_000
"""Bytes of a file that a repository takes."""


def bring(
    tasks: Iterable[Task], folders: Mapping[str, list[str]], out: Path, work: Path
) -> Iterator[str]:
    """Put the noise that results keep where its tasks look for it; yields what is wrong with it.

    folders: of results, for each task's file. Whether noise is of the same settings and images is
    for the task to see.
    """
    for task in tasks:
        if task.noise is None or (work / task.noise).exists() or (work / task.file).exists():
            continue
        for folder in folders[task.file]:
            kept = out / folder / f"{task.name}{NOISE}"
            if kept.exists():
                try:
                    header.read(kept, "class-noise")
                    _copy(kept, work / task.noise)
                    break
                except ArtifactError as error:
                    yield f"note: {error}; the noise is made anew"


def take_home(task: Task, work: Path, out: Path) -> list[str]:
    """Keep the noise of a task that is done beside its result; a word where other noise is there.

    out: the folder of that result.
    """
    if task.noise is None or not (work / task.noise).exists():
        return []
    made, kept = work / task.noise, out / f"{task.name}{NOISE}"
    poison = header.read(work / task.file)["digest"]
    if kept.exists():
        return [] if _of(kept) == poison else [f"{kept} is of other noise; remove it to keep this"]
    if _of(made) == poison and made.stat().st_size <= LARGEST:
        _copy(made, kept)
    return []


def _of(path: Path) -> str | None:
    """The digest of the images that a file keeps the noise of; None where it cannot be read."""
    try:
        return str(header.read(path, "class-noise")["images"])
    except ArtifactError:
        return None


def _copy(source: Path, target: Path) -> None:
    content = files.content(source, limit=LARGEST)
    with atomic.whole_file(target, replace=False) as file:
        file.write(content)
