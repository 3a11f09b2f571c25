"""Grids and queues read with every option checked as its command would, before anything is run."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import fields
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import Any

import typer

from stkit.bench import grid, queue, toml
from stkit.bench.tables import OWN, Instead
from stkit.bench.tasks import Grid, Run, Task
from stkit.bench.toml import Table
from stkit.cli import poison, train, train_options, usage
from stkit.core import header
from stkit.core.checks import choose, given, whole
from stkit.core.errors import ArtifactError, DataError, RecipeError, StkitError
from stkit.recipes.catalogue import DATASETS, no_source
from stkit.recipes.options import OPTIONS, frame_with
from stkit.recipes.poisons import METHODS
from stkit.recipes.training import PRECISIONS, STEPS, THREADS, TrainingRecipe


def asked(path: Path, sources: Sequence[str] = (), tests: Sequence[str] = ()) -> Grid:
    """The runs of a grid or a queue in TOML. RecipeError names the first option that its command
    would refuse. sources, tests: see `queue.instead`.
    """
    table = toml.read(path)
    if queue.KEY not in table:
        return _checked(path, table, _instead([table], sources, tests))
    try:
        choices = queue.choices(table, path.parent)
        tables = {choice.file: toml.read(choice.file) for choice in choices}
        for choice in choices:
            if queue.KEY in tables[choice.file]:
                raise RecipeError(
                    f"{choice.where} is a queue, expected a grid; name its grids here"
                )
        instead = _instead(list(tables.values()), sources, tests)
        grids = {file: _checked(file, each, instead) for file, each in tables.items()}
        return queue.joined(choices, grids)
    except (RecipeError, ArtifactError) as error:
        raise type(error)(f"{path}: {error}") from None


def read(path: Path, source: str | None = None) -> Grid:
    """A grid in TOML, checked; source: in the place of the grid's."""
    return _checked(path, toml.read(path), lambda name: Instead(source))


def _instead(
    tables: Sequence[Table], sources: Sequence[str], tests: Sequence[str]
) -> Callable[[str | None], Instead]:
    """What is read in the place of a source that one of these grids names."""
    named = [_source(table) for table in tables]
    source = queue.instead(named, sources)
    test = queue.instead(named, tests, "test")
    return lambda name: Instead(source.get(name), test.get(name))


def _source(table: Table) -> str | None:
    """The source that a grid names, before it is checked."""
    data = table.get("data")
    source = data.get("source") if isinstance(data, dict) else None
    return source if isinstance(source, str) else None


def _checked(path: Path, table: Table, instead: Callable[[str | None], Instead]) -> Grid:
    """The grid of a file whose options are all such as their commands take."""
    commands = _commands()
    known = {
        name: _options(command) - OWN[name.split()[0]].keys() for name, command in commands.items()
    }
    of_file = grid.of(path, table, known, instead=instead(_source(table)))
    checked = set()
    for task in of_file.tasks():
        command = commands.get(" ".join(task.verb))
        options = tuple(o for o in task.options if not o.startswith("--seed="))
        if command is not None and (task.verb, options) not in checked:
            _check(path, task, command)
            checked.add((task.verb, options))
    return of_file


def check_sources(path: Path, tasks: Iterable[Task], work: Path) -> None:
    """DataError or ArtifactError where images that a task has yet to read are not there."""
    for task in tasks:
        if isinstance(task.source, str) and not (work / task.file).exists():
            try:
                _check_source(task.source)
            except StkitError as error:
                raise type(error)(f"{path}: {error}") from None


def _check_source(source: str) -> None:
    if source in DATASETS:
        return
    if not Path(source).exists():
        raise DataError(no_source(source))
    if header.is_stkit(Path(source)):
        header.read(Path(source), "dataset")


@cache
def _commands() -> dict[str, Any]:
    """The commands whose options a grid has: `train`, and every `poison METHOD`."""
    app = typer.Typer()
    for module in (train, poison):
        module.register(app)
    top: Any = typer.main.get_command(app)
    methods = top.commands["poison"].commands
    return {"train": top.commands["train"]} | {f"poison {m}": c for m, c in methods.items()}


def _options(command: Any) -> set[str]:
    """The names of a command's options, without dashes."""
    names = {option for param in command.params for option in param.opts}
    return {name[2:] for name in names if name.startswith("--")}


def _check(path: Path, task: Task, command: Any) -> None:
    """RecipeError for what a task's command would refuse before it reads any images."""
    try:
        words = task.command(Path())[len(task.verb) :]
        params = command.make_context(task.verb[-1], words).params
        if task.verb[0] == "train":
            _check_training(params)
        else:
            _check_poison(task.verb[1], params)
    except RecipeError as error:
        raise RecipeError(f"{path}: {task.name}: {error}") from None
    except Exception as error:
        if not hasattr(error, "format_message"):  # a usage error, of Typer's own kind
            raise
        raise RecipeError(f"{path}: {task.name}: {usage.told(error)}") from None


def _check_training(params: dict[str, Any]) -> None:
    choose("precision", params["precision"], PRECISIONS)
    choose("step", params["step"], STEPS)
    whole("threads", params["threads"], 1, THREADS)
    options = {
        name: params[(option.flag or name).replace("-", "_")] for name, option in OPTIONS.items()
    }
    options["check_every"] = train_options.interval(options["check_every"])
    frame = frame_with(params["frame"], **options)
    own = {field.name for field in fields(TrainingRecipe)} & params.keys() - {"frame"}
    TrainingRecipe(frame, **{name: params[name] for name in own})


def _check_poison(method: str, params: dict[str, Any]) -> None:
    choose("precision", params.get("precision", "auto"), PRECISIONS)
    choose("step", params.get("step", "auto"), STEPS)
    whole("threads", params.get("threads", 1), 1, THREADS)
    recipe = METHODS[method]
    own = {field.name for field in fields(recipe)}
    given(recipe(), **{key: value for key, value in params.items() if key in own})


def matching(asked: Grid, only: Sequence[str] = ()) -> list[Run]:
    """The runs whose names match one of these patterns, with the folder of a queue's grid or
    without; all where there is none. RecipeError when a pattern matches no run.
    """
    names = set()
    for pattern in only:
        called = {
            run.called for run in asked.runs
            if fnmatchcase(run.name, pattern) or fnmatchcase(run.called, pattern)
        }  # fmt: skip
        if not called:
            one = asked.runs[0].called
            raise RecipeError(f"no run is called {pattern!r}, of {len(asked.runs)}; one is {one!r}")
        names |= called
    return [run for run in asked.runs if not only or run.called in names]
