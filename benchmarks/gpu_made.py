"""What the steps of `gpu.py` make, and how far each is: told from the files alone, without torch.

A file of rows, of which each case has one (`Rows`), the answer of a command (`Answer`), or what
`stkit bench` writes of a training (`Result`).
"""

import importlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import measuring
import rows


@dataclass(frozen=True)
class Place:
    """Where a call works. images: what `images.py` said; None until it has."""

    out: Path
    work: Path
    quick: bool
    images: Mapping[str, Any] | None = None

    @property
    def device(self) -> str:
        return "cpu" if self.quick else "cuda"

    @property
    def train(self) -> str:
        return str(self.work / "train.safetensors")

    @property
    def test(self) -> str:
        return str(self.work / "test.safetensors")

    def figure(self, name: str) -> Path:
        """The file of a figure."""
        return self.out / "benchmarks" / f"gpu-{name}"


@dataclass(frozen=True)
class Count:
    """How many of a step's cases are there. note: what people should know."""

    there: int
    total: int
    note: str = ""

    @property
    def complete(self) -> bool:
        return self.there >= self.total


class Made(Protocol):
    """What a step makes. kept: whether the file is what the command printed."""

    file: Path
    kept: bool

    def count(self, place: Place) -> Count: ...

    def figures(self) -> str: ...


@dataclass(frozen=True)
class Rows:
    """A row for each case of a benchmark's module, called with these words."""

    file: Path
    module: str
    words: tuple[str, ...]
    kept = False

    def count(self, place: Place) -> Count:
        benchmark = importlib.import_module(self.module)
        cases = benchmark.cases(benchmark.parse(self.words))
        there = rows.read(self.file)
        return Count(len(cases) - len(rows.missing(cases, there)), len(cases))

    def figures(self) -> str:
        """The rows as a table, those of other steps in the same file too."""
        benchmark = importlib.import_module(self.module)
        columns = getattr(benchmark, "COLUMNS", None) or benchmark.POINTS
        return measuring.table(rows.read(self.file), columns)


@dataclass(frozen=True)
class Answer:
    """What a command printed, with its exit code and on which machine.

    here: whether it counts only on the machine and torch at hand.
    """

    file: Path
    here: bool = False
    kept = True

    def read(self) -> dict[str, Any]:
        """What is kept; empty where nothing is."""
        (kept,) = rows.read(self.file)[-1:] or [{}]
        return kept

    def count(self, place: Place) -> Count:
        kept, images = self.read(), place.images or {}
        if not kept:
            return Count(0, 1)
        if self.here and images and any(kept[k] != images[k] for k in ("machine", "torch")):
            return Count(0, 1, f"there is one of {kept['machine']}, torch {kept['torch']}")
        left = _listed(kept.get("result"), "left")
        if kept["exit"] not in (0, rows.LEFT):
            return Count(0, 1, f"exit {kept['exit']} on {kept['date']}")
        return Count(0, 1, f"{left} left") if left or kept["exit"] else Count(1, 1)

    def figures(self) -> str:
        """What was printed, or what of it is wrong or left."""
        kept = self.read()
        if not kept:
            return ""
        head = f"exit {kept['exit']}, {kept['seconds']:.0f} s, {kept['machine']}, {kept['date']}"
        return "\n".join([head, *_brief(kept.get("result"), kept.get("output", ""))])


def _listed(result: Any, key: str) -> int:
    """How many a result names under a key."""
    value = result.get(key) if isinstance(result, dict) else None
    return len(value) if isinstance(value, (list, dict)) else 0


def _brief(result: Any, output: str) -> list[str]:
    """A result in a few lines: of a list what is not ok, of an object its numbers and failures."""
    if isinstance(result, list):
        bad = [row for row in result if isinstance(row, dict) and row.get("ok") is False]
        return [f"{len(result) - len(bad)} of {len(result)} ok", *map(json.dumps, bad)]
    if isinstance(result, dict):
        lines = [f"{k}: {v}" for k, v in result.items() if isinstance(v, (int, float, str))]
        lines += [f"{k}: {len(v)}" for k, v in result.items() if k == "left"]
        lists = [v for v in result.values() if isinstance(v, list)]
        lines += [line for rows_ in lists if rows_ and isinstance(rows_[0], dict)
                  for line in _brief(rows_, "")]  # fmt: skip
        return lines + [f"failed {k}: {v}" for k, v in (result.get("failed") or {}).items()]
    return output.splitlines()


@dataclass(frozen=True)
class Result:
    """The result of a training, as `stkit bench` writes it."""

    file: Path
    kept = False

    def count(self, place: Place) -> Count:
        return Count(int(self.file.exists()), 1)

    def figures(self) -> str:
        if not self.file.exists():
            return ""
        run = json.loads(self.file.read_text())
        keys = ("frame", "model", "epochs", "accuracy", "seconds", "device")
        return ", ".join(f"{key} {run[key]}" for key in keys if key in run)
