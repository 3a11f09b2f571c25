"""Where images come from besides stkit's own files: folders, `digits`, `cifar10`, `cifar100`.

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
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from stkit.core import arrays
from stkit.core.errors import DataError
from stkit.core.rng import stream
from stkit.data.sampling import balanced
from stkit.recipes.catalogue import no_source

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


def resize(image: Image.Image, size: int) -> Image.Image:
    """Short side to `size`, antialiased, then the centre square."""
    width, height = image.size
    if (width, height) == (size, size):
        return image
    scale = size / min(width, height)
    wide = (max(size, round(width * scale)), max(size, round(height * scale)))
    image = image.resize(wide, Image.Resampling.BILINEAR)
    left, top = (image.width - size) // 2, (image.height - size) // 2
    return image.crop((left, top, left + size, top + size))


def resized(images: Tensor, size: int) -> Tensor:
    """`resize` for a batch of uint8 [N,3,H,W]."""
    if images.shape[-2:] == (size, size):
        return images
    arrays = images.permute(0, 2, 3, 1).numpy()
    return _stack([np.asarray(resize(Image.fromarray(a), size)) for a in arrays])


def _stack(arrays: Sequence[np.ndarray]) -> Tensor:
    return torch.from_numpy(np.stack(arrays)).permute(0, 3, 1, 2).contiguous()


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


def split_folder(root: Path, split: str) -> Path:
    """The folder whose sub-folders are the classes: `root` itself, or its train/ or test/.

    The level decides, not the name: `root` holds the splits where its train/, test/ or val/ has
    folders of images; where they hold images themselves, they are classes that are called so.
    """
    if not root.is_dir():
        raise DataError(no_source(str(root)))
    splits = [root / name for name in ("train", "test", "val") if (root / name).is_dir()]
    if not any(_pictures(folder) for top in splits for folder in _folders(top)) and any(
        _pictures(folder) for folder in _folders(root)
    ):
        return root
    for name in ("train",) if split == "train" else ("test", "val"):
        if (root / name).is_dir():
            return root / name
    if (root / "train").is_dir():
        raise DataError(f"{root}: has train/ but no test/ or val/; pass another folder or --split")
    raise DataError(
        f"{root}: found no images; expected class folders that hold images, "
        "or train/ and test/ that hold class folders"
    )


def _folders(root: Path) -> list[Path]:
    return sorted(p for p in root.iterdir() if p.is_dir() and not p.name.startswith("."))


def _pictures(folder: Path) -> list[str]:
    Image.init()
    return sorted(
        file.name
        for file in os.scandir(folder)
        if not file.name.startswith(".")
        and os.path.splitext(file.name)[1].lower() in Image.EXTENSION
        and file.is_file()
    )


def folder(
    root: Path, split: str, size: int | None, limit: int | None, progress: Progress | None = None
) -> Raw:
    """A folder of class folders, decoded by all cores.

    Classes in sorted order; `index` counts sorted class and file name; the walking order is one
    fixed shuffle, because EM's model steps walk the set in order and would see one class at a time.
    """
    top = split_folder(root, split)
    classes = _folders(top)
    if not classes:
        raise DataError(f"{top}: found no class folders; expected one folder of images a class")
    listing = [_pictures(c) for c in classes]
    for c, files in zip(classes, listing, strict=True):
        if not files:
            raise DataError(f"{c}: no images in this class folder; add some or remove the folder")
        if c.name != c.name.encode(errors="replace").decode():
            raise DataError(f"{c}: the class's name is not UTF-8; rename the folder")
    names = [f"{c.name}/{f}" for c, files in zip(classes, listing, strict=True) for f in files]
    labels = torch.arange(len(classes)).repeat_interleave(torch.tensor([len(f) for f in listing]))
    index = torch.randperm(len(names), generator=stream(0, "folder"))
    index = index[balanced(labels[index], limit or len(index))]
    chosen = tuple(names[i] for i in index.tolist())
    images = _decode([top / name for name in chosen], size, progress)
    return Raw(images, labels[index], index, tuple(c.name for c in classes), chosen)


def _decode(paths: list[Path], size: int | None, progress: Progress | None) -> Tensor:
    first = read_image(paths[0], size)
    out = arrays.zeros((len(paths), first.shape[2], *first.shape[:2]), np.uint8)

    def fill(row: int) -> None:
        array = read_image(paths[row], size)
        if array.shape != first.shape:
            (h, w), (h0, w0) = array.shape[:2], first.shape[:2]
            raise DataError(
                f"{paths[row]}: is {w}x{h}, but {paths[0]} is {w0}x{h0}; "
                "one size is expected: run `stkit data FOLDER --size N -o FILE` first"
            )
        out[row] = array.transpose(2, 0, 1)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for done, _ in enumerate(pool.map(fill, range(len(paths))), 1):
            if progress and (done % 256 == 0 or done == len(paths)):
                progress(done, len(paths))
    return torch.from_numpy(out)


def read_image(path: Path, size: int | None = None) -> np.ndarray:
    """One image file as uint8 [H,W,3], turned upright, any mode made RGB; DataError names it."""
    try:
        with Image.open(path) as opened:
            image = ImageOps.exif_transpose(opened)
            if image.mode.startswith("I"):  # 16-bit grey: Pillow would clip it at 255
                image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
            if "transparency" in image.info:
                image = image.convert("RGBA")
            image = image.convert("RGB")
            return np.asarray(resize(image, size) if size else image)
    except Exception as error:  # on damaged bytes, decoders raise of every kind
        reason = str(error).split(" '")[0] if isinstance(error, UnidentifiedImageError) else error
        raise DataError(f"{path}: unreadable image ({reason}); repair or remove it") from None
