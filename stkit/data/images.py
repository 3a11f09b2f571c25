"""The data set as a value: `Images`, and `load`, which makes one from any source.

Pixels are uint8 at rest and float in [0,1] in flight; `to_float` and `to_uint8` are the only two
converters.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from textwrap import shorten
from typing import Any

import torch
from torch import Tensor

from stkit.core import artifact, header
from stkit.core.checks import choose
from stkit.core.errors import DataError

SPLITS = ("train", "test")
TENSORS = ("images", "labels", "index")  # of every dataset file, in the order of `Images`


def to_float(images: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """uint8 [0,255] -> float [0,1] of this type: a model's own, else torch's default, float32.

    What is float already stays as it is, but for the type that is asked for.
    """
    if images.is_floating_point():
        return images if dtype is None else images.to(dtype)
    return images.to(dtype or torch.get_default_dtype()) / 255


def to_uint8(images: Tensor) -> Tensor:
    """Float [0,1] -> uint8, to the nearest grey level."""
    return (images * 255).round().clamp(0, 255).to(torch.uint8)


@dataclass(frozen=True, repr=False)
class Images:
    """A split of a data set: pixels uint8 [N,3,H,W], labels int64 [N], and where they come from.

    index int64 [N]: position in the source's own order (torchvision's, or sorted class and file).
    names: class/file of each image of a folder. poisoned bool [N]: which images carry noise.
    header: the stkit header of this data set as it is, or would be, written to a file.
    """

    pixels: Tensor
    labels: Tensor
    index: Tensor
    header: dict[str, Any]
    names: tuple[str, ...] | None = None
    poisoned: Tensor | None = None

    @classmethod
    def from_tensors(
        cls,
        pixels: Tensor,
        labels: Tensor,
        *,
        classes: Sequence[object] | None = None,
        split: str = "train",
        name: str = "tensors",
    ) -> "Images":
        """A data set of one's own tensors, of which it keeps those that need no conversion.

        pixels: uint8 [N,3,H,W], or float in [0,1], which is taken to the nearest of 256 grey
        levels: what a poison or a training sees are 8-bit images. labels: whole numbers [N], 0 to
        K - 1. classes: their K names; None: "0", "1", ... up to the largest label. split: train or
        test. name: what headers and reports call the source. RecipeError: another split.
        DataError: other types, shapes or values.

            images = Images.from_tensors(torch.rand(100, 3, 32, 32), torch.arange(100) % 10)
        """
        choose("split", split, SPLITS)
        pixels, labels = _pixels(pixels, name), _labels(labels, name)
        if classes is None:
            classes = [str(i) for i in range(1 + int(labels.max()) if len(labels) else 0)]
        head = header.make(
            "dataset", {"source": name, "size": None, "limit": None}, seed=0, inputs=[],
            classes=[str(each) for each in classes], split=split,
        )  # fmt: skip
        made = cls(pixels, labels, torch.arange(len(labels)), head)
        return checked(made, name, "pass tensors that fit (see the docstring)")

    def __repr__(self) -> str:
        """What is in it, in one short line."""
        height, width = self.pixels.shape[-2:]
        method = shorten(str(self.header.get("method", "poisoned")), 20, placeholder="...")
        return (
            f"Images({len(self)} of {width}x{height}, {len(self.classes)} classes, "
            f"{self.header['split']}, {'clean' if self.poisoned is None else method})"
        )

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes, by label."""
        return tuple(self.header["classes"])

    @property
    def size(self) -> int:
        """The side in pixels (the height, where images are not square)."""
        return self.pixels.shape[-2]

    @cached_property
    def provenance(self) -> dict[str, Any]:
        """The header with its digest, which is computed now unless a file brought it."""
        if self.header["digest"]:
            return self.header
        return {**self.header, "digest": artifact.digest(self.tensors())}

    def tensors(self) -> dict[str, Tensor]:
        """What goes into a dataset file."""
        tensors = {"images": self.pixels, "labels": self.labels, "index": self.index}
        if self.names is not None:
            text = "\0".join(self.names).encode(errors="surrogateescape")
            tensors["names"] = torch.tensor(list(text), dtype=torch.uint8)
        if self.poisoned is not None:
            tensors["poisoned"] = self.poisoned
        return tensors

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

    def save(self, path: str | Path, *, replace: bool = True) -> dict[str, Any]:
        """Write a dataset file; returns its header. Taken where one is, unless it may `replace`."""
        return artifact.write(Path(path), self.tensors(), self.header, replace=replace)


def _pixels(pixels: Tensor, name: str) -> Tensor:
    """Pixels at rest; DataError for floats outside [0,1]."""
    if not isinstance(pixels, Tensor):
        raise DataError(
            f"{name}: pixels are a {type(pixels).__name__}, expected a tensor [N,3,H,W]; "
            "pass torch.as_tensor(pixels)"
        )
    pixels = pixels.detach()
    if not pixels.is_floating_point():
        return pixels.cpu()
    low, high = pixels.aminmax() if pixels.numel() else (0.0, 1.0)
    if not 0 <= float(low) <= float(high) <= 1:  # NaN too
        raise DataError(
            f"{name}: pixels run from {float(low):g} to {float(high):g}, expected [0,1] where they "
            "are floats; divide by 255, or undo the normalisation, which belongs in the model"
        )
    return to_uint8(pixels).cpu()


def _labels(labels: Tensor, name: str) -> Tensor:
    """Labels at rest; DataError unless they are whole numbers."""
    whole = isinstance(labels, Tensor) and not (
        labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool
    )
    if not whole:
        kind = labels.dtype if isinstance(labels, Tensor) else type(labels).__name__
        raise DataError(
            f"{name}: labels are {kind}, expected a tensor of whole numbers [N]; "
            "pass torch.as_tensor(labels).long()"
        )
    return labels.long().cpu()


def read(path: Path, split: str | None = None) -> Images:
    """A dataset file. DataError when its labels or shapes are wrong, or it holds another split."""
    head, tensors = artifact.read(path, "dataset")
    for key in TENSORS:
        if key not in tensors:
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
    read_images = Images(images, labels, index, head, names, tensors.get("poisoned"))
    return checked(read_images, str(path))


def checked(data: Images, name: str, remedy: str = "make the file again") -> Images:
    """`data`, once its types, shapes and labels are seen to fit; DataError names what does not."""
    images, labels, count = data.pixels, data.labels, len(data.classes)
    if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] != 3 or not len(images):
        raise DataError(
            f"{name}: images are {images.dtype} {list(images.shape)}, expected uint8 [N,3,H,W]; "
            f"{remedy}"
        )
    for key, value in (("labels", labels), ("index", data.index)):
        if value.dtype != torch.int64 or value.shape != (len(images),):
            raise DataError(
                f"{name}: {key} are {value.dtype} {list(value.shape)}, expected int64 "
                f"[{len(images)}]; {remedy}"
            )
    if data.names is not None and len(data.names) != len(images):
        raise DataError(f"{name}: {len(data.names)} names for {len(images)} images; {remedy}")
    marks = data.poisoned
    if marks is not None and (marks.dtype != torch.bool or marks.shape != (len(images),)):
        raise DataError(
            f"{name}: poisoned is {marks.dtype} {list(marks.shape)}, expected bool "
            f"[{len(images)}]; {remedy}"
        )
    if labels.min() < 0 or labels.max() >= count:
        raise DataError(
            f"{name}: labels run from {labels.min()} to {labels.max()}, expected 0 to {count - 1} "
            f"for {count} classes; {remedy}"
        )
    return data


def require(value: object, what: str) -> None:
    """DataError unless it is a data set."""
    if not isinstance(value, Images):
        made = f"load({str(value)!r})" if isinstance(value, (str, Path)) else "load('digits')"
        raise DataError(
            f"{what}: found a {type(value).__name__}, expected Images; pass stkit.{made}, or "
            "tensors by Images.from_tensors(pixels, labels)"
        )


def fits(data: Images, classes: tuple[str, ...], size: int, what: str) -> None:
    """DataError unless the images have these classes and this size, as `what` needs."""
    if data.classes != classes:
        raise DataError(
            f"{what} knows {len(classes)} classes ({_some(classes)}), the data set has "
            f"{len(data.classes)} ({_some(data.classes)}); pass the data set it belongs to"
        )
    if tuple(data.pixels.shape[-2:]) != (size, size):
        height, width = data.pixels.shape[-2:]
        split = " --split test" if data.header["split"] == "test" else ""
        raise DataError(
            f"{what} takes {size}x{size} images, the data set has {width}x{height}; "
            f"make one with `stkit data SOURCE{split} --size {size} -o FILE`"
        )


def _some(names: tuple[str, ...]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
