"""`load`: a set of images from any source."""

import os
from dataclasses import replace
from pathlib import Path

from stkit.core import header
from stkit.core.checks import choose
from stkit.core.errors import RecipeError
from stkit.data import sampling, sources
from stkit.data.images import SPLITS, Images, checked, read
from stkit.recipes.catalogue import DATASETS


def load(
    source: str | Path,
    split: str | None = None,
    *,
    default_split: str = "train",
    size: int | None = None,
    limit: int | None = None,
    data_root: Path | None = None,
    progress: sources.Progress | None = None,
) -> Images:
    """A split of a source: a stkit file, a folder of class folders, digits, cifar10 or cifar100.

    split: "train" or "test"; None takes `default_split`, or the one split that a file holds.
    size: short side to this, antialiased, centre crop. limit: a class-balanced choice of so many.
    Errors: DataError (missing, unreadable, not fitting), ArtifactError (a damaged or other file).
    """
    if split is not None:
        choose("split", split, SPLITS)
    for name, value in (("size", size), ("limit", limit)):
        if value is not None and value < 1:
            raise RecipeError(f"{name} is {value}, expected 1 or more")
    path = Path(source)
    if str(source) not in DATASETS and header.is_stkit(path):
        return _narrowed(read(path, split), size, limit)
    split = split or default_split
    if str(source) == "digits":
        raw = sources.digits(split, size, limit)
    elif str(source) in DATASETS:
        root = data_root or Path(os.environ.get("STKIT_DATA", "~/.cache/stkit")).expanduser()
        raw = sources.torchvision_set(str(source), split, size, limit, root)
    else:
        raw = sources.folder(path, split, size, limit, progress)
    name = str(source) if str(source) in DATASETS else "folder"
    _enough(limit, len(raw.classes))
    recipe = {"source": name, "size": size, "limit": limit}
    head = header.make("dataset", recipe, seed=0, inputs=[], classes=list(raw.classes), split=split)
    return checked(Images(raw.images, raw.labels, raw.index, head, raw.names), str(source))


def _enough(limit: int | None, classes: int) -> None:
    if limit is not None and limit < classes:
        raise RecipeError(f"limit is {limit}, expected at least one image for {classes} classes")


def _narrowed(found: Images, size: int | None, limit: int | None) -> Images:
    if size is None and limit is None:
        return found
    _enough(limit, len(found.classes))
    head = header.make(
        "dataset", {"source": "file", "size": size, "limit": limit}, seed=0,
        inputs=[found.provenance],
        **{k: v for k, v in found.header.items() if k in ("classes", "split", "method")},
    )  # fmt: skip
    found = found.rows(sampling.balanced(found.labels, limit or len(found)))
    images = sources.resized(found.pixels, size) if size else found.pixels
    return replace(found, pixels=images, header=head)
