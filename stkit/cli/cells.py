"""Cells of a grid on disk: how far each is, and what is written when one is finished."""

import json
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stkit import header, results
from stkit.cli import pool
from stkit.errors import ArtifactError
from stkit.stages import Cell, Stage

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
    found = results.read(path)
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
        raise ArtifactError(
            f"{path}: made with other settings: {'; '.join(apart)}; pass another -o, or move it"
        )
    return found


class Writer:
    """Writes the results of the stages of a grid."""

    def __init__(self, out: Path, work: Path, cells: Iterable[Cell], *, keep: bool) -> None:
        self.out, self.work, self.keep = out, work, keep
        self.cells = {cell.stage.file: cell for cell in cells}
        self.machine: dict[str, Any] | None = None

    def finish(self, stage: Stage, printed: dict[str, Any], device: str) -> str:
        """Write the result of a stage whose file is there; a word about it for people.

        printed: what the stage said; empty where that was lost, or another run made the file.
        """
        path = self.out / f"{stage.name}.json"
        if stage.verb[0] == "data" or path.exists():
            return ""
        head = header.read(self.work / stage.file)
        spent = pool.spent(self.work, stage)
        more: dict[str, Any] = {"attempts": spent["attempts"] + bool(printed)}
        if more["attempts"]:
            more["seconds"] = printed.get("seconds", 0.0) + spent["seconds"]
        if printed:
            more["device"] = self._device(device)
        if stage.verb[0] in ("poison", "rate"):
            found = results.poison(stage.name, head, printed, **more)
        else:
            cell = self.cells[stage.file]
            found = results.cell(cell.name, cell.settings, head, printed, **more)
        results.write(path, found)
        pool.forget(self.work, stage)
        if stage.verb[0] == "train" and not self.keep:
            (self.work / stage.file).unlink(missing_ok=True)
        told = [f"accuracy {found['accuracy']:.4f}"] if "accuracy" in found else []
        return ", ".join([*told, *([f"{more['seconds']:.0f} s"] if "seconds" in more else [])])

    def _device(self, device: str) -> str:
        """The name of a device, asked of a process of its own: this one stays free of torch."""
        if self.machine is None:
            words = [sys.executable, "-m", "stkit", "env", "--json"]
            try:
                said = subprocess.run(words, capture_output=True, check=True, timeout=120).stdout
                self.machine = json.loads(said)
            except (OSError, ValueError, subprocess.SubprocessError):
                self.machine = {}
        gpus, threads = self.machine.get("gpus", []), self.machine.get("threads", "unknown")
        kind, _, number = device.partition(":")
        which = int(number) if number.isdigit() else 0
        if kind in ("auto", "cuda") and which < len(gpus):
            return gpus[which]
        return f"cpu, {threads} threads" if kind in ("auto", "cpu") else device
