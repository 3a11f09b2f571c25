"""`load`: noise or poisoned images that others made, as a poisoned data set."""

import os
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from stkit.core import header
from stkit.core import text as harmless
from stkit.core.checks import choose
from stkit.core.errors import DataError, RecipeError
from stkit.data import perturbation
from stkit.data.images import Images
from stkit.data.importing import foreign, kept, own, values
from stkit.data.importing.layouts import LAYOUTS
from stkit.data.importing.values import Layout, Options, Reading

LIMITED = (
    "epsilon",
    "scope",
    "sign",
    "rounding",
    "labels",
    "index",
)
"""Options that not every layout takes."""


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
    if kind == "stkit":
        poisoned = kept.read(path, clean, options)
        return poisoned, [f"found noise that stkit kept, of {poisoned.header['method']}"]
    name = values.called(_stem(path, kind)) if options.name is None else options.name
    if layout != "auto" and kind not in (LAYOUTS[layout].kind, *LAYOUTS[layout].also):
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
    return _poisoned(clean, chosen, name, options, reading)


def _stem(path: Path, kind: str) -> str:
    """What noise is called that was given no name: as its file, without the ending."""
    whole = Path(os.path.abspath(path))
    return harmless.line(whole.name if kind == "folder" else whole.stem)[: values.NAME].strip()


def guess(content: Any, kind: str, clean: Images, options: Options) -> Layout:
    """The layout of the content of a file. RecipeError where the user must say it."""
    if kind == "npy":  # its values tell what it is: looked at only where they can fit
        own.last(content.shape, clean)
    for layout in reversed(LAYOUTS.values()):
        if layout.kind == kind and layout.matches(content, options):
            return layout
    return LAYOUTS["named" if kind == "folder" else own.guess(content, clean, options)]


def _poisoned(
    clean: Images, layout: Layout, name: str, options: Options, reading: Reading
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
        "poison_rate": reading.rate,
    }
    recipe = {key: value for key, value in taken.items() if value is not None}
    statistics = perturbation.statistics(start.pixels, reading.pixels, int(differs.sum()))
    head = header.make(
        "dataset", {"method": name, "imported": layout.name, **recipe}, seed=options.seed,
        inputs=[clean.provenance], classes=list(clean.classes), split=clean.header["split"],
        method=name, statistics=asdict(statistics),
    )  # fmt: skip
    words = f"read as {layout.about}: {reading.content}"
    notes = [f"{words}; the poison is called {name!r}", *reading.notes]
    if not differs.any():
        notes.append("no image differs from its clean one")
    return replace(start, pixels=reading.pixels, header=head, poisoned=differs), notes


def _differs(clean: Tensor, poisoned: Tensor) -> Tensor:
    """Whether each of the images uint8 [N,3,H,W] differs from its clean one: bool [N]."""
    differs = torch.empty(len(clean), dtype=torch.bool)
    for some in perturbation.pieces(len(clean), clean[0].numel()):
        differs[some] = (poisoned[some] != clean[some]).flatten(1).any(1)
    return differs
