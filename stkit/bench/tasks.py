"""What a grid consists of: tasks, each one `python -m stkit ...`, and runs. No torch.

A task makes one file from others, and its file is named after its settings (a digest ends it), so a
grid that was changed never takes up the files of what it was.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from stkit.core import header
from stkit.recipes.poisons import LONG

Options = dict[str, str | int | float | bool]
"""Options of a command, without dashes; a switch is true or false."""
THREADS = 1
"""Of a task on a CPU whose options name none. They decide the last bits of what it makes, so they
may depend on nothing that changes: neither on the cores nor on how many tasks run side by side."""
CLASS_WISE = "--scope=class"
"""The option of a poison whose noise is one a class, so that it is kept in a small file."""
SUFFIX, NOISE = ".safetensors", ".noise.safetensors"
"""What ends the name of a task's file, and of the file that keeps its noise."""


@dataclass(frozen=True)
class Task:
    """One command, `python -m stkit VERB SOURCE OPTIONS -o FILE`, which makes one file."""

    name: str  # what people call it
    verb: tuple[str, ...]
    source: "Task | str"
    options: tuple[str, ...] = ()
    test: "Task | None" = None
    clean: "Task | None" = None
    state: str = ""  # digest of the source where that is a file

    @property
    def needs(self) -> tuple["Task", ...]:
        """The tasks whose files it reads."""
        return tuple(
            task for task in (self.source, self.test, self.clean) if isinstance(task, Task)
        )

    @property
    def resumable(self) -> bool:
        """Whether the command takes --resume and --device."""
        return self.verb[0] == "train" or self.verb[-1] in LONG

    @property
    def noise(self) -> str | None:
        """The name of the file that keeps its noise; None: it is cheap, or too large to be kept."""
        if self.verb[0] == "poison" and self.verb[-1] in LONG and CLASS_WISE in self.options:
            return self.file.removesuffix(SUFFIX) + NOISE
        return None

    @cached_property
    def file(self) -> str:
        """The name of its file: two tasks have the same one only if they make the same."""
        return f"{self.name}-{digest(self._settings())}{SUFFIX}"

    def _settings(self) -> list[Any]:
        source = self.source if isinstance(self.source, str) else self.source.file
        beside = [task and task.file for task in (self.test, self.clean)]
        return [self.verb, source, self.options, *beside, *([self.state] if self.state else [])]

    def command(self, work: Path) -> list[str]:
        """The words after `stkit`, files being in the folder `work`."""
        source = self.source if isinstance(self.source, str) else str(work / self.source.file)
        words = [*self.verb, source, *self.options]
        for option, task in (("--test", self.test), ("--clean", self.clean)):
            if task:
                words += [option, str(work / task.file)]
        if self.noise:
            words += ["--class-noise", str(work / self.noise)]
        return [*words, *self._going_on(), "-o", str(work / self.file)]

    def _going_on(self) -> list[str]:
        """What a task is told that may go on from what another left: as many threads, too."""
        if not self.resumable:
            return []
        told = any(option.startswith("--threads=") for option in self.options)
        return ["--resume", *([] if told else [f"--threads={THREADS}"])]


@dataclass(frozen=True)
class Run:
    """One training of a grid: `name` is that of its result, `settings` what decides it.

    settings: as the result holds them, JSON. options: of `stkit train`, but for frame, model, seed.
    keep: the checkpoint too, when its result is written. folder: of the result, where a queue has
    one a grid.
    """

    name: str
    task: Task
    frame: str
    model: str
    options: Options
    settings: dict[str, Any]
    keep: bool = True
    folder: str = ""

    @property
    def called(self) -> str:
        """Its name for people, behind the folder, since each grid of a queue may have one such."""
        return called(self.name, self.folder)

    @property
    def result(self) -> Path:
        """Where its result lies in the folder of results."""
        return Path(self.folder) / f"{self.name}.json"


@dataclass(frozen=True)
class Grid:
    """Every run of a grid, or of the grids of a queue."""

    runs: tuple[Run, ...]

    def tasks(self) -> list[Task]:
        """Every task of the grid, see `tasks_of`."""
        return tasks_of(self.runs)


def called(name: str, folder: str) -> str:
    """A name for people, behind its folder where it has one."""
    return f"{folder}/{name}" if folder else name


def folders(runs: Iterable[Run]) -> dict[str, list[str]]:
    """For the file of each task the folders of these runs' results that need it, in order."""
    by_file: dict[str, dict[str, None]] = {}
    for run in runs:
        for task in tasks_of([run]):
            by_file.setdefault(task.file, {})[run.folder] = None
    return {file: list(named) for file, named in by_file.items()}


def tasks_of(runs: Iterable[Run]) -> list[Task]:
    """Every task of these runs once, each after those it needs and near its run."""
    by_file: dict[str, Task] = {}

    def add(task: Task) -> None:
        for other in task.needs:
            add(other)
        by_file.setdefault(task.file, task)

    for run in runs:
        add(run.task)
    return list(by_file.values())


def digest(value: Any) -> str:
    """Eight hexadecimal digits that stand for a JSON value."""
    return hashlib.sha256(header.dumps(value).encode()).hexdigest()[:8]
