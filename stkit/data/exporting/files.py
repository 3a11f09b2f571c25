"""A data set as one file: EM's .pt, REM's .pkl, or .npz.

EM's readers multiply the noise, in [0,1] units, by 255 and truncate, in float32 or float64, before
or after adding it. float32(k/255) may lie below k/255 and would then lose a grey level, so
(k + HAIR)/255 is stored (0 stays 0): more than the rounding of any of them, and 5e-7 in [0,1]. The
EM authors' own loader drops negative noise, whoever wrote it.
"""

import pickle
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from stkit.core import atomic
from stkit.core.errors import DataError
from stkit.data.images import Images
from stkit.data.perturbation import matching

HAIR = 2**-13  # of a grey level


def npz(images: Images, path: Path) -> None:
    """`data` uint8 [N,H,W,3] and `targets` int64 [N]."""
    order = images.index.argsort(stable=True)
    data = images.pixels[order].permute(0, 2, 3, 1).contiguous().numpy()
    with atomic.whole_file(path) as file:
        np.savez(file, data=data, targets=images.labels[order].numpy())


def em(images: Images, path: Path, clean: Images) -> str:
    """EM's `.pt`: [K,3,H,W] where one noise a class gives just these images, else [N,3,H,W].

    Returns which, class or sample.
    """
    images, plain = _paired(images, clean)
    levels = one_a_class(images, plain)
    noise = torch.empty(plain.shape) if levels is None else unit(levels)
    if levels is None:
        for rows in _rows(plain):
            noise[rows] = unit(images.pixels[rows].short() - plain[rows])
    with atomic.whole_file(path) as file:
        torch.save(noise, file)
    return "sample" if levels is None else "class"


def unit(levels: Tensor) -> Tensor:
    """Whole grey levels as float32 noise in [0,1] units, of which no reader loses one."""
    return torch.where(levels == 0, 0.0, (levels.double() + HAIR) / 255).float()


def rem(images: Images, path: Path, clean: Images) -> str:
    """REM's `.pkl`: one int8 array [N,3,H,W] of grey levels, a pickle that NumPy 1 reads too."""
    images, plain = _paired(images, clean)
    noise = np.empty(plain.shape, np.int8)
    low = high = 0
    for rows in _rows(plain):
        levels = images.pixels[rows].short() - plain[rows]
        low, high = min(low, int(levels.min())), max(high, int(levels.max()))
        noise[rows] = levels.to(torch.int8).numpy()
    if low < -128 or high > 127:
        raise DataError(
            f"the differences run from {low} to {high} grey levels, REM's int8 holds -128 to 127; "
            "pass --format em, npz or png"
        )
    protocol = 3 if noise.nbytes < 1 << 32 else 4  # 3 holds no more
    text = pickle.dumps(noise, protocol=protocol)
    with atomic.whole_file(path) as file:
        file.write(text.replace(b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n", 1))
    return "sample"


def _rows(pixels: Tensor) -> Iterator[slice]:
    """Slices that cover the rows, of which each is small beside the whole."""
    return (slice(start, start + 1024) for start in range(0, len(pixels), 1024))


def _paired(images: Images, clean: Images) -> tuple[Images, Tensor]:
    """The images in the order of `index`, and the clean pixels of each, uint8 [N,3,H,W]."""
    images = images.rows(images.index.argsort(stable=True))
    rows = matching(images, clean)
    if not torch.equal(images.labels, clean.labels[rows]):
        raise DataError(
            "labels differ from the clean set's; pass the set the images were made from"
        )
    return images, clean.pixels[rows]


def one_a_class(images: Images, plain: Tensor) -> Tensor | None:
    """Noise int16 [K,3,H,W], grey levels, that added by class and clipped gives the images exactly.

    None where there is none, or no fewer classes than images. A pixel at 255 says that the noise is
    at least the difference, one at 0 at most, any other that it is the difference.
    """
    count = len(images.classes)
    if count >= len(images):
        return None
    noise = torch.zeros(count, *plain.shape[1:], dtype=torch.int16)
    for label in images.labels.unique().tolist():
        rows = (images.labels == label).nonzero().flatten()
        published = images.pixels[rows]
        delta = published.short() - plain[rows]
        least = torch.where(published > 0, delta, -256).amax(0)
        most = torch.where(published < 255, delta, 256).amin(0)
        if (least > most).any():
            return None
        noise[label] = torch.where(least == -256, most, least)
    return noise
