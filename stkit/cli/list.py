"""stkit list, env: what is there, and where it runs."""

from typing import Annotated

import typer

from stkit.cli import options as o
from stkit.cli import output
from stkit.cli.listed import Json
from stkit.core.checks import as_dict, choose
from stkit.recipes.catalogue import DATASETS, MODELS
from stkit.recipes.frames import FRAMES
from stkit.recipes.poisons import METHODS

KINDS = ("methods", "frames", "models", "datasets")

PLACE = 130


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command("list")(names)


def names(
    kind: Annotated[str, typer.Argument(metavar="|".join(KINDS))],
    json: Json = False,
    quiet: o.Quiet = False,
) -> None:
    """The methods, frames, models or datasets there are.

    \b
    Example:
      stkit list frames
    """
    choose("kind", kind, KINDS)
    if kind == "datasets":
        listed = [{"name": name, "about": line} for name, line in DATASETS.items()]
    elif kind == "models":
        listed = [{"name": name, **as_dict(net)} for name, net in MODELS.items()]
    elif kind == "methods":
        listed = [{"name": name, "about": recipe.about} for name, recipe in METHODS.items()]
    else:
        listed = [{"name": name, "about": frame.about} for name, frame in FRAMES.items()]
    if quiet:
        output.say("\n".join(row["name"] for row in listed))
        return
    output.say(output.rows(listed, "json" if json else "table"))
