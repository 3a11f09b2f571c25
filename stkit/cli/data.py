"""stkit data, inspect: getting images in, and looking at them."""

from pathlib import Path
from typing import Annotated

import typer

from stkit.cli import options as o
from stkit.cli import output
from stkit.errors import RecipeError


def register(app: typer.Typer) -> None:
    app.command()(data)
    app.command()(inspect)


def data(
    source: o.Source,
    out: o.Output,
    split: o.Split = None,
    size: Annotated[
        int | None, typer.Option(help="Short side to this many pixels, then centre crop.")
    ] = None,
    limit: Annotated[int | None, typer.Option(help="So many images, class-balanced.")] = None,
    holdout: Annotated[
        int | None,
        typer.Option(help="Leave so many images out, class-balanced; --part held takes only them."),
    ] = None,
    part: Annotated[
        str | None,
        typer.Option(metavar="rest|held", help="With --holdout.  [default: rest]"),
    ] = None,
    seed: Annotated[int, typer.Option(help="Which images --holdout leaves out.")] = 0,
    data_root: o.DataRoot = None,
    force: o.Force = False,
    json: o.Json = False,
    quiet: o.Quiet = False,
) -> None:
    """Make a dataset file from any source.

    \b
    Example:
      stkit data photos/ --size 224 -o photos.safetensors
    """
    if part is not None and holdout is None:
        raise RecipeError("part is given without --holdout, the number of images it leaves out")
    from stkit import artifacts

    artifacts.free(out, force=force)
    images = o.open_source(source, split, data_root, size=size, limit=limit)
    if holdout is not None:
        from stkit.plan import part as part_of

        images = part_of(images, holdout, part or "rest", seed)
    images.save(out)
    height, width = images.images.shape[-2:]
    output.result(
        {
            "output": str(out), "n": len(images), "classes": len(images.classes),
            "width": width, "height": height, "split": images.header["split"],
        },
        as_json=json, quiet=quiet, brief=out,
    )  # fmt: skip


def inspect(
    files: Annotated[list[Path], typer.Argument(metavar="FILE", help="Files written by stkit.")],
    clean: Annotated[
        str | None, typer.Option(metavar="SOURCE", help="The clean images to compare with.")
    ] = None,
    split: o.Split = None,
    data_root: o.DataRoot = None,
    json: o.Json = False,
) -> None:
    """Print a file's header; with --clean, also what was done to the images.

    \b
    Example:
      stkit inspect sp.safetensors --clean digits
    """
    from stkit import header

    for file in files:
        found = {"file": str(file), **header.read(file)}
        if clean is not None:
            from stkit import inspection
            from stkit.data import read

            noisy = read(file)
            original = o.open_source(clean, split, data_root, default_split=noisy.header["split"])
            found |= inspection.compare(noisy, original)
        output.result(found, as_json=json, quiet=False)
