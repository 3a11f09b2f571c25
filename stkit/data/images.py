"""The data set as a value: `Images`, and `load`, which makes one from any source.

Pixels are uint8 at rest and float in [0,1] in flight; `to_float` and `to_uint8` are the only two
converters.
"""

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from stkit.core import artifact
from stkit.core.errors import DataError

TENSORS = ("images", "labels", "index")  # of every dataset file, in the order of `Images`


def to_float(images: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """uint8 [0,255] -> float [0,1] of this type; what is float already stays as it is."""
    return images if images.is_floating_point() else images.to(dtype) / 255


def to_uint8(images: Tensor) -> Tensor:
    """Float [0,1] -> uint8, to the nearest grey level."""
    return (images * 255).round().clamp(0, 255).to(torch.uint8)


@dataclass(frozen=True)
class Images:
    """A split of a data set: pixels uint8 [N,3,H,W], labels int64 [N], and where they come from.

    index int64 [N]: position in the source's own order (torchvision's, or sorted class and file).
    names: class/file of each image of a folder. poisoned bool [N]: which images carry noise.
    header: the stkit header of this data set as it is, or would be, written to a file.
    """

    pixels: Tensor
    labels: Tensor
    index: Tensor
    header: dict
    names: tuple[str, ...] | None = None
    poisoned: Tensor | None = None

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def classes(self) -> tuple[str, ...]:
        return tuple(self.header["classes"])

    @property
    def size(self) -> int:
        """The side in pixels (the height, where images are not square)."""
        return self.pixels.shape[-2]

    @cached_property
    def provenance(self) -> dict:
        """The header with its digest, which is computed now unless a file brought it."""
        if self.header["digest"]:
            return self.header
        return {**self.header, "digest": artifact.digest(self.tensors())}

    def tensors(self) -> dict[str, Tensor]:
        """What goes into a dataset file."""
        found = {"images": self.pixels, "labels": self.labels, "index": self.index}
        if self.names is not None:
            text = "\0".join(self.names).encode(errors="surrogateescape")
            found["names"] = torch.tensor(list(text), dtype=torch.uint8)
        if self.poisoned is not None:
            found["poisoned"] = self.poisoned
        return found

    def rows(self, rows: Tensor) -> "Images":
        """The same data set with these rows only; the header's digest is no longer known."""
        return replace(
            self,
            pixels=self.pixels[rows],
            labels=self.labels[rows],
            index=self.index[rows],
            header={**self.header, "digest": ""},
            names=None if self.names is None else tuple(self.names[i] for i in rows.tolist()),
            poisoned=None if self.poisoned is None else self.poisoned[rows],
        )

    def save(self, path: str | Path) -> dict:
        """Write a dataset file; returns its header."""
        return artifact.write(Path(path), self.tensors(), self.header)


def read(path: Path, split: str | None = None) -> Images:
    """A dataset file. DataError when its labels or shapes are wrong, or it holds another split."""
    head, tensors = artifact.read(path, "dataset")
    for key, where in (("classes", head), ("split", head), *((k, tensors) for k in TENSORS)):
        if key not in where:
            raise DataError(f"{path}: has no {key}; make the file again")
    if split is not None and head["split"] != split:
        raise DataError(
            f"{path}: holds the {head['split']} split, expected {split}; leave --split out"
        )
    names = None
    if "names" in tensors:
        text = tensors["names"].numpy().tobytes().decode(errors="surrogateescape")
        names = tuple(text.split("\0"))
    images, labels, index = (tensors[name] for name in TENSORS)
    found = Images(images, labels, index, head, names, tensors.get("poisoned"))
    return checked(found, str(path))


def checked(found: Images, name: str) -> Images:
    """`found`, once its types, shapes and labels are seen to fit; DataError names what does not."""
    images, labels, count = found.pixels, found.labels, len(found.classes)
    if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] != 3 or not len(images):
        raise DataError(
            f"{name}: images are {images.dtype} {list(images.shape)}, expected uint8 [N,3,H,W]"
        )
    for key, value in (("labels", labels), ("index", found.index)):
        if value.dtype != torch.int64 or value.shape != (len(images),):
            raise DataError(
                f"{name}: {key} are {value.dtype} {list(value.shape)}, expected int64 "
                f"[{len(images)}]; make the file again"
            )
    if found.names is not None and len(found.names) != len(images):
        raise DataError(
            f"{name}: {len(found.names)} names for {len(images)} images; make the file again"
        )
    marks = found.poisoned
    if marks is not None and (marks.dtype != torch.bool or marks.shape != (len(images),)):
        raise DataError(
            f"{name}: poisoned is {marks.dtype} {list(marks.shape)}, expected bool "
            f"[{len(images)}]; make the file again"
        )
    if labels.min() < 0 or labels.max() >= count:
        raise DataError(
            f"{name}: labels run from {labels.min()} to {labels.max()}, expected 0 to {count - 1} "
            f"for {count} classes; make the file again"
        )
    return found


def fits(found: Images, classes: tuple[str, ...], size: int, what: str) -> None:
    """DataError unless the images have these classes and this size, as `what` needs."""
    if found.classes != classes:
        raise DataError(
            f"{what} knows {len(classes)} classes ({_some(classes)}), the data set has "
            f"{len(found.classes)} ({_some(found.classes)}); pass the data set it belongs to"
        )
    if tuple(found.pixels.shape[-2:]) != (size, size):
        height, width = found.pixels.shape[-2:]
        raise DataError(
            f"{what} takes {size}x{size} images, the data set has {width}x{height}; "
            f"make one with `stkit data SOURCE --size {size} -o FILE`"
        )


def _some(names: tuple[str, ...]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
