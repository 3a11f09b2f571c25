"""`stkit poison --keep-size`: photographs come back at their own size, as a folder of PNG files."""

from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stkit.cli import claims, numbers, output, saving, usage
from stkit.cli import options as o
from stkit.core.errors import RecipeError
from stkit.recipes.catalogue import DATASETS

if TYPE_CHECKING:
    from stkit.cli.poison import Request
    from stkit.data.exporting.photographs import About
    from stkit.data.images import Images
    from stkit.poisons.interface import Crafting

SIZE = 224
"""Pixels that a trainer makes of a photograph, where nobody says; most nets for photographs do."""
Recursive = Annotated[
    bool,
    typer.Option(
        "--recursive", rich_help_panel=usage.DATA,
        help="Of a folder: also images in folders below a class folder.",
    ),
]  # fmt: skip
KeepSize = Annotated[
    bool,
    typer.Option(
        "--keep-size",
        rich_help_panel=usage.OUTPUT,
        help="SOURCE is a folder of photographs: write each at its own size as a PNG of its name, "
        "which JPEG would weaken, in the new folder FILE.",
    ),
]
Size = Annotated[
    int | None,
    typer.Option(
        parser=numbers.whole,
        rich_help_panel=usage.DATA,
        help="Short side to this many pixels, then centre crop; with --keep-size what the noise is "
        f"made for, the size that a trainer is thought to use.  [default: as it is; {SIZE}]",
    ),
]
KeepMetadata = Annotated[
    bool,
    typer.Option(
        "--keep-metadata", rich_help_panel=usage.OUTPUT,
        help="With --keep-size: EXIF too, but for its preview.",
    ),
]  # fmt: skip
OPTIONS: dict[str, tuple[Any, Any]] = {
    "size": (Size, None), "recursive": (Recursive, False), "keep_size": (KeepSize, False),
    "keep_metadata": (KeepMetadata, False),
}  # fmt: skip
"""What `stkit poison` takes for them."""


def check(asked: "Request") -> None:
    """RecipeError for what belongs to photographs alone, or does not go with them; DataError where
    they would be written among those that are read."""
    if asked.keep_metadata and not asked.keep_size:
        raise RecipeError(
            "keep-metadata is given without --keep-size, for which alone there is any; pass both"
        )
    if not asked.keep_size:
        return
    if asked.class_noise is not None:
        raise RecipeError("class-noise makes a dataset file; leave out --keep-size or that")
    if asked.source in DATASETS or Path(asked.source).is_file():
        raise RecipeError(
            f"keep-size is given with {asked.source}, which has no photographs; pass a folder of "
            "class folders, or leave it out"
        )
    from stkit.data.folders import apart

    apart(asked.out, Path(asked.source))


def survey(images: "Images", asked: "Request") -> "list[About]":
    """A look at every photograph, before any noise is made. DataError: one cannot be written."""
    from stkit.poisons import photographs

    return photographs.survey(images, Path(asked.source), asked.out, recursive=asked.recursive)


def carry(crafting: "Crafting", asked: "Request", surveyed: "list[About]") -> None:
    """Noise that takes long, then the photographs; until these are there, the noise is kept in
    `asked.out`.part, from which --resume goes on."""
    from stkit.poisons import finish

    start, runtime = perf_counter(), crafting.runtime
    with output.bar(asked.method) as progress:
        saving.carry(crafting, asked.out, resume=asked.resume, progress=progress)
    poisoned = finish(crafting, asked.poison_rate)
    with runtime.together():
        if runtime.first:
            write(poisoned, crafting.images, asked, surveyed, start)
            claims.part_of(asked.out).unlink(missing_ok=True)


def write(
    poisoned: "Images", clean: "Images", asked: "Request", surveyed: "list[About]", start: float
) -> None:
    """Write the photographs and say what was done; start: when the command began to compute."""
    from stkit.poisons import photographs

    with output.bar("writing photographs") as progress:
        kept = photographs.keep_size(
            poisoned, clean, asked.source, asked.out,
            recursive=asked.recursive, metadata=asked.keep_metadata,
            surveyed=surveyed, progress=progress,
        )  # fmt: skip
    if kept.converted:
        forms = ", ".join(f"{count:,} of {form}" for form, count in kept.converted.items())
        output.note(f"note: photographs written as 8-bit RGB: {forms}")
    if not asked.quiet:
        output.note("note: PNG keeps the noise as it is; JPEG weakens it, small photographs' most")
        output.note(
            f"note: single pixels change by up to {round(255 * kept.linf)} of 255; look at large "
            "and even areas before you publish: a smaller --epsilon shows less and protects less"
        )
    result = {
        "output": str(asked.out), "method": asked.method, "n": len(clean), "size": kept.size,
        "linf": kept.linf, "l2_mean": kept.l2_mean, "l0_max": kept.l0_max, "rms": kept.rms,
        "left": kept.left, "seconds": perf_counter() - start,
        **(o.skipped_keys([replace(each, transparent=0) for each in asked.skipped])
           if asked.json else {}),
    }  # fmt: skip
    output.result(result, as_json=asked.json, quiet=asked.quiet, brief=asked.out)
