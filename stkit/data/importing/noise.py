"""Noise as others publish it, added to the clean images: content -> published images.

It is rounded once, as the authors' loaders do (floor; whole grey levels need none), then added and
clipped by `poisons.publish`; rows are matched with the clean set by its `index`.

Differences from the authors' loaders: EM's drops the negative half of its noise, here it is kept
unless `sign` is "positive"; of several noises a class, [P,K,3,H,W], each image takes one drawn
from `stream(seed, "import")` by its index.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from stkit.core import lineage
from stkit.core.errors import DataError, RecipeError
from stkit.core.rng import stream
from stkit.data import perturbation
from stkit.data.images import Images
from stkit.data.importing import fitting, foreign
from stkit.data.importing.values import Found, Options
from stkit.data.sampling import assign

CAP = 0.2  # 51 grey levels: more is in another unit, or is no noise
ENOUGH = 100  # pixel values outside [0,255] that tell a right order from a wrong one
Levels = Callable[[np.ndarray], np.ndarray]  # rows of a file -> grey levels int16 [n,3,H,W]


def em(values: np.ndarray, clean: Images, options: Options) -> Found:
    """EM, TUE, AUE: float noise in [0,1] units, [N,3,H,W], [K,3,H,W] or [P,K,3,H,W]."""
    shape, choices = values.shape, 0
    if values.ndim == 5:
        choices, values = len(values), values.reshape(shape[0] * shape[1], *shape[2:])
    peak = _checked(values, clean, options, "f")
    sign = options.sign or "both"
    rounding = options.rounding or "floor"

    def levels(rows: np.ndarray) -> np.ndarray:
        found = perturbation.grey_levels(values[rows], rounding)
        return found.clip(0, None) if sign == "positive" else found

    found = _indexed(levels, shape[1 if choices else 0], clean, options, choices)
    found.recipe |= {"sign": sign, "rounding": rounding}
    if peak[0] < 0 and options.sign is None:
        found.notes.append(
            "negative noise is kept; the EM authors' loader drops it, as --sign positive does"
        )
    return _described(found, values.dtype, shape)


def rem(values: np.ndarray, clean: Images, options: Options) -> Found:
    """REM, SEM: int8 noise in grey levels, [N,3,H,W]."""
    if values.dtype != np.int8:
        raise DataError(f"REM noise is {values.dtype}, expected int8 grey levels")
    _checked(values, clean, options, "i")
    found = _indexed(lambda rows: values[rows].astype(np.int16), len(values), clean, options)
    return _described(found, values.dtype, values.shape)


def ops(values: np.ndarray, clean: Images, options: Options) -> Found:
    """OPS: float differences in [0,1] units, [N,H,W,3], not zero in one pixel of each image.

    A stated epsilon admits more pixels (the authors' --sparsity).
    """
    _checked(values, clean, options, "f", last=True, cap=1.0)
    if options.epsilon is None and (most := most_pixels(values)) > 1:
        raise DataError(
            f"the noise changes up to {most} pixels of an image, expected 1 of OPS; pass "
            "--epsilon 1 if so many are meant, or --format sp with --labels FILE"
        )
    rounding = options.rounding or "floor"  # of differences that float32 images may have made
    found = _indexed(_nhwc(values, rounding, np.float32), len(values), clean, options)
    found.recipe |= {"rounding": rounding}
    return _described(found, values.dtype, values.shape)


def sp(values: np.ndarray, clean: Images, options: Options) -> Found:
    """SP: float noise in [0,1] units, [M,H,W,3]; by the labels that come with it the j-th noise of
    a class is for the j-th image of that class. M >= N: the authors draw more than they need.
    """
    labels = foreign.own_labels(options.labels, len(values), len(clean.classes))
    _checked(values, clean, options, "f", last=True, norm=True)
    order = clean.index.numpy().argsort(kind="stable")
    ordered = clean.labels.numpy()[order]
    want = np.bincount(ordered, minlength=len(clean.classes))
    have = np.bincount(labels, minlength=len(clean.classes))
    if (have < want).any():
        label = int((have < want).argmax())
        raise DataError(
            f"has {have[label]} noises for class {label}, expected {want[label]}, one an image"
        )
    rows = np.empty(len(clean), np.int64)
    rows[order] = assign(ordered, labels)
    rounding = options.rounding or "floor"
    # The authors add float32 noise to float64 images: it is taken at its word.
    images = _add(_nhwc(values, rounding, np.float64), rows, clean)
    found = Found(images, {"scope": "sample", "rounding": rounding})
    return _described(found, values.dtype, values.shape)


def most_pixels(values: np.ndarray) -> int:
    """The most pixels that are not zero in any image of [N,H,W,3]."""
    some = perturbation.pieces(len(values), values[0].size)
    return max(int((values[rows] != 0).any(3).sum((1, 2)).max()) for rows in some)


def _checked(
    values: np.ndarray,
    clean: Images,
    options: Options,
    kind: str,
    *,
    last: bool = False,
    cap: float = CAP,
    norm: bool = False,
) -> tuple[float, float]:
    """The extremes of noise whose type, frame, values and size have been seen to fit.

    norm: the size is the largest root mean square of a row, not the largest value.
    """
    if values.dtype.kind != kind:
        raise DataError(f"the noise is {values.dtype}, expected floating point in [0,1] units")
    fitting.frame(values.shape, clean, "the noise", last=last)
    low, high = fitting.extremes(values, "the noise")
    size = max(-low, high) / (255 if kind == "i" else 1)
    if norm:
        pieces = perturbation.pieces(len(values), values[0].size)
        means = (np.square(values[p], dtype=np.float64).mean((1, 2, 3)).max() for p in pieces)
        size = float(max(means)) ** 0.5
    fitting.within(size, options.epsilon, cap, "the noise")
    return low, high


def _nhwc(values: np.ndarray, rounding: str, kind: type) -> Levels:
    """Levels of float noise [N,H,W,3], taken to be as exact as `kind` (see `grey_levels`)."""
    return lambda rows: perturbation.grey_levels(values[rows].astype(kind), rounding).transpose(
        0, 3, 1, 2
    )


def _add(levels: Levels, rows: np.ndarray, clean: Images) -> Tensor:
    every = torch.ones(len(clean), dtype=torch.bool)
    return perturbation.add(clean.pixels, every, lambda some: levels(rows[some]))


def _indexed(
    levels: Levels, count: int, clean: Images, options: Options, choices: int = 0
) -> Found:
    """Noise by the image's index or by its class, whichever the count of rows says.

    choices: so many noises a class there are, one class after another, of which one is drawn.
    """
    classes, notes = len(clean.classes), []
    by_class = clean.labels.numpy() if count == classes else None
    by_index = None if choices else fitting.rows(count, clean)
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
        drawn = torch.randint(choices, (wide,), generator=stream(options.seed, "import"))
        rows = rows + classes * drawn[clean.index].numpy()
    elif scope == "sample":
        notes = _doubts(levels, rows, clean)
    return Found(_add(levels, rows, clean), {"scope": scope}, notes)


def _doubts(levels: Levels, rows: np.ndarray, clean: Images) -> list[str]:
    """What speaks against the order of sample-wise noise, which no file states.

    Noise made for an image leads out of [0,255] by no more than its last step, another's does.
    """
    notes = []
    if lineage.of(clean.header).source == "folder":
        notes.append(
            "noise is taken in the order of sorted class and file name; "
            "noise for CIFAR in its own order does not fit a folder"
        )
    some = np.linspace(0, len(rows) - 1, min(fitting.SAMPLE, len(rows))).astype(int)
    images = clean.pixels[some].numpy()
    own = fitting.overflow(levels(rows[some]), images)
    other = fitting.overflow(levels(np.roll(rows[some], 1)), images)
    if other >= ENOUGH and own > other / 2:
        notes.append(
            "the noise does not look as if made for these images: it leads out of the range of "
            "pixels as often as another image's; check the order of the clean set"
        )
    return notes


def _described(found: Found, dtype: np.dtype, shape: tuple[int, ...]) -> Found:
    found.recipe["content"] = f"{dtype} {list(shape)}, {found.recipe['scope']}-wise"
    return found
