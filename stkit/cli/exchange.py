"""stkit import, export: poisons that others made, and files that others read."""

from pathlib import Path
from typing import Annotated

import typer

from stkit.cli import options as o
from stkit.cli import output


def register(app: typer.Typer) -> None:
    app.command("import")(bring)
    app.command()(export)


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
            metavar="auto|em|pil|rem|sp|ops|ntga|png|npz",
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
        typer.Option(metavar="floor|nearest", help="Of floating point.  [default: floor]"),
    ] = None,
    epsilon: Annotated[
        float | None,
        typer.Option(parser=o.budget, help="Refuse noise that is larger, such as 8/255."),
    ] = None,
    labels: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The .npy labels of SP noise or NTGA images."),
    ] = None,
    seed: o.Seed = 0,
    split: o.Split = None,
    data_root: o.DataRoot = None,
    force: o.Force = False,
    json: o.Json = False,
    quiet: o.Quiet = False,
) -> None:
    """Bring in noise or poisoned images that others made, as a poisoned dataset file.

    Nothing in FILE is ever run. It holds EM, TUE or AUE noise (.pt), PIL's images (.pt), REM or SEM
    noise (.pkl), SP or OPS noise or NTGA images (.npy), <index>.png files (a folder), or data and
    targets (.npz).

    \b
    Example:
      stkit import perturbation.pt --clean cifar10 --epsilon 8/255 -o em.safetensors
      stkit import simple_data.npy --labels simple_label.npy --clean cifar10 -o sp.safetensors
    """
    from stkit import artifacts, importing
    from stkit.importing.values import Options
    from stkit.recipes import choose

    choose("format", format, ("auto", *importing.LAYOUTS))
    asked = Options(
        scope=scope, sign=sign, rounding=rounding, epsilon=epsilon, labels=labels, seed=seed
    )
    artifacts.free(out, force=force)
    images = o.open_source(clean, split, data_root)
    published, notes = importing.load(file, images, layout=format, options=asked)
    published.save(out)
    for i, line in enumerate(() if quiet else notes):
        output.note(f"note: {line}" if i else line)
    head = published.header
    found = {
        "output": str(out), "method": head["method"], "layout": head["recipe"]["imported"],
        "content": head["recipe"]["content"], **head["statistics"],
    }  # fmt: skip
    output.result(found, as_json=json, quiet=quiet, brief=out)


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
    from stkit import exporting
    from stkit.data import read

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
