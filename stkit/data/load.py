"""`load`: a set of images from any source."""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from stkit.core import header
from stkit.core.checks import choose
from stkit.core.errors import RecipeError
from stkit.core.files import DIGITS
from stkit.data import sampling, sources
from stkit.data.folders import Skipped
from stkit.data.images import SPLITS, Images, checked, read, require
from stkit.recipes.catalogue import DATASETS

LARGEST = 1 << 16  # pixels of a side


def opened(images: Images | str | Path, what: str, *, split: str = "train") -> Images:
    """Images as they are, or loaded where they are named as `load` takes them; `split` of a source
    that has two. DataError for what is neither, as `what`."""
    if isinstance(images, (str, Path)):
        return load(images, default_split=split)
    require(images, what)
    return images


def load(
    source: str | Path,
    split: str | None = None,
    *,
    default_split: str = "train",
    size: int | None = None,
    limit: int | None = None,
    data_root: Path | None = None,
    progress: sources.Progress | None = None,
    strict: bool = False,
    recursive: bool = False,
    on_skipped: Callable[[Skipped], None] | None = None,
) -> Images:
    """A split of a source: a stkit file, a folder of class folders, digits, cifar10 or cifar100.

    split: "train" or "test"; None takes `default_split`, or the one split that a file holds.
    size: short side to so many pixels, antialiased, centre crop. limit: a class-balanced choice of
    so many images. data_root: where cifar10 and cifar100 are, or are downloaded to; None: the
    variable STKIT_DATA, else ~/.cache/stkit. progress: called with (done, total) as a folder is
    read. strict: raise DataError where a file in a folder would be left out. recursive: also the
    images in folders below a folder's class folders, which belong to the class. on_skipped: called
    once a folder is read with what was left out, which may be nothing.

    Gives pixels uint8 [N,3,H,W], all of one size, and labels int64 [N]; a folder's images are
    shuffled once, all else is in its source's order. Raises DataError for what is missing,
    unreadable or does not fit, ArtifactError for a damaged or other file, RecipeError for settings
    out of range.

        train, test = load("digits"), load("digits", "test")
    """
    if split is not None:
        choose("split", split, SPLITS)
    for name, value, most in (("size", size, LARGEST), ("limit", limit, 10**DIGITS - 1)):
        if value is not None and value < 1:
            raise RecipeError(f"{name} is {value}, expected 1 or more")
        if value is not None and value > most:
            raise RecipeError(f"{name} is {value}, expected {most:,} at most")
    path = Path(source)
    if str(source) not in DATASETS and header.is_stkit(path):
        return _narrowed(read(path, split), size, limit)
    split = split or default_split
    raw = _raw(str(source), split, size, limit, data_root, progress, strict, recursive)
    if on_skipped and raw.skipped:
        on_skipped(raw.skipped)
    name = str(source) if str(source) in DATASETS else "folder"
    _enough(limit, len(raw.classes))
    recipe = {"source": name, "size": size, "limit": limit}
    head = header.make("dataset", recipe, seed=0, inputs=[], classes=list(raw.classes), split=split)
    return checked(Images(raw.pixels, raw.labels, raw.index, head, raw.names), str(source))


def _raw(
    source: str,
    split: str,
    size: int | None,
    limit: int | None,
    data_root: Path | None,
    progress: sources.Progress | None,
    strict: bool,
    recursive: bool,
) -> sources.Raw:
    """The images of a source that is no stkit file."""
    if source == "shapes":
        return sources.drawn(split, size, limit)
    if source == "digits":
        return sources.digits(split, size, limit)
    if source in DATASETS:
        root = data_root or Path(os.environ.get("STKIT_DATA", "~/.cache/stkit")).expanduser()
        return sources.torchvision_set(source, split, size, limit, root)
    return sources.folder(
        Path(source), split, size, limit, progress, strict=strict, recursive=recursive
    )


def _enough(limit: int | None, classes: int) -> None:
    if limit is not None and limit < classes:
        raise RecipeError(f"limit is {limit}, expected at least one image for {classes} classes")


def _narrowed(images: Images, size: int | None, limit: int | None) -> Images:
    """So many of the images, of this size, as a data set made from the whole one."""
    if size is None and limit is None:
        return images
    _enough(limit, len(images.classes))
    head = header.make(
        "dataset", {"source": "file", "size": size, "limit": limit}, seed=0,
        inputs=[images.provenance],
        **{k: v for k, v in images.header.items() if k in ("classes", "split", "method")},
    )  # fmt: skip
    chosen = images.rows(sampling.balanced(images.labels, limit or len(images)))
    pixels = sources.resized(chosen.pixels, size) if size else chosen.pixels
    return replace(chosen, pixels=pixels, header=head)
