"""Grids read with every option checked as its command would, before anything is run."""

from collections.abc import Iterable, Mapping
from dataclasses import fields
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from stkit.bench import grid
from stkit.bench.tasks import Cell, Grid, Stage
from stkit.cli.train import _steps
from stkit.core import header
from stkit.core.checks import choose, given
from stkit.core.errors import DataError, RecipeError, StkitError
from stkit.recipes.catalogue import DATASETS, no_source
from stkit.recipes.options import OPTIONS, frame_with
from stkit.recipes.poisons import METHODS
from stkit.recipes.training import PRECISIONS, STEPS, TrainingRecipe


def read(path: Path, commands: Mapping[str, Any], source: str | None = None) -> Grid:
    """A grid in TOML. RecipeError names the first option that its command would refuse.

    commands: stkit's, by name. source: in the place of the grid's.
    """
    known = {"train": _names("train", commands["train"])}
    for name, command in commands["poison"].commands.items():
        known[f"poison {name}"] = _names("poison", command)
    found = grid.read(path, known, source=source)
    for stage in found.stages():
        if stage.verb[0] != "data":
            command = commands[stage.verb[0]]
            for word in stage.verb[1:]:
                command = command.commands[word]
            _check(path, stage, command)
    return found


def check_sources(path: Path, stages: Iterable[Stage], work: Path) -> None:
    """DataError or ArtifactError where images that a stage has yet to read are not there."""
    for stage in stages:
        if isinstance(stage.source, str) and not (work / stage.file).exists():
            try:
                _check_source(stage.source)
            except StkitError as error:
                raise type(error)(f"{path}: {error}") from None


def _check_source(source: str) -> None:
    if source in DATASETS:
        return
    if not Path(source).exists():
        raise DataError(no_source(source))
    if header.is_stkit(Path(source)):
        header.read(Path(source), "dataset")


def _names(verb: str, command: Any) -> set[str]:
    """The options of a command that a grid may give."""
    options = {option for param in command.params for option in param.opts}
    return {option[2:] for option in options if option.startswith("--")} - grid.OWN[verb].keys()


def _check(path: Path, stage: Stage, command: Any) -> None:
    """What a stage's command would refuse before it reads any images."""
    try:
        words = stage.command(Path())[len(stage.verb) :]
        params = command.make_context(stage.verb[-1], words).params
        found = {key: value for key, value in params.items() if value is not None}
        if stage.verb == ("rate",):
            return
        choose("precision", params.get("precision", "auto"), PRECISIONS)
        choose("step", params.get("step", "auto"), STEPS)
        if stage.verb[0] == "poison":
            recipe = METHODS[stage.verb[1]]
            own = {field.name for field in fields(recipe)}
            given(recipe(), **{key: value for key, value in found.items() if key in own})
            return
        found["variant"] = found.pop("acm_variant", None)
        found["check_every"] = _steps(found.get("check_every"))
        frame = frame_with(params["frame"], **{k: v for k, v in found.items() if k in OPTIONS})
        own = {field.name for field in fields(TrainingRecipe)} - {"frame"}
        TrainingRecipe(frame, **{k: v for k, v in params.items() if k in own})
    except RecipeError as error:
        raise RecipeError(f"{path}: {stage.name}: {error}") from None
    except Exception as error:
        if not hasattr(error, "format_message"):  # a usage error, of Typer's own kind
            raise
        raise RecipeError(f"{path}: {stage.name}: {error.format_message()}") from None


def matching(found: Grid, only: str | None) -> list[Cell]:
    """The cells whose names match a pattern, all without one. RecipeError when there are none."""
    cells = [cell for cell in found.cells if only is None or fnmatchcase(cell.name, only)]
    if not cells:
        raise RecipeError(
            f"no cell is called {only!r}, of {len(found.cells)}; one is {found.cells[0].name!r}"
        )
    return cells
