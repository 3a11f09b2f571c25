"""stkit plot: pictures for papers and talks."""

from pathlib import Path
from typing import Annotated

import typer

from stkit.cli import claims, output
from stkit.cli import options as o
from stkit.cli.report import Paths
from stkit.core.checks import choose
from stkit.core.errors import RecipeError
from stkit.report import plots

PLACE = 120
ENDINGS = (".png", ".svg", ".pdf")


def register(app: typer.Typer) -> None:
    """Put the command into the program."""
    app.command(
        help="Draw a picture for a paper or a talk. Needs matplotlib.\n\n\b\nKinds:\n"
        + "\n".join(f"  {name:<12} {about}" for name, about in plots.KINDS.items())
        + "\n\n\b\nExample:\n"
        "  stkit plot acm sp-st.safetensors -o acm.png\n"
        "  stkit plot images digits.safetensors sp.safetensors -o sp.png"
    )(plot)


def plot(
    kind: Annotated[str, typer.Argument(metavar="|".join(plots.KINDS))],
    paths: Paths,
    out: Annotated[
        Path, typer.Option("-o", "--output", metavar="FILE", help="FILE.png, .svg or .pdf.")
    ],
    force: o.Force = False,
    quiet: o.Quiet = False,
) -> None:
    """Draw one kind of picture; the help is made of what there is."""
    choose("kind", kind, plots.KINDS)
    if out.suffix not in ENDINGS:
        raise RecipeError(f"{out}: expected a name that ends in .png, .svg or .pdf")
    with claims.held(out, force=force):
        plots.draw(kind, paths, out, on_note=output.note, replace=force)
    output.result({"output": str(out)}, as_json=False, quiet=quiet, brief=out)
