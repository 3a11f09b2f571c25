"""Noise and poisoned images that others made, brought in as a poisoned data set.

`LAYOUTS` says what a file may hold; `noise` and `images` turn each into published images. Where a
file does not say what it is, the user is asked; what can be checked is checked, what cannot is a
note.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from stkit.core import header
from stkit.core.checks import as_dict, choose
from stkit.core.errors import DataError, RecipeError
from stkit.data import perturbation
from stkit.data.images import Images
from stkit.data.importing import fitting, foreign, images, noise
from stkit.data.importing.values import Found, Options


@dataclass(frozen=True)
class Layout:
    """What kind of file it is, in words, how it is read, and the options that it takes."""

    kind: str
    about: str
    read: Callable[[Any, Images, Options], Found]
    options: tuple[str, ...] = ("epsilon",)


LAYOUTS = {
    "em": Layout(
        "torch", "EM, TUE or AUE noise, a .pt tensor", noise.em,
        ("epsilon", "scope", "sign", "rounding"),
    ),
    "pil": Layout(
        "torch", "PIL's images, a .pt dict", images.pil, ("epsilon", "rounding"),
    ),
    "rem": Layout("pickle", "REM or SEM noise, an int8 .pkl", noise.rem, ("epsilon", "scope")),
    "sp": Layout(
        "npy", "SP noise, a .npy with labels", noise.sp, ("epsilon", "rounding", "labels"),
    ),
    "ops": Layout(
        "npy", "OPS noise, a .npy of one pixel an image", noise.ops,
        ("epsilon", "scope", "rounding"),
    ),
    "ntga": Layout(
        "npy", "NTGA images, a .npy with labels", images.ntga, ("epsilon", "rounding", "labels"),
    ),
    "png": Layout("folder", "a folder of <index>.png", images.png),
    "npz": Layout("npz", "an .npz of data and targets", images.npz),
}  # fmt: skip


def load(
    path: Path, clean: Images, *, layout: str = "auto", options: Options | None = None
) -> tuple[Images, list[str]]:
    """The poisoned data set in a file or folder, and notes for people: what was found, and doubts.

    clean: the images it was made for, matched by their `index`; labels and classes are theirs.
    `poisoned` marks the images that differ. Errors: DataError for what is damaged, not plain data
    or does not fit; RecipeError for what is ambiguous, or an option that the layout does not have.
    """
    options = options or Options()
    choose("format", layout, ("auto", *LAYOUTS))
    if clean.poisoned is not None:
        raise DataError(
            "found a poisoned data set, expected the clean one; pass what the noise was made for"
        )
    kind = foreign.kind_of(path)
    if layout != "auto" and LAYOUTS[layout].kind != kind:
        raise DataError(
            f"{path}: found a {kind} file, expected {LAYOUTS[layout].about}; pass another --format"
        )
    content = foreign.content(path, kind)
    name = guess(content, kind, options) if layout == "auto" else layout
    for option in ("epsilon", "scope", "sign", "rounding", "labels"):
        if getattr(options, option) is not None and option not in LAYOUTS[name].options:
            raise RecipeError(f"option {option} does not belong to {LAYOUTS[name].about}")
    try:
        found = LAYOUTS[name].read(content, clean, options)
    except DataError as error:
        known = str(error).startswith(str(path))
        raise error if known else DataError(f"{path}: {error}") from None
    return _poisoned(clean, name, options, found)


def _poisoned(clean: Images, name: str, options: Options, found: Found) -> tuple[Images, list[str]]:
    """The data set with its marks and header, and the notes."""
    start = clean if found.rows is None else clean.rows(found.rows)
    differs = torch.empty(len(start), dtype=torch.bool)
    for some in perturbation.pieces(len(start), start.pixels[0].numel()):
        differs[some] = (found.pixels[some] != start.pixels[some]).flatten(1).any(1)
    said = {k: v for k, v in as_dict(options).items() if k not in ("labels", "seed")}
    recipe = {k: v for k, v in (said | found.recipe).items() if v is not None}
    head = header.make(
        "dataset", {"method": name, "imported": name, **recipe}, seed=options.seed,
        inputs=[clean.provenance], classes=list(clean.classes), split=clean.header["split"],
        method=name,
        statistics=perturbation.statistics(start.pixels, found.pixels, int(differs.sum())),
    )  # fmt: skip
    notes = [f"found {LAYOUTS[name].about}: {recipe['content']}", *found.notes]
    if not differs.any():
        notes.append("no image differs from its clean one")
    return replace(start, pixels=found.pixels, header=head, poisoned=differs), notes


def guess(content: Any, kind: str, options: Options) -> str:
    """The name of the layout. RecipeError where the user must say it."""
    if kind == "torch":
        return "pil" if isinstance(content, dict) else "em"
    if kind != "npy":
        return {"pickle": "rem", "npz": "npz", "folder": "png"}[kind]
    if content.ndim == 4 and content.dtype.kind == "f":
        low, high = fitting.extremes(content, "the array")
        if noise.most_pixels(content) <= 1:
            return "ops"
        if options.labels is not None:
            return "ntga" if low >= 0 and high > 0.5 else "sp"
    raise RecipeError(
        f"cannot tell what the .npy file with {content.dtype} {list(content.shape)} is; pass "
        "--format sp or ntga with --labels FILE, or --format ops"
    )
