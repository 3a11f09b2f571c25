"""What a grid consists of: stages, each one `python -m stkit ...`, and cells. No torch.

A stage makes one file from others, and its file is named after its settings (a digest ends it), so
a grid that was changed never takes up the files of what it was.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stkit.core import header
from stkit.recipes.poisons import LONG


@dataclass(frozen=True)
class Stage:
    """One run of `python -m stkit`: `verb` on a source, with options, to a file of its own."""

    name: str  # what people call it
    verb: tuple[str, ...]
    source: "Stage | str"
    options: tuple[str, ...] = ()
    test: "Stage | None" = None
    clean: "Stage | None" = None
    state: str = ""  # digest of the source where that is a file

    @property
    def needs(self) -> tuple["Stage", ...]:
        found = (self.source, self.test, self.clean)
        return tuple(stage for stage in found if isinstance(stage, Stage))

    @property
    def resumable(self) -> bool:
        """Whether the command takes --resume and --device."""
        return self.verb[0] == "train" or self.verb[-1] in LONG

    @property
    def file(self) -> str:
        """The name of its file: two stages have the same one only if they make the same."""
        return f"{self.name}-{digest(self._settings())}.safetensors"

    def _settings(self) -> list[Any]:
        source = self.source if isinstance(self.source, str) else self.source.file
        beside = [stage and stage.file for stage in (self.test, self.clean)]
        return [self.verb, source, self.options, *beside, *([self.state] if self.state else [])]

    def command(self, work: Path) -> list[str]:
        """The words after `stkit`, files being in the folder `work`."""
        source = self.source if isinstance(self.source, str) else str(work / self.source.file)
        words = [*self.verb, source, *self.options]
        for option, stage in (("--test", self.test), ("--clean", self.clean)):
            if stage:
                words += [option, str(work / stage.file)]
        return [*words, *(["--resume"] if self.resumable else []), "-o", str(work / self.file)]


@dataclass(frozen=True)
class Cell:
    """One training of the grid: `name` is that of its result, `settings` what decides it."""

    name: str
    settings: dict[str, Any]
    stage: Stage

    @property
    def poison(self) -> Stage | str:
        """What makes the images it is trained on; a path where they are there already."""
        return self.stage.source


@dataclass(frozen=True)
class Grid:
    cells: tuple[Cell, ...]
    keep: bool  # checkpoints of cells whose result is written

    def stages(self) -> list[Stage]:
        """Every stage once, each after those it needs, as near before its cell as can be."""
        found: dict[str, Stage] = {}

        def add(stage: Stage) -> None:
            for other in stage.needs:
                add(other)
            found.setdefault(stage.file, stage)

        for cell in self.cells:
            add(cell.stage)
        return list(found.values())


def digest(value: Any) -> str:
    """Eight hexadecimal digits that stand for a JSON value."""
    return hashlib.sha256(header.dumps(value).encode()).hexdigest()[:8]
