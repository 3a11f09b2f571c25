"""stkit import: poisons that others made."""

from pathlib import Path
from typing import Annotated

import typer

from stkit.cli import claims, early, numbers, output
from stkit.cli import options as o
from stkit.core.checks import choose
from stkit.data.importing.layouts import LAYOUTS

PLACE = 50
*FIRST, LAST = (layout.holds for layout in LAYOUTS.values() if layout.holds)
HELP = f"""Bring in noise or poisoned images that others made, as a poisoned dataset file.

Nothing in FILE is ever run. It holds {", ".join(FIRST)}, or {LAST}.

\b
Example:
  stkit import perturbation.pt --clean cifar10 --epsilon 8/255 -o em.safetensors
  stkit import simple_data.npy --labels simple_label.npy --clean cifar10 -o sp.safetensors
  stkit import noise.npy --clean photos/ --name mine -o mine.safetensors
"""


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command("import", help=HELP)(bring)


def bring(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="Noise or poisoned images: a file or a folder.")
    ],
    clean: Annotated[
        str, typer.Option(metavar="SOURCE", help="The clean images that it was made for.")
    ],
    out: o.Output,
    format: Annotated[
        str,
        typer.Option(
            metavar="|".join(["auto", *LAYOUTS]),
            help="What FILE is; auto looks into it, and asks where that does not tell.",
        ),
    ] = "auto",
    scope: Annotated[
        str | None,
        typer.Option(metavar="sample|class", help="One noise an image, or a class (if unclear)."),
    ] = None,
    sign: Annotated[
        str | None,
        typer.Option(
            metavar="both|positive",
            help="positive drops the negative half of EM's noise, as its authors' loader does. "
            " [default: both]",
        ),
    ] = None,
    rounding: Annotated[
        str | None,
        typer.Option(
            metavar="floor|nearest|loader",
            help="Of floating point; loader computes as the authors' loader does, to the last bit, "
            "which floor does nearly.  [default: floor]",
        ),
    ] = None,
    epsilon: Annotated[
        float | None,
        typer.Option(parser=numbers.budget, help="Refuse noise that is larger, such as 8/255."),
    ] = None,
    labels: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The .npy labels of SP noise or NTGA images."),
    ] = None,
    index: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="The .npy positions of the images, from 0, where noise or images are for some of "
            "them only; the others stay clean.",
        ),
    ] = None,
    order: Annotated[
        str | None,
        typer.Option(
            metavar="rows|index",
            help="What an array of your own, and --index, count: rows of the clean set, or its "
            "index: places in the whole source, of a folder names in sorted order.  [default: rows "
            "where the clean set is a file]",
        ),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(
            "--name",
            metavar="NAME",
            help="What reports call the poison.  [default: as FILE, no ending]",
        ),
    ] = None,
    seed: o.Seed = 0,
    split: o.Split = None,
    data_root: o.DataRoot = None,
    force: o.Force = False,
    json: o.Json = False,
    quiet: o.Quiet = False,
) -> None:
    """Bring in noise or poisoned images; see `HELP`."""
    choose("format", format, ("auto", *LAYOUTS))
    early.look(out, force=force, sources=(clean,))
    from stkit.data.importing.load import load
    from stkit.data.importing.values import Options

    asked = Options(
        scope=scope, sign=sign, rounding=rounding, epsilon=epsilon, labels=labels, index=index,
        order=order or ("rows" if Path(clean).is_file() else "index"), name=name, seed=seed,
    )  # fmt: skip
    with claims.held(out, force=force):
        images = o.open_source(clean, split, data_root)
        poisoned, notes = load(file, images, layout=format, options=asked)
        poisoned.save(out, replace=force)
    for i, line in enumerate(() if quiet else notes):
        output.note(f"note: {line}" if i else line)
    head = poisoned.header
    recipe = head["recipe"]
    about = {"layout": recipe.get("imported"), "content": recipe.get("content")}
    made = {
        "output": str(out), "method": head["method"],
        **{key: value for key, value in about.items() if value is not None}, **head["statistics"],
    }  # fmt: skip
    output.result(made, as_json=json, quiet=quiet, brief=out)
