"""Poisoned images as others hand them on: content -> uint8 images, once they are seen to fit.

Floating-point images are floored to 8 bits, unless `rounding` says otherwise: nearly so do NTGA's
loader and torchvision's conversion, which PIL's trainer uses (see `loaders`). Each image is
compared with the clean one.
"""

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from stkit.core.errors import DataError
from stkit.data import perturbation
from stkit.data.images import Images
from stkit.data.importing import fitting, foreign, loaders
from stkit.data.importing.values import LOADER, Options, Reading


def labelled(data: np.ndarray, labels: np.ndarray, clean: Images, options: Options) -> Reading:
    """Images [N,3,H,W] with labels of their own, in the order of the clean set's index.

    data: float [0,1] or uint8. DataError where count, frame, labels or order do not fit.
    """
    fitting.frame(data.shape, clean, "data")
    rows = placed(data.shape, labels.shape, clean)
    labels = foreign.class_numbers(labels, len(clean.classes), "labels")
    fitting.same_labels(labels[rows], clean.labels.numpy())
    pixels = rounded(data, options)[torch.from_numpy(rows)]
    reading = compared(pixels, clean, options, f"{data.dtype} {list(data.shape)}")
    if data.dtype == np.uint8:
        return reading
    return replace(reading, rounding=options.rounding or "floor")


def placed(data: tuple[int, ...], labels: tuple[int, ...], clean: Images) -> np.ndarray:
    """The row of each clean image, see `fitting.rows`, in images and labels of these shapes.

    DataError where their counts do not fit.
    """
    rows = fitting.rows(data[0], clean)
    if rows is None or labels[:1] != data[:1] or len(labels) > 2:
        raise DataError(
            f"has {data[0]} images and {labels[0] if labels else 'no'} labels, the clean set has "
            f"{len(clean)} images; pass the clean set it was made from, and its split"
        )
    return rows


def compared(pixels: Tensor, clean: Images, options: Options, content: str) -> Reading:
    """Images uint8 [N,3,H,W] in the clean set's order, seen to be near their own, within epsilon.

    DataError where they are not. content: the file's, in words.
    """
    fitting.aligned(pixels, clean.pixels)
    if options.epsilon is not None:
        peak = perturbation.statistics(clean.pixels, pixels, len(pixels)).linf
        whole = np.ceil((options.epsilon - fitting.SLACK) * 255) / 255  # rounding adds up to one
        fitting.within(peak, float(max(whole, options.epsilon)), 1.0, "the difference")
    return Reading(pixels, content)


def rounded(values: np.ndarray, options: Options) -> Tensor:
    """Float images in [0,1] as uint8, floored unless told otherwise; uint8 as they are."""
    if values.dtype == np.uint8:
        return torch.from_numpy(values.copy())
    low, high = fitting.extremes(values, "the images")
    if values.dtype.kind != "f" or low < -fitting.SLACK or high > 1 + fitting.SLACK:
        raise DataError(
            f"the images are {values.dtype} from {low:.4g} to {high:.4g}, expected uint8, or "
            "floating point in [0,1]"
        )
    pixels = np.empty(values.shape, np.uint8)

    def work(rows: slice) -> None:
        if options.rounding == LOADER:
            pixels[rows] = loaders.pictures(values[rows])
            return
        levels = perturbation.grey_levels(values[rows], options.rounding or "floor")
        pixels[rows] = levels.clip(0, 255)

    perturbation.each(work, len(values), values[0].size)
    return torch.from_numpy(pixels)
