"""A grid of trainings: TOML in, tasks and runs out. Planning only: nothing is run, no torch.

A run is one training: a poison at a rate, a frame, a model, a seed, over one data set. Runs share
the tasks before their own, so a poison is made once. The schema stands at the head of
`examples/grid.toml`. Paths are as typed, from the folder in which one stands.
"""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from stkit.bench import tables, toml
from stkit.bench.tables import Data, Frame, Instead, Known, Poison
from stkit.bench.tasks import Grid, Run, Task
from stkit.bench.toml import Table
from stkit.core.checks import number
from stkit.core.errors import RecipeError
from stkit.recipes.asked import words
from stkit.recipes.catalogue import model_name
from stkit.recipes.training import TrainingRecipe

LONGEST = 200  # characters of a run's name: a file's has 255
AS_NAMED = Instead()
RUNS = 5_000
"""Runs of a grid at most."""


@dataclass(frozen=True)
class Made:
    """One set of images to train on: what the results call it, and the task or file it is from.

    seed: of the one training it is for; None where it serves the trainings of all seeds.
    """

    name: str
    settings: dict[str, Any]
    source: Task | str
    seed: int | None = None


def read(path: Path, known: Known | None = None, *, source: str | None = None) -> Grid:
    """The grid of a TOML file, see `toml.read` and `parse`; source: in the place of its own."""
    return of(path, toml.read(path), known, instead=Instead(source))


def of(
    path: Path, table: Table, known: Known | None = None, *, instead: Instead = AS_NAMED
) -> Grid:
    """The grid of a table that was read from a file, which what is wrong in it names."""
    try:
        return parse(table, known, instead=instead)
    except RecipeError as error:
        raise RecipeError(f"{path}: {error}") from None


def parse(table: Table, known: Known | None = None, *, instead: Instead = AS_NAMED) -> Grid:
    """The grid of a table as TOML gives it; RecipeError for what is wrong in it.

    known: names an option that is not there; None leaves that to the task. instead: what is read in
    the place of what the grid names.
    """
    toml.keys("", table, ("data", "train", "poison", "frame", "poisons", "frames", "models",
                          "rates", "seeds", "poison-seed", "keep"))  # fmt: skip
    data = tables.data(toml.one(table, "data", dict) or {}, instead)
    models = toml.once("models", toml.axis("", table, "models", str) or [TrainingRecipe.model])
    for model in models:
        if not model_name(model).isprintable():
            raise RecipeError(f"models has {model!r}, expected text that can be printed")
    seeds = toml.once("seeds", toml.axis("", table, "seeds", int) or [0])
    for seed in seeds:
        number("seeds", seed, 0, 2**32 - 1)
    poisons, frames = tables.poisons(table, known), tables.frames(table, known)
    count = len(models) * len(frames) * len(seeds) * sum(len(poison.rates) for poison in poisons)
    if count > RUNS:
        raise RecipeError(f"asks for {count:,} runs, expected {RUNS:,} at most; make several grids")
    keep = toml.one(table, "keep", bool) is not False
    runs = [
        replace(_run(data, made, frame, model, seed), keep=keep)
        for poison in poisons
        for made in _made(poison, seeds, data.clean)
        for frame in frames
        for model in models
        for seed in (seeds if made.seed is None else [made.seed])
    ]
    for name, times in Counter(run.name for run in runs).items():
        if times > 1:
            raise RecipeError(
                f"two runs are called {name!r}; give its poison or frame another name"
            )
    return Grid(tuple(runs))


def _made(poison: Poison, seeds: list[int], clean: Task) -> Iterator[Made]:
    """Each set of images that a [[poison]] gives."""
    if poison.file is not None:
        named = f"{Path(poison.file).name} {tables.state(poison.file)}".strip()
        yield Made(poison.name, {"name": poison.name, "file": named}, poison.file)
        return
    if poison.method is None:
        yield Made(poison.name, {"name": poison.name}, clean)
        return
    kept = {"name": poison.name, "method": poison.method, "options": poison.options}
    for rate in poison.rates:
        for seed in seeds if poison.seed == "each" else [poison.seed]:
            options = (*words(poison.options), f"--seed={seed}")
            task = Task(f"{poison.name}_s{seed}", ("poison", poison.method), clean, options)
            name = poison.name
            if rate < 1:  # of the same noise, so that it is made once
                name = f"{poison.name}-r{rate:g}"
                options = (f"--poison-rate={rate}",)
                task = Task(f"{name}_s{seed}", ("rate",), task, options, clean=clean)
            settings = {**kept, "rate": rate, "seed": seed}
            yield Made(name, settings, task, seed if poison.seed == "each" else None)


def _run(data: Data, made: Made, frame: Frame, model: str, seed: int) -> Run:
    named = re.sub(r"[^A-Za-z0-9.-]+", "-", model)
    name = f"{made.name}_{frame.name}_{named}_s{seed}"
    if len(name) > LONGEST:
        raise RecipeError(f"a run is called {name!r}; expected {LONGEST} characters at most")
    own = (f"--frame={frame.frame}", f"--model={model}", f"--seed={seed}")
    state = tables.state(made.source) if isinstance(made.source, str) else ""
    settings: dict[str, Any] = {
        "data": data.settings, "poison": made.settings,
        "frame": {"name": frame.name, "frame": frame.frame}, "model": model, "seed": seed,
        "train": frame.options,
    }  # fmt: skip
    if frame.own:
        settings["frame"]["options"] = frame.own
    options = (*own, *words(frame.options))
    task = Task(name, ("train",), made.source, options, data.test, state=state)
    return Run(name, task, frame.frame, model, frame.options, settings)
