"""A queue: grids in the order of what is worth most. TOML in, runs out. No torch.

    [[grid]]
    file = "cifar10-30.toml"          # from the queue's own folder
    only = ["clean_*", "*_nt_*_s0"]   # its runs of such names, in this order; without it all

Runs of an earlier [[grid]] come first, and what is named twice counts once. The results of each
grid lie in a folder of its own, named after its file.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path

from stkit.bench import toml
from stkit.bench.grid import RUNS
from stkit.bench.tasks import Grid, Run
from stkit.bench.toml import Table
from stkit.core.errors import RecipeError

KEY = "grid"
"""A table of TOML that has it is a queue; one that has not is a grid."""
WORK = "work"
"""The folder of tasks' files beside those of the results, which no grid may be called."""


@dataclass(frozen=True)
class Choice:
    """One [[grid]]: its file, and the patterns of the runs that are asked for, all if there are
    none."""

    where: str
    file: Path
    only: tuple[str, ...]


def choices(table: Table, folder: Path) -> list[Choice]:
    """The grids of a queue in `folder`; RecipeError for what is wrong in it."""
    toml.keys("", table, (KEY,))
    made: list[Choice] = []
    for each in toml.axis("", table, KEY, dict) or []:
        file = toml.one(each, "file", str, f"a [[{KEY}]]")
        if not file:
            raise RecipeError(f'a [[{KEY}]] has no file; write file = "GRID.toml"')
        where = f"[[{KEY}]] {file!r}"
        toml.keys(where, each, ("file", "only"))
        only = toml.axis(where, each, "only", str) or []
        made.append(Choice(where, folder / file, tuple(only)))
    _apart(made)
    return made


def _apart(choices: Sequence[Choice]) -> None:
    """RecipeError where two grids would have one folder, or a grid that of the tasks."""
    named: dict[str, Path] = {}
    for choice in choices:
        other = named.setdefault(choice.file.stem, choice.file)
        if os.path.realpath(other) != os.path.realpath(choice.file):
            raise RecipeError(
                f"{other} and {choice.file} would have one folder for results, "
                f"{choice.file.stem!r}; give one of them another name"
            )
        if choice.file.stem == WORK:
            raise RecipeError(
                f"{choice.where} would have the folder of tasks; give it another name"
            )


def instead(
    named: Sequence[str | None], given: Sequence[str], option: str = "source"
) -> dict[str | None, str]:
    """What is to be read, by the source that a grid names.

    given: each NAME=SOURCE, for the grids that name NAME, or SOURCE, for those that name what the
    first one does. RecipeError for two in one place.
    """
    read: dict[str | None, str] = {}
    for text in given:
        name, equals, source = text.partition("=")
        place = name if equals and name in named else named[0]
        source = source if equals and name in named else text
        if place in read:
            raise RecipeError(
                f"{option} is {read[place]} and {source} for {place}, expected one; "
                "pass NAME=SOURCE where grids name several"
            )
        read[place] = source
    return read


def joined(choices: Sequence[Choice], grids: Mapping[Path, Grid]) -> Grid:
    """The runs that the choices ask for of their grids, in order, each once."""
    runs: dict[tuple[str, str], Run] = {}
    for choice in choices:
        for run in _chosen(choice, grids[choice.file].runs):
            runs.setdefault((choice.file.stem, run.name), replace(run, folder=choice.file.stem))
    if len(runs) > RUNS:
        raise RecipeError(f"asks for {len(runs):,} runs, expected {RUNS:,} at most")
    return Grid(tuple(runs.values()))


def _chosen(choice: Choice, runs: Sequence[Run]) -> list[Run]:
    """The runs that an choice's patterns name, pattern by pattern."""
    if not choice.only:
        return list(runs)
    chosen: list[Run] = []
    for pattern in choice.only:
        named = [run for run in runs if fnmatchcase(run.name, pattern)]
        if not named:
            raise RecipeError(
                f"{choice.where}: no run is called {pattern!r}, of {len(runs)}; "
                f"one is {runs[0].name!r}"
            )
        chosen += named
    return chosen
