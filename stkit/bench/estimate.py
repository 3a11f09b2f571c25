"""How long a grid will take and how much it will write: from cells that are finished, else a rule.

The unit of work is an image once through a training step. A cell takes its images times epochs
times the passes that its frame makes in a step (11 for PGD-10). Seconds for it come from the
finished cells of the same model; while there are none, from `RATES`, which are rough.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from stkit.bench.tasks import Cell, Stage
from stkit.core import header
from stkit.core.errors import StkitError
from stkit.recipes import carried
from stkit.recipes.catalogue import MODELS
from stkit.recipes.frames import FRAMES, default_epochs
from stkit.recipes.poisons import METHODS, resolve
from stkit.recipes.settings import Costly, Recipe, settings

SIZES = {"cifar10": (50_000, 10), "cifar100": (50_000, 100), "digits": (1_437, 10)}
"""Training images and classes of the data sets that are 32x32."""
RATES = {"cuda": {"resnet18": 25_000, "small": 60_000}, "cpu": {"resnet18": 35, "small": 700}}
"""Images a second in training, when nothing is known; a model that is not here is as resnet18."""
START = 6.0  # seconds before a stage computes: imports, reading images


@dataclass(frozen=True)
class Data:
    """What the estimates need to know of the training images."""

    count: int
    classes: int
    side: int

    @property
    def nbytes(self) -> int:
        return 3 * self.count * self.side**2


def data(file: Path, settings: dict[str, Any]) -> Data:
    """The training images: from their file where it is there, else from the data set's name."""
    try:
        head, _ = header.layout(file)
        count, _, side, _ = head["images"]["shape"]
        return Data(count, len(header.read(file)["classes"]), side)
    except (StkitError, KeyError, ValueError):
        count, classes = SIZES.get(settings["name"], SIZES["cifar10"])
        return Data(settings["limit"] or count, classes, settings["size"] or 32)


def effort(cell: Cell, images: Data) -> float:
    """Images through a training step, of a whole cell."""
    options = cell.settings["train"]
    default = options.get("epochs", default_epochs(images.side, images.classes))
    epochs = (float(default), float(options.get("fine-tune-epochs", default)))
    total = 0.0
    augment = options.get("augment")
    for phase, length in zip(FRAMES[cell.settings["frame"]["frame"]].phases, epochs, strict=False):
        copies = phase.copies if augment is None else carried.read(augment).copies
        total += length * (copies + (phase.adversary.steps if phase.adversary else 0))
    return total * (images.count - float(options.get("holdout", 0)))


def poison_effort(stage: Stage, options: dict[str, Any], images: Data) -> float:
    """Images through a step, for a poison with a surrogate; nothing for the others."""
    kind = METHODS[stage.verb[1]]
    recipe = resolve(kind(**_of(kind, options)), (images.side, images.side), images.classes)
    return recipe.passes(images.count) if isinstance(recipe, Costly) else 0.0


def _of(kind: type[Recipe[Any]], options: dict[str, Any]) -> dict[str, Any]:
    """The settings among a stage's options that decide how long it takes: counts and choices."""
    plain = {k.replace("-", "_"): v for k, v in options.items()}
    return {
        name: plain[name]
        for name, about in settings(kind).items()
        if name in plain and (isinstance(plain[name], int) or plain[name] in about.choices)
    }


class Speed:
    """Seconds for an effort, by model: measured where a finished cell tells, else by the rule."""

    def __init__(
        self, finished: Iterable[tuple[Cell, dict[str, Any]]], images: Data, kind: str
    ) -> None:
        rates: dict[str, list[float]] = {}
        for cell, found in finished:
            if found.get("seconds"):
                rate = effort(cell, images) / found["seconds"]
                rates.setdefault(cell.settings["model"], []).append(rate)
        self.measured = {model: median(known) for model, known in rates.items()}
        self.rule = RATES[kind]

    def seconds(self, work: float, model: str) -> float:
        rule = self.rule.get(model, self.rule["resnet18"])
        return START + work / self.measured.get(model, rule)


def plan(
    stages: list[Stage], todo: Mapping[str, Cell], finished: Iterable[tuple[Cell, dict[str, Any]]],
    work: Path, *, keep: bool, device: str, jobs: int,
) -> dict[str, Any]:  # fmt: skip
    """Seconds of each cell that is not done, of each set of images and of all, bytes to be written,
    and on what basis.

    What of a cell is done already counts as to be done. device: `auto` is a GPU where NVIDIA's
    driver is there. keep: of checkpoints; else only those count that are there at a time.
    """
    if not todo:
        nothing = {"cells": {}, "images": {}, "seconds": 0.0, "disk_bytes": 0}
        return nothing | {"basis": "nothing is left to do"}
    first = next(iter(todo.values()))
    clean = next((stage for stage in stages if stage.name == "clean"), None)
    file = work / clean.file if clean else Path(str(first.stage.source))  # else poisons are files
    images = data(file, first.settings["data"])
    gpu = device.startswith("cuda") or (
        device == "auto" and Path("/proc/driver/nvidia/version").exists()
    )
    speed = Speed(finished, images, "cuda" if gpu else "cpu")
    cells, made, total, disk = {}, {}, 0.0, 0
    checkpoints: list[int] = []
    by_file = {cell.stage.file: cell for cell in todo.values()}
    models = set()
    for stage in stages:
        if (work / stage.file).exists():
            continue
        model = "resnet18"
        if stage.verb[0] == "train":
            cell = by_file[stage.file]
            model = cell.settings["model"]
            seconds = cells[cell.name] = speed.seconds(effort(cell, images), model)
            checkpoints.append(4 * MODELS.get(model, MODELS["resnet18"]).parameters)
        elif stage.verb[0] == "poison":
            options = _options(stage)
            model = options.get("model", model)
            seconds = made[stage.name] = speed.seconds(poison_effort(stage, options, images), model)
            disk += images.nbytes
        else:
            seconds = made[stage.name] = START
            disk += images.nbytes
        if stage.resumable:
            models.add(model)
        total += seconds
    guessed = sorted(models - speed.measured.keys())
    rates = (f"{m} {speed.rule.get(m, speed.rule['resnet18']):,} images/s" for m in guessed)
    basis = "finished cells" if not guessed else f"a rough rule: {', '.join(rates)}"
    checkpoints.sort(reverse=True)
    disk += 2 * sum(checkpoints[:jobs])  # unfinished, one is up to three times as large
    disk += sum(checkpoints if keep else checkpoints[:jobs])
    return {
        "cells": cells, "images": made, "seconds": total / jobs, "disk_bytes": disk, "basis": basis,
    }  # fmt: skip


def _options(stage: Stage) -> dict[str, Any]:
    """A stage's options as values."""
    pairs = (option.removeprefix("--").partition("=") for option in stage.options)
    return {key: int(v) if v.isdigit() else v if equals else True for key, equals, v in pairs}
