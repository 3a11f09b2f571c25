"""Runs of a grid on disk: how far each is, and what is written when one is finished."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from stkit.bench import noise
from stkit.bench.attempts import Attempts
from stkit.bench.tasks import Run, Task, folders
from stkit.core import header
from stkit.core.errors import ArtifactError
from stkit.report import files


class State(StrEnum):
    """How far a run is, in the words for people."""

    DONE = "done"
    BLOCKED = "blocked"  # there is a result, but damaged or of other settings
    TRAINED = "trained"  # but its result is not written
    UNFINISHED = "unfinished"
    TO_DO = "to do"


@dataclass(frozen=True)
class Status:
    """How far a run is. seconds: that it took, where known, on which device; why: what is wrong
    with its result."""

    run: Run
    state: State
    seconds: float | None = None
    device: str = ""
    why: str = ""


@dataclass(frozen=True)
class Progress:
    """Every run that was asked for, in the grid's or the queue's order."""

    statuses: tuple[Status, ...]

    @property
    def done(self) -> list[Status]:
        """The runs with a result."""
        return [status for status in self.statuses if status.state is State.DONE]

    @property
    def todo(self) -> list[Run]:
        """The runs that have no result."""
        return [s.run for s in self.statuses if s.state not in (State.DONE, State.BLOCKED)]

    @property
    def blocked(self) -> dict[str, str]:
        """The names of the runs whose results are in the way, and what is wrong with those."""
        return {s.run.called: s.why for s in self.statuses if s.state is State.BLOCKED}

    def timed(self, *, gpu: bool) -> list[tuple[Run, float]]:
        """The finished runs whose time on a GPU, or on a CPU, is known, with their seconds."""
        return [
            (status.run, status.seconds)
            for status in self.done
            if status.seconds and status.device.startswith("cpu") != gpu
        ]


def look(runs: Iterable[Run], out: Path, work: Path) -> Progress:
    """How far each run is; `out` is the folder of results, `work` that of tasks' files."""
    return Progress(tuple(_status(run, out / run.result, work) for run in runs))


def _status(run: Run, path: Path, work: Path) -> Status:
    if path.exists():
        try:
            read = _result(path, run)
            return Status(run, State.DONE, read.get("seconds"), str(read.get("device", "")))
        except ArtifactError as error:
            return Status(run, State.BLOCKED, why=str(error))
    file = work / run.task.file
    if file.exists():
        return Status(run, State.TRAINED)
    begun = file.with_name(f"{file.name}.part").exists()
    return Status(run, State.UNFINISHED if begun else State.TO_DO)


def _result(path: Path, run: Run) -> dict[str, Any]:
    """A run's result. ArtifactError when it is damaged, or was made with other settings."""
    read = files.read(path)
    a, b = (
        header.flat(json.loads(header.dumps(settings)))
        for settings in (read.get("settings"), run.settings)
    )
    apart = [
        f"{key or 'settings'} was {a.get(key, 'absent')}, now {b.get(key, 'absent')}"
        for key in sorted(a.keys() | b.keys())
        if a.get(key) != b.get(key)
    ]
    if apart:
        raise ArtifactError(f"{path}: {_other(apart)}")
    return read


class Writer:
    """Writes the results of tasks whose files are there, each into the folders of its runs."""

    def __init__(self, out: Path, work: Path, runs: Iterable[Run]) -> None:
        self.out, self.work = out, work
        self.runs: dict[str, list[Run]] = {}
        for run in runs:
            self.runs.setdefault(run.task.file, []).append(run)
        self.folders = folders(run for several in self.runs.values() for run in several)

    def finish(self, task: Task) -> str:
        """Write the results of a task, if it has any; a word about them for people.

        ArtifactError when a result of that name is there already, of other settings.
        """
        attempts = Attempts(self.work, task)
        said = "" if task.verb[0] == "data" else self._finish(task, attempts)
        attempts.forget()
        return said

    def _finish(self, task: Task, attempts: Attempts) -> str:
        try:
            head = header.read(self.work / task.file)
        except ArtifactError as error:
            raise ArtifactError(f"{error}; remove it and run again") from None
        spent, printed = attempts.spent(), attempts.printed()
        seconds = spent.total(printed.pop("seconds", None))
        more = {"attempts": spent.attempts or None, "seconds": seconds}
        given = {key: value for key, value in more.items() if value is not None}
        if task.file in self.runs:
            return self._finish_run(task, head, printed, given)
        made = files.poison(task.name, head, printed, **given)
        said: list[str] = []
        for folder in self.folders[task.file]:
            path = self.out / folder / f"{task.name}.json"
            if path.exists():  # of a poison made before
                _same_poison(path, head)
            else:
                said = _written(path, made)
            said += noise.take_home(task, self.work, path.parent)
        return ", ".join(said)

    def _finish_run(
        self, task: Task, head: dict[str, Any], printed: dict[str, Any], given: dict[str, Any]
    ) -> str:
        """Write the result of a training, for each grid that has it."""
        said: list[str] = []
        for run in self.runs[task.file]:
            path = self.out / run.result
            if path.exists():  # put there in the meantime
                _result(path, run)
            else:
                made = files.run(run.name, run.settings, head, printed, **given)
                said = _written(path, made) + ([f"in {run.folder}"] if run.folder else [])
        if not any(run.keep for run in self.runs[task.file]):
            (self.work / task.file).unlink(missing_ok=True)
        return ", ".join(said)


def _written(path: Path, made: dict[str, Any]) -> list[str]:
    """Write a result; words about it. ArtifactError for one that could not be read again."""
    try:
        files.check(made)
    except ArtifactError as error:  # a checkpoint without a result that can be read stays
        raise ArtifactError(f"{path}: {error}") from None
    files.write(path, made)
    accuracy, seconds = made.get("accuracy"), made.get("seconds")
    return [
        *([f"accuracy {accuracy:.4f}"] if accuracy is not None else []),
        *([f"{seconds:.0f} s"] if seconds is not None else []),
    ]


def _same_poison(path: Path, head: dict[str, Any]) -> None:
    """ArtifactError unless a result is of a poison that was made in the same way."""
    read = files.read(path)
    apart = header.differences({"recipe": {}, "seed": 0, "inputs": [], **read}, head)
    if apart:
        raise ArtifactError(f"{path}: {_other(apart)}")


def _other(apart: list[str]) -> str:
    return (
        f"made with other settings: {'; '.join(apart)}; "
        "pass another -o, or move it away and run again"
    )
