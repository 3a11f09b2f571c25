"""Noise as others hand it on, added to the clean images: content -> uint8 images.

It is rounded once (floor, unless told otherwise; whole grey levels need none), then added and
clipped by `perturbation.add`: the authors' loaders add first, which `loaders` does. Rows are
matched with the clean set by its `index`.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from stkit.core import lineage
from stkit.core.errors import DataError, RecipeError
from stkit.core.rng import stream
from stkit.data import perturbation
from stkit.data.images import Images
from stkit.data.importing import fitting
from stkit.data.importing.values import LOADER, Options, Reading

CAP = 0.2  # 51 grey levels: more is in another unit, or is no noise
LARGE = 1e6  # more than this no root mean square brings down to the cap
INDEX = 1 << 28  # a larger position in a data set is no position
ENOUGH = 100  # pixel values outside [0,255] that tell a right order from a wrong one
Levels = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""Rows of a file and the images that they are for, uint8 [n,3,H,W] -> grey levels int16."""


def most_pixels(values: np.ndarray) -> int:
    """The most pixels that are not zero in any image of [N,H,W,3]."""
    some = perturbation.pieces(len(values), values[0].size)
    return max(int((values[rows] != 0).any(3).sum((1, 2)).max()) for rows in some)


def framed(values: np.ndarray, clean: Images, kind: str, *, last: bool = False) -> None:
    """DataError unless the type and shape of noise fit; its values are not looked at."""
    if values.dtype.kind != kind:
        raise DataError(f"the noise is {values.dtype}, expected floating point in [0,1] units")
    fitting.frame(values.shape, clean, "the noise", last=last)


def checked(
    values: np.ndarray, options: Options, *, cap: float = CAP, norm: bool = False
) -> tuple[float, float]:
    """The extremes of noise whose values and size have been seen to fit.

    norm: the size is the largest root mean square of a row, not the largest value.
    """
    low, high = fitting.extremes(values, "the noise")
    size = max(-low, high) / (255 if values.dtype.kind == "i" else 1)
    if norm and size < LARGE:
        pieces = perturbation.pieces(len(values), values[0].size)
        means = (np.square(values[p], dtype=np.float64).mean((1, 2, 3)).max() for p in pieces)
        size = float(max(means)) ** 0.5
    fitting.within(size, options.epsilon, cap, "the noise")
    return low, high


def nhwc(
    values: np.ndarray,
    rounding: str,
    kind: type,
    loader: Callable[[np.ndarray, np.ndarray], np.ndarray],
) -> Levels:
    """Levels of float noise [N,H,W,3], taken to be as exact as `kind` (see `grey_levels`), or as
    the authors' loader has them."""

    def levels(rows: np.ndarray, images: np.ndarray) -> np.ndarray:
        if rounding == LOADER:
            return loader(values[rows], images)
        whole = perturbation.grey_levels(values[rows].astype(kind), rounding)
        return whole.transpose(0, 3, 1, 2)

    return levels


def add(levels: Levels, rows: np.ndarray, clean: Images, *, marked: Tensor | None = None) -> Tensor:
    """The clean images, each with the noise of its row of the file, as uint8 [N,3,H,W].

    marked: bool [N], where only some have noise; None: all.
    """
    images = clean.pixels.numpy()
    chosen = torch.ones(len(clean), dtype=torch.bool) if marked is None else marked
    return perturbation.add(clean.pixels, chosen, lambda some: levels(rows[some], images[some]))


@dataclass(frozen=True)
class Place:
    """For each clean image the row of its noise in a file, int64 [N]; scope: class or sample.

    marked: bool [N], where only some images have noise, and rows of the others mean nothing.
    """

    rows: np.ndarray
    scope: str
    marked: Tensor | None = None


def place(
    count: int, clean: Images, options: Options, *, choices: int = 0, order: str = "index"
) -> Place:
    """Whether a file of so many noises has one for each index or for each class, and which.

    choices: so many noises a class there are, one class after another, of which one is drawn.
    order: of noise that has one for each image. RecipeError where the count leaves both open,
    DataError where it fits neither.
    """
    classes = len(clean.classes)
    by_class = clean.labels.numpy() if count == classes else None
    by_index = None if choices else fitting.rows(count, clean, order=order)
    if options.scope is None and by_class is not None and by_index is not None:
        raise RecipeError(
            f"{count} noises for {len(clean)} images in {classes} classes may be one an image or "
            "one a class; pass --scope sample or --scope class"
        )
    scope = options.scope or ("class" if by_class is not None else "sample")
    rows = by_class if scope == "class" else by_index
    if rows is None:
        raise DataError(
            f"has {count} noises, expected {len(clean)} (one an image) or {classes} (one a class); "
            "pass the clean set it was made for"
        )
    if choices:
        wide = int(clean.index.max()) + 1
        if wide > INDEX:
            raise DataError(f"the clean set's index goes up to {wide - 1:,}; make it again")
        drawn = torch.randint(choices, (wide,), generator=stream(options.seed, "import"))
        rows = rows + classes * drawn[clean.index].numpy()
    return Place(rows, scope)


def placed(
    levels: Levels, where: Place, clean: Images, content: str, *, drawn: bool = False
) -> Reading:
    """The clean images, each with its noise. content: the file's in words.

    drawn: the noise was drawn among several, and none was made for one image.
    """
    by_position = drawn or where.scope == "class" or where.marked is not None
    doubts = [] if by_position else _doubts(levels, where.rows, clean)
    pixels = add(levels, where.rows, clean, marked=where.marked)
    rate = None if where.marked is None else int(where.marked.sum()) / len(clean)
    return Reading(pixels, content, scope=where.scope, rate=rate, notes=tuple(doubts))


def _doubts(levels: Levels, rows: np.ndarray, clean: Images) -> list[str]:
    """Notes that speak against the order of sample-wise noise, which no file states.

    Noise made for an image leads out of [0,255] by no more than its last step, another's does.
    """
    notes = []
    in_turn = np.array_equal(rows, np.arange(len(rows)))
    if lineage.of(clean.header).source == "folder" and not in_turn:
        notes.append(
            "noise is taken in the order of sorted class and file name; "
            "noise for CIFAR in its own order does not fit a folder"
        )
    some = np.linspace(0, len(rows) - 1, min(fitting.SAMPLE, len(rows))).astype(int)
    images = clean.pixels[some].numpy()
    own = fitting.overflow(levels(rows[some], images), images)
    other = fitting.overflow(levels(np.roll(rows[some], 1), images), images)
    if other >= ENOUGH and own > other / 2:
        notes.append(
            "the noise does not look as if made for these images: it leads out of the range of "
            "pixels as often as another image's; check the order of the clean set"
        )
    return notes


def described(dtype: np.dtype, shape: tuple[int, ...], scope: str) -> str:
    """The content of a file of noise in words, for the header and for people."""
    return f"{dtype} {list(shape)}, {scope}-wise"
