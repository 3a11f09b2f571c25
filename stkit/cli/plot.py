"""stkit plot: pictures for papers and talks."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stkit.cli import options as o
from stkit.cli.report import free, notes
from stkit.core.checks import choose
from stkit.core.errors import RecipeError

if TYPE_CHECKING:
    pass

FORMATS = ("table", "markdown", "csv", "json", "html")
LAYOUTS = ("1", "2", "4", "7", "8")
MEASURES = {"test": "accuracy", "best": "best_accuracy", "holdout": "holdout_accuracy"}
ABSENT = {
    "test": "no such accuracies; `stkit train` takes them with --test SOURCE",
    "best": "no such accuracies; `stkit train` takes them with --test SOURCE",
    "holdout": "no such accuracies; `stkit train` takes them with --holdout N",
}
UNPOISONED = "no poisoned images among these; layouts 7 and 8 show them by their rate"
KINDS = ("accuracy", "acm", "images")
WIDE = ("images_per_second", "peak_memory")  # for machines; too much for a table of rows

Paths = Annotated[
    list[Path],
    typer.Argument(metavar="PATH", help="Files written by stkit, or folders of stkit bench."),
]
Anchors = Annotated[bool, typer.Option("--anchors", help="Published numbers beside one's own.")]

PLACE = 120


def register(app: typer.Typer) -> None:
    app.command()(plot)


def plot(
    kind: Annotated[str, typer.Argument(metavar="|".join(KINDS))],
    paths: Paths,
    out: Annotated[
        Path, typer.Option("-o", "--output", metavar="FILE", help="FILE.png, .svg or .pdf.")
    ],
    force: o.Force = False,
    quiet: o.Quiet = False,
) -> None:
    """Draw accuracy by epoch, ACM by step, or the images of data sets. Needs matplotlib.

    accuracy and acm: of checkpoints and of the results of stkit bench. images: the first image of
    each class; of two data sets, the clean one first, also the difference.

    \b
    Example:
      stkit plot acm sp-st.safetensors -o acm.png
      stkit plot images digits.safetensors sp.safetensors -o sp.png
    """
    choose("kind", kind, KINDS)
    if out.suffix not in (".png", ".svg", ".pdf"):
        raise RecipeError(f"{out}: expected a name that ends in .png, .svg or .pdf")
    free(out, force)
    from stkit.report import gather, plots

    if kind == "images":
        plots.images(paths, out)
    else:
        found = gather.gather(paths)
        notes(found)
        plots.lines(kind, found.entries, out)
    typer.echo(out if quiet else f"output  {out}")
