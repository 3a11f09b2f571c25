"""Poisoned images as others publish them: content -> published images, once they are seen to fit.

Floating-point images are floored to 8 bits, unless `rounding` says otherwise: so do NTGA's loader
and torchvision's conversion, which PIL's trainer uses. Each image is compared with the clean one.
"""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from stkit.core.errors import DataError
from stkit.data import perturbation
from stkit.data.images import Images
from stkit.data.importing import fitting, foreign
from stkit.data.importing.values import Found, Options
from stkit.data.sources import read_image

FAR = 0.2  # in [0,1]: with a pixel farther from it, an NTGA image was not made from a clean one


def pil(content: dict[str, np.ndarray], clean: Images, options: Options) -> Found:
    """PIL: poisoned images `data`, float [0,1] or uint8 [N,3,H,W], and `labels`."""
    if "labels" not in content:
        raise DataError("found a dict with data but no labels, expected both")
    return _images(content["data"], content["labels"], clean, options)


def npz(content: dict[str, np.ndarray], clean: Images, options: Options) -> Found:
    """AVATAR and others: poisoned images `data`, uint8 [N,H,W,3], and their labels `targets`."""
    data = content["data"]
    if data.dtype != np.uint8:
        raise DataError(f"data is {data.dtype}, expected uint8 images")
    fitting.frame(data.shape, clean, "data", last=True)
    return _images(data.transpose(0, 3, 1, 2), content["targets"], clean, options)


def png(content: dict[int, Path], clean: Images, options: Options) -> Found:
    """APBench, TAP, AR, ISS: a poisoned image for each index, in files <index>.png."""
    index = clean.index.tolist()
    missing = sorted(set(index) - content.keys())
    if missing:
        first = ", ".join(map(str, missing[:5])) + (", ..." if len(missing) > 5 else "")
        raise DataError(
            f"{len(missing)} of {len(index)} indices are missing ({first}); expected <index>.png "
            "for every image of the clean set: get the folder whole"
        )
    if len(content) > len(index) and fitting.rows(max(content) + 1, clean) is None:
        raise DataError(
            f"found {len(content)} images, the clean set has {len(index)}; pass the whole set"
        )
    data = np.empty(clean.pixels.shape, np.uint8)

    def fill(row: int) -> None:
        picture = read_image(content[index[row]])[None]
        fitting.frame(picture.shape, clean, content[index[row]].name, last=True)
        data[row] = picture[0].transpose(2, 0, 1)

    with ThreadPoolExecutor() as pool:
        for _ in pool.map(fill, range(len(index))):
            pass
    return _compared(torch.from_numpy(data), clean, options, f"{len(content)} files")


def ntga(values: np.ndarray, clean: Images, options: Options) -> Found:
    """NTGA: poisoned images in an order of their own, float [0,1] [M,H,W,3], and their labels.

    Each belongs to the nearest clean image of its class; the result is in the clean set's order.
    """
    labels = foreign.own_labels(options.labels, len(values), len(clean.classes))
    fitting.frame(values.shape, clean, "the array", last=True)
    if len(values) > len(clean):
        raise DataError(f"has {len(values)} images, the clean set has only {len(clean)}")
    images = _rounded(values.transpose(0, 3, 1, 2), options)
    rows = fitting.partners(images, labels, clean, options.epsilon or FAR)
    order = rows.argsort(stable=True)
    content = f"{values.dtype} {list(values.shape)}, each beside its nearest clean image"
    recipe = {"rounding": options.rounding or "floor", "content": content}
    found = Found(images[order], recipe, rows=rows[order])
    shared = len(rows) - len(rows.unique())
    if shared:
        found.notes.append(f"{shared} images share their nearest clean image with another")
    return found


def _images(data: np.ndarray, labels: np.ndarray, clean: Images, options: Options) -> Found:
    """Poisoned images [N,3,H,W] with their labels, in the order of the clean set's index."""
    fitting.frame(data.shape, clean, "data")
    labels = foreign.class_numbers(labels, len(clean.classes), "labels")
    rows = fitting.rows(len(data), clean)
    if rows is None or len(labels) != len(data):
        raise DataError(
            f"has {len(data)} images and {len(labels)} labels, the clean set has {len(clean)} "
            "images; pass the clean set it was made from, and its split"
        )
    fitting.same_labels(labels[rows], clean.labels.numpy())
    images = _rounded(data, options)[torch.from_numpy(rows)]
    found = _compared(images, clean, options, f"{data.dtype} {list(data.shape)}")
    if data.dtype != np.uint8:
        found.recipe["rounding"] = options.rounding or "floor"
    return found


def _compared(images: Tensor, clean: Images, options: Options, content: str) -> Found:
    """Published images, once they are seen to be nearest to their own, and within epsilon."""
    fitting.aligned(images, clean.pixels)
    if options.epsilon is not None:
        peak = perturbation.statistics(clean.pixels, images, len(images))["linf"]
        whole = np.ceil((options.epsilon - fitting.SLACK) * 255) / 255  # rounding adds up to one
        fitting.within(float(peak), float(max(whole, options.epsilon)), 1.0, "the difference")
    return Found(images, {"content": content})


def _rounded(values: np.ndarray, options: Options) -> Tensor:
    """Float images in [0,1] as uint8, floored unless told otherwise; uint8 as they are."""
    if values.dtype == np.uint8:
        return torch.from_numpy(values.copy())
    low, high = fitting.extremes(values, "the images")
    if values.dtype.kind != "f" or low < -fitting.SLACK or high > 1 + fitting.SLACK:
        raise DataError(
            f"the images are {values.dtype} from {low:.4g} to {high:.4g}, expected uint8, or "
            "floating point in [0,1]"
        )
    images = np.empty(values.shape, np.uint8)

    def work(rows: slice) -> None:
        levels = perturbation.grey_levels(values[rows], options.rounding or "floor")
        images[rows] = levels.clip(0, 255)

    perturbation.each(work, len(values), values[0].size)
    return torch.from_numpy(images)
