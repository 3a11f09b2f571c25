"""What the steps of `gpu.py` make, and how far each is: told from the files alone, without torch.

A file of rows, of which each case has one (`Rows`), the answer of a command (`Answer`), or what
`stkit bench` writes of a training (`Result`).
"""

import importlib
import json
import platform
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Protocol

import measuring
import rows

GPUS = Path("/proc/driver/nvidia/gpus")
"""Where Linux tells of NVIDIA's GPUs."""


def at_hand() -> list[str]:
    """The machine, its GPUs and torch, without importing that."""
    said = "\n".join(path.read_text() for path in sorted(GPUS.glob("*/information")))
    known = [platform.node(), *(line for line in said.split("\n") if line.startswith("Model"))]
    with suppress(PackageNotFoundError):
        known.append(version("torch"))
    return known


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
    """What a step makes, and where."""

    @property
    def file(self) -> Path: ...

    def count(self, place: Place) -> Count: ...

    def figures(self) -> str: ...


@dataclass(frozen=True)
class Rows:
    """A row for each case of a benchmark's module, called with these words."""

    file: Path
    module: str
    words: tuple[str, ...]

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
            note = f"exit {kept['exit']} on {kept['date']}; remove the file to run it again"
            said = int(self.here and "result" in kept)  # again it would say the same here
            return Count(said, 1, note)
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
    """A result in a few lines: numbers, what is wrong of checks, what failed, how many are left."""
    if not isinstance(result, dict):
        return output.splitlines()
    lines = [f"{k}: {v}" for k, v in result.items() if isinstance(v, (int, float, str))]
    checks = result.get("checks") or []
    if checks:
        good = sum(each.get("status") != "wrong" for each in checks)
        lines.append(f"checks: {good} of {len(checks)} not wrong")
    lines += [f"WRONG {each['name']}: {each.get('about')}" for each in checks
              if each.get("status") == "wrong"]  # fmt: skip
    lines += [f"left: {_listed(result, 'left')}"] if "left" in result else []
    return lines + [f"failed {k}: {v}" for k, v in (result.get("failed") or {}).items()]


@dataclass(frozen=True)
class Result:
    """The result of a training, as `stkit bench` writes it."""

    file: Path

    def count(self, place: Place) -> Count:
        return Count(int(self.file.exists()), 1)

    def figures(self) -> str:
        if not self.file.exists():
            return ""
        run = json.loads(self.file.read_text())
        keys = ("frame", "model", "epochs", "accuracy", "seconds", "device")
        return ", ".join(f"{key} {measuring.shown(run[key])}" for key in keys if key in run)
