"""Where images come from besides stkit's own files: folders, and data sets by name.

Every reader gives a `Raw`: uint8 images in the order in which they are to be walked, and each one's
position in the source's own order.
"""

import os
import socket
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from stkit.core import arrays
from stkit.core.errors import DataError, SizesDiffer
from stkit.core.rng import stream
from stkit.data.folders import Skipped, listing
from stkit.data.pictures import KNOWN, read_image, read_picture, resize
from stkit.data.sampling import balanced
from stkit.data.shapes import FORMS, draw

Progress = Callable[[int, int], None]
SILENCE = 30.0
"""Seconds without an answer after which a download is given up; urllib would wait for ever."""


@dataclass(frozen=True)
class Raw:
    """Images as a source has them."""

    pixels: Tensor  # uint8 [N,3,H,W]
    labels: Tensor  # int64 [N]
    index: Tensor  # int64 [N], position in the source's own order
    classes: tuple[str, ...]
    names: tuple[str, ...] | None = None  # class/file, folders only
    skipped: Skipped | None = None  # folders only


def resized(images: Tensor, size: int) -> Tensor:
    """`resize` for a batch of uint8 [N,3,H,W]."""
    if images.shape[-2:] == (size, size):
        return images
    arrays = images.permute(0, 2, 3, 1).numpy()
    return _stack([np.asarray(resize(Image.fromarray(a), size)) for a in arrays])


def _stack(arrays: Sequence[np.ndarray]) -> Tensor:
    return torch.from_numpy(np.stack(arrays)).permute(0, 3, 1, 2).contiguous()


def drawn(split: str, size: int | None, limit: int | None) -> Raw:
    """Shapes, as many as are asked for, see `shapes`."""
    pixels, labels = draw(split, size, limit)
    return Raw(pixels, labels, torch.arange(len(labels)), tuple(FORMS))


def digits(split: str, size: int | None, limit: int | None) -> Raw:
    """The 1,797 digits of scikit-learn, [0,16] scaled to [0,255], bilinear to 32x32, as RGB."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    grey, target = load_digits(return_X_y=True)
    halves = train_test_split(
        np.arange(len(target)), test_size=0.2, stratify=target, random_state=0
    )
    rows = np.sort(halves[0] if split == "train" else halves[1])
    small = np.rint(grey[rows].reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8)
    labels = torch.from_numpy(target[rows]).long()
    chosen = balanced(labels, limit or len(labels))
    pictures = [Image.fromarray(small[i]).convert("RGB") for i in chosen.tolist()]
    images = _stack([np.asarray(resize(picture, size or 32)) for picture in pictures])
    index = torch.from_numpy(rows)[chosen]
    return Raw(images, labels[chosen], index, tuple(str(d) for d in range(10)))


def torchvision_set(name: str, split: str, size: int | None, limit: int | None, root: Path) -> Raw:
    """CIFAR-10 or CIFAR-100 in torchvision's order, downloaded to `root` when it is not there.

    torchvision compares the MD5 of every file with its own before it unpickles one. DataError: no
    such files in `root`, and none to be had.
    """
    from torchvision import datasets

    kind = {"cifar10": datasets.CIFAR10, "cifar100": datasets.CIFAR100}[name]
    folder = root / kind.base_folder
    what = f"not in {root}"
    if folder.exists():
        what = f"the files in {folder} are others or damaged, by their MD5,"
    waited = socket.getdefaulttimeout()
    socket.setdefaulttimeout(SILENCE)
    try:
        with warnings.catch_warnings():  # NumPy 2.4 warns of how these old files are pickled
            warnings.simplefilter("ignore")
            stored = kind(str(root), train=split == "train", download=True)
    except Exception as error:  # whatever a client of the network raises
        raise DataError(
            f"{name}: {what} and the download failed ({' '.join(str(error).split())}); "
            "pass --data-root, or a folder of class folders"
        ) from None
    finally:
        socket.setdefaulttimeout(waited)
    labels = torch.tensor(stored.targets)
    index = balanced(labels, limit or len(labels))
    images = torch.from_numpy(stored.data).permute(0, 3, 1, 2).contiguous()[index]
    return Raw(resized(images, size or 32), labels[index], index, tuple(stored.classes))


def folder(
    root: Path,
    split: str,
    size: int | None,
    limit: int | None,
    progress: Progress | None = None,
    *,
    strict: bool = False,
    recursive: bool = False,
) -> Raw:
    """A folder of class folders, decoded by all cores; recursive: with the folders below these.

    Classes in sorted order; `index` counts sorted class and file name; the walking order is one
    fixed shuffle, because EM's model steps walk the set in order and would see one class at a time.
    strict: DataError where a file would be left out.
    """
    listed = listing(root, split, recursive=recursive)
    if strict and listed.others:
        raise DataError(
            f"{root}: {listed.skipped().about}; expected {', '.join(KNOWN)} in class folders alone:"
            " move, convert or remove the others"
        )
    names = [
        f"{c}/{f}" for c, files in zip(listed.classes, listed.images, strict=True) for f in files
    ]
    counts = torch.tensor([len(files) for files in listed.images])
    labels = torch.arange(len(counts)).repeat_interleave(counts)
    index = torch.randperm(len(names), generator=stream(0, "folder"))
    index = index[balanced(labels[index], limit or len(index))]
    chosen = tuple(names[i] for i in index.tolist())
    images, transparent = _decode([listed.top / name for name in chosen], size, progress)
    return Raw(images, labels[index], index, listed.classes, chosen, listed.skipped(transparent))


def _decode(paths: list[Path], size: int | None, progress: Progress | None) -> tuple[Tensor, int]:
    """uint8 [N,3,H,W], and how many lost their transparency."""
    height, width = read_image(paths[0], size).shape[:2]
    out = arrays.zeros((len(paths), 3, height, width), np.uint8)

    def fill(row: int) -> bool:
        picture = read_picture(paths[row], size)
        h, w = picture.pixels.shape[:2]
        if (h, w) != (height, width):
            raise SizesDiffer(f"{paths[row]}: is {w}x{h}, but {paths[0]} is {width}x{height}")
        out[row] = picture.pixels.transpose(2, 0, 1)
        return picture.transparent

    transparent = 0
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for done, lost in enumerate(pool.map(fill, range(len(paths))), 1):
            transparent += lost
            if progress and (done % 256 == 0 or done == len(paths)):
                progress(done, len(paths))
    return torch.from_numpy(out), transparent
