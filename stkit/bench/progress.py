"""Cells of a grid on disk: how far each is, and what is written when one is finished."""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stkit.bench import run
from stkit.bench.tasks import Cell, Stage
from stkit.core import header
from stkit.core.errors import ArtifactError
from stkit.report import files

Finished = list[tuple[Cell, dict[str, Any]]]


@dataclass
class Sorted:
    """Cells by how far they are; `blocked`: name -> what is wrong with its result."""

    done: Finished = field(default_factory=list)
    todo: dict[str, Cell] = field(default_factory=dict)
    blocked: dict[str, str] = field(default_factory=dict)
    states: dict[str, str] = field(default_factory=dict)  # name -> a word for people


def sort(cells: Iterable[Cell], out: Path, work: Path) -> Sorted:
    """Look at what is there; a result that is damaged or of other settings blocks its cell."""
    found = Sorted()
    for cell in cells:
        path, file = out / f"{cell.name}.json", work / cell.stage.file
        if path.exists():
            try:
                found.done.append((cell, _result(path, cell)))
                found.states[cell.name] = "done"
            except ArtifactError as error:
                found.blocked[cell.name] = str(error)
                found.states[cell.name] = "blocked"
            continue
        found.todo[cell.name] = cell
        part = file.with_name(f"{file.name}.part")
        found.states[cell.name] = (
            "trained" if file.exists() else "unfinished" if part.exists() else "to do"
        )
    return found


def _result(path: Path, cell: Cell) -> dict[str, Any]:
    """A cell's result. ArtifactError when it is damaged, or was made with other settings."""
    found = files.read(path)
    a, b = (
        header.flat(json.loads(header.dumps(settings)))
        for settings in (found.get("settings"), cell.settings)
    )
    apart = [
        f"{key or 'settings'} was {a.get(key, 'absent')}, now {b.get(key, 'absent')}"
        for key in sorted(a.keys() | b.keys())
        if a.get(key) != b.get(key)
    ]
    if apart:
        raise ArtifactError(f"{path}: {_other(apart)}")
    return found


class Writer:
    """Writes the results of the stages of a grid."""

    def __init__(self, out: Path, work: Path, cells: Iterable[Cell], *, keep: bool) -> None:
        self.out, self.work, self.keep = out, work, keep
        self.cells = {cell.stage.file: cell for cell in cells}

    def finish(self, stage: Stage, printed: dict[str, Any]) -> str:
        """Write the result of a stage whose file is there; a word about it for people.

        printed: what the stage said; empty where that was lost, or another run made the file.
        ArtifactError when a result of that name is there already, of other settings.
        """
        path, cell = self.out / f"{stage.name}.json", self.cells.get(stage.file)
        if stage.verb[0] == "data":
            return ""
        if cell and path.exists():
            _result(path, cell)
            return ""
        try:
            head = header.read(self.work / stage.file)
        except ArtifactError as error:
            raise ArtifactError(f"{error}; remove it and run again") from None
        if path.exists():
            _same_poison(path, head)
            return ""
        spent = run.spent(self.work, stage)
        more: dict[str, Any] = {"attempts": spent["attempts"]} if spent["attempts"] else {}
        last = printed.pop("seconds", None)
        if last is not None and spent["timed"] == spent["attempts"] - 1:  # all times are known
            more["seconds"] = last + spent["seconds"]
        if cell:
            found = files.run(cell.name, cell.settings, head, printed, **more)
        else:
            found = files.poison(stage.name, head, printed, **more)
        files.write(path, found)
        if cell and not self.keep:
            (self.work / stage.file).unlink(missing_ok=True)
        told = [f"accuracy {found['accuracy']:.4f}"] if "accuracy" in found else []
        return ", ".join([*told, *([f"{more['seconds']:.0f} s"] if "seconds" in more else [])])


def _same_poison(path: Path, head: dict[str, Any]) -> None:
    """ArtifactError unless a result is of a poison that was made in the same way."""
    found = files.read(path)
    apart = header.differences({"recipe": {}, "seed": 0, "inputs": [], **found}, head)
    if apart:
        raise ArtifactError(f"{path}: {_other(apart)}")


def _other(apart: list[str]) -> str:
    return (
        f"made with other settings: {'; '.join(apart)}; "
        "pass another -o, or move it away and run again"
    )
