"""stkit data: getting images in."""

from typing import TYPE_CHECKING, Annotated

import typer

from stkit.cli import claims, early, numbers, output, photographs
from stkit.cli import options as o
from stkit.core.errors import RecipeError

if TYPE_CHECKING:
    from stkit.data.folders import Skipped

PLACE = 10


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command()(data)


def data(
    source: o.Source,
    out: o.Output,
    split: o.Split = None,
    size: Annotated[
        int | None,
        typer.Option(
            parser=numbers.whole, help="Short side to this many pixels, then centre crop."
        ),
    ] = None,
    limit: Annotated[
        int | None, typer.Option(parser=numbers.whole, help="So many images, class-balanced.")
    ] = None,
    holdout: Annotated[
        int | None,
        typer.Option(
            parser=numbers.whole,
            help="Leave so many images out, class-balanced; --part held takes only them.",
        ),
    ] = None,
    part: Annotated[
        str | None,
        typer.Option(metavar="rest|held", help="With --holdout.  [default: rest]"),
    ] = None,
    seed: Annotated[
        int, typer.Option(parser=numbers.whole, help="Which images --holdout leaves out.")
    ] = 0,
    data_root: o.DataRoot = None,
    recursive: photographs.Recursive = False,
    strict: o.Strict = False,
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
    early.look(out, force=force, sources=(source,))
    skipped: list[Skipped] = []
    with claims.held(out, force=force):
        images = o.open_source(
            source, split, data_root, size=size, limit=limit, strict=strict, recursive=recursive,
            skipped=skipped,
        )  # fmt: skip
        if holdout is not None:
            from stkit.data.holdout import part as part_of

            images = part_of(images, holdout, part or "rest", seed)
        images.save(out, replace=force)
    height, width = images.pixels.shape[-2:]
    output.result(
        {
            "output": str(out), "n": len(images), "classes": len(images.classes),
            "width": width, "height": height, "split": images.header["split"],
            **(o.skipped_keys(skipped) if json else {}),
        },
        as_json=json, quiet=quiet, brief=out,
    )  # fmt: skip
