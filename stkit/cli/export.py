"""stkit import, export: poisons that others made, and files that others read."""

from pathlib import Path
from typing import Annotated

import typer

from stkit.cli import options as o
from stkit.cli import output

PLACE = 60


def register(app: typer.Typer) -> None:
    app.command()(export)


def export(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A dataset file.")],
    out: Annotated[
        Path, typer.Option("-o", "--output", metavar="PATH", help="A new folder, or a file.")
    ],
    format: Annotated[
        str,
        typer.Option(
            metavar="folder|em|rem|png|npz",
            help="folder: the source's tree and names; png: <index>.png; em, rem: noise.",
        ),
    ] = "folder",
    clean: Annotated[
        str | None,
        typer.Option(metavar="SOURCE", help="The clean images, for the noise of em and rem."),
    ] = None,
    split: o.Split = None,
    data_root: o.DataRoot = None,
    force: Annotated[
        bool, typer.Option("--force", help="Replace the output file if it exists.")
    ] = False,
    json: o.Json = False,
    quiet: o.Quiet = False,
) -> None:
    """Write a dataset file in a form that other people's code reads.

    Images as lossless PNG or .npz, or the noise as EM's .pt or REM's .pkl, in the source's order.
    The EM authors' own loader drops negative noise.

    \b
    Example:
      stkit export sp.safetensors --format folder -o published/
      stkit export sp.safetensors --format em --clean cifar10 -o perturbation.pt
    """
    from stkit.data import exporting
    from stkit.data.images import read

    exporting.check(format, out, clean is not None, force=force)
    images = read(file)
    plain = None
    if clean is not None:
        plain = o.open_source(clean, split, data_root, default_split=images.header["split"])
    with output.bar("writing images") as progress:
        found = exporting.export(
            images, out, format=format, clean=plain, force=force, progress=progress
        )
    output.result(
        {"output": str(out), "format": format, **found}, as_json=json, quiet=quiet, brief=out
    )
