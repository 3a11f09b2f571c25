"""stkit list, env: what is there, and where it runs."""

import sys
from typing import Annotated, Any

import typer

from stkit.cli import fitted, output, usage
from stkit.cli import options as o
from stkit.core.checks import as_dict, choose
from stkit.core.header import dumps
from stkit.recipes.catalogue import DATASETS, MODELS
from stkit.recipes.frames import FRAMES
from stkit.recipes.poisons import METHODS

KINDS = ("methods", "frames", "models", "datasets")

PLACE = 130


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command("list")(names)


def names(
    kind: Annotated[str | None, typer.Argument(metavar="|".join(KINDS))] = None,
    json: o.Json = False,
    quiet: o.Quiet = False,
) -> None:
    """The methods, frames, models or datasets there are; without a word the names of all.

    \b
    Example:
      stkit list frames
    """
    if kind is not None:
        choose("kind", kind, KINDS)
        _show(_listed(kind), as_json=json, quiet=quiet)
        return
    every = {each: _listed(each) for each in KINDS}
    if json or quiet:
        output.say("\n".join(KINDS) if quiet else dumps(every))
        return
    lines = [f"{each:<8}  {' '.join(row['name'] for row in rows)}" for each, rows in every.items()]
    output.say("\n".join(usage.wrapped(["\b", *lines], fitted.width() or sys.maxsize)[1:]))


def _show(listed: list[dict[str, Any]], *, as_json: bool, quiet: bool) -> None:
    if quiet:
        output.say("\n".join(row["name"] for row in listed))
        return
    output.say(output.rows(listed, "json" if as_json else "table"))


def _listed(kind: str) -> list[dict[str, Any]]:
    """A row for each that there is of a kind."""
    if kind == "datasets":
        return [{"name": name, "about": line} for name, line in DATASETS.items()]
    if kind == "models":
        return [{"name": name, **as_dict(net)} for name, net in MODELS.items()]
    if kind == "methods":
        return [{"name": name, "about": recipe.about} for name, recipe in METHODS.items()]
    return [{"name": name, "about": frame.about} for name, frame in FRAMES.items()]
