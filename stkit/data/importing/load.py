"""`load`: noise or poisoned images that others made, as a poisoned data set."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from stkit.core import header
from stkit.core.checks import choose
from stkit.core.errors import DataError, RecipeError
from stkit.data import perturbation
from stkit.data.images import Images
from stkit.data.importing import fitting, foreign
from stkit.data.importing.layouts import LAYOUTS
from stkit.data.importing.values import Layout, Options, Reading

LIMITED = ("epsilon", "scope", "sign", "rounding", "labels")  # options that not every layout takes


def load(
    path: Path, clean: Images, *, layout: str = "auto", options: Options | None = None
) -> tuple[Images, list[str]]:
    """The poisoned data set in a file or folder, and notes for people: its kind, and doubts.

    clean: the images it was made for, matched by their `index`; labels and classes are theirs.
    layout: a name of `LAYOUTS`, or "auto". The images are uint8 [n,3,H,W] in the clean set's order;
    `poisoned` marks those that differ. Errors: DataError for what is damaged, not plain data or
    does not fit; ArtifactError for what is no file; RecipeError for what is ambiguous, or an option
    that the layout does not have.
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
    try:
        chosen = guess(content, kind, clean, options) if layout == "auto" else LAYOUTS[layout]
        for option in LIMITED:
            if getattr(options, option) is not None and option not in chosen.options:
                raise RecipeError(f"option {option} does not belong to {chosen.about}")
        reading = chosen.read(content, clean, options)
    except DataError as error:
        named = str(error).startswith(str(path))
        raise error if named else DataError(f"{path}: {error}") from None
    return _poisoned(clean, chosen, options, reading)


def guess(content: Any, kind: str, clean: Images, options: Options) -> Layout:
    """The layout of the content of a file. RecipeError where the user must say it."""
    if kind == "npy":  # its values tell what it is: looked at only where they can fit
        fitting.frame(content.shape, clean, "the array", last=True)
    known = [layout for layout in LAYOUTS.values() if layout.kind == kind]
    for layout in reversed(known):
        if layout.matches(content, options):
            return layout
    labelled = " or ".join(layout.name for layout in known if "labels" in layout.options)
    plain = " or ".join(layout.name for layout in known if "labels" not in layout.options)
    raise RecipeError(
        f"cannot tell what the .{kind} file with {content.dtype} {list(content.shape)} is; pass "
        f"--format {labelled} with --labels FILE, or --format {plain}"
    )


def _poisoned(
    clean: Images, layout: Layout, options: Options, reading: Reading
) -> tuple[Images, list[str]]:
    """The data set with its marks and header, and the notes."""
    start = clean if reading.rows is None else clean.rows(reading.rows)
    differs = _differs(start.pixels, reading.pixels)
    taken = {
        "epsilon": options.epsilon,
        "scope": reading.scope or options.scope,
        "sign": reading.sign or options.sign,
        "rounding": reading.rounding or options.rounding,
        "content": reading.content,
    }
    recipe = {key: value for key, value in taken.items() if value is not None}
    statistics = perturbation.statistics(start.pixels, reading.pixels, int(differs.sum()))
    head = header.make(
        "dataset", {"method": layout.name, "imported": layout.name, **recipe}, seed=options.seed,
        inputs=[clean.provenance], classes=list(clean.classes), split=clean.header["split"],
        method=layout.name, statistics=asdict(statistics),
    )  # fmt: skip
    notes = [f"found {layout.about}: {reading.content}", *reading.notes]
    if not differs.any():
        notes.append("no image differs from its clean one")
    return replace(start, pixels=reading.pixels, header=head, poisoned=differs), notes


def _differs(clean: Tensor, poisoned: Tensor) -> Tensor:
    """Whether each of the images uint8 [N,3,H,W] differs from its clean one: bool [N]."""
    differs = torch.empty(len(clean), dtype=torch.bool)
    for some in perturbation.pieces(len(clean), clean[0].numel()):
        differs[some] = (poisoned[some] != clean[some]).flatten(1).any(1)
    return differs
