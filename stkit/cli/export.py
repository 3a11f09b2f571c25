"""stkit export: files that others read."""

from pathlib import Path
from typing import Annotated

import typer

from stkit.cli import claims, output
from stkit.cli import options as o
from stkit.data.exporting.formats import FORMATS

PLACE = 60
IMAGES, NOISE = ([f for f in FORMATS.values() if f.noise is noise] for noise in (False, True))
NAMES = "; ".join(
    [*(f"{f.name}: {f.names}" for f in IMAGES if f.names), ", ".join(f.name for f in NOISE)]
)
HELP = f"""Write a dataset file in a form that other people's code reads.

Images as {" or ".join(dict.fromkeys(f.form for f in IMAGES))}, or the noise as
{" or ".join(f.form for f in NOISE)}, in the source's order.
The EM authors' own loader drops negative noise, TUE's clamps it to 9 grey levels.

\b
Example:
  stkit export sp.safetensors --format folder -o published/
  stkit export sp.safetensors --format em --clean cifar10 -o perturbation.pt
"""


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command(help=HELP)(export)


def export(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A dataset file.")],
    out: Annotated[
        Path, typer.Option("-o", "--output", metavar="PATH", help="A new folder, or a file.")
    ],
    format: Annotated[
        str,
        typer.Option(
            metavar="|".join(FORMATS),
            help=f"{NAMES}: noise.",
        ),
    ] = "folder",
    clean: Annotated[
        str | None,
        typer.Option(
            metavar="SOURCE",
            help=f"The clean images, for the noise of {' and '.join(f.name for f in NOISE)}.",
        ),
    ] = None,
    split: o.Split = None,
    data_root: o.DataRoot = None,
    force: Annotated[
        bool, typer.Option("--force", help="Replace the output file if it exists.")
    ] = False,
    json: o.Json = False,
    quiet: o.Quiet = False,
) -> None:
    """Write a dataset file in a form that other people's code reads; see `HELP`."""
    from dataclasses import asdict, replace

    from stkit.data.exporting.export import check
    from stkit.data.exporting.export import export as write
    from stkit.data.images import read

    check(format, clean is not None)
    with claims.held(out, force=force, folder=FORMATS[format].tree):
        images = read(file)
        plain = None
        if clean is not None:
            plain = o.open_source(clean, split, data_root, default_split=images.header["split"])
        with output.bar("writing images") as progress:
            exported = write(
                images, out, format=format, clean=plain, force=force, progress=progress
            )
    if exported.warning:
        output.note(f"warning: {exported.warning}")
    about = asdict(replace(exported, warning=None))
    said = {key: value for key, value in about.items() if value is not None}
    output.result(
        {"output": str(out), "format": format, **said}, as_json=json, quiet=quiet, brief=out
    )
