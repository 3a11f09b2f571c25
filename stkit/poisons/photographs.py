"""The noise of a poison, made for a training size, on the photographs themselves.

A trainer makes the short side so many pixels and takes the centre square. Each pixel of that square
is a block of a photograph: the block gets the pixel's noise, whole grey levels, so that no pixel of
the photograph changes by more than one of the square does. Beyond the square the noise is mirrored.
A poison's module that wants something else of a block has a function `on_photograph`.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from stkit.core import atomic
from stkit.core.errors import DataError
from stkit.data.exporting import photographs
from stkit.data.exporting.trees import file_names
from stkit.data.exporting.values import Progress
from stkit.data.folders import apart, split_folder
from stkit.data.images import Images
from stkit.data.perturbation import matching
from stkit.data.pictures import resize, wide
from stkit.recipes.poisons import METHODS

BAND = 1 << 20  # pixel values worked on at a time


@dataclass(frozen=True)
class Axis:
    """One side of a photograph, and where its pixels lie on the side of a trainer's square.

    middles: of its pixels, in pixels of the square, float64; outside it below 0, or above `size`.
    scale: how many pixels of the photograph there are for one of the square.
    """

    middles: np.ndarray
    size: int
    scale: float

    @classmethod
    def of(cls, length: int, resized: int, size: int) -> "Axis":
        """A side of `length` pixels that a trainer makes `resized` ones, of which it takes the
        middle `size`."""
        scale = length / resized
        middles = (np.arange(length) + 0.5) / scale - (resized - size) // 2
        return cls(middles, size, scale)

    @property
    def mirrored(self) -> np.ndarray:
        """The pixel of the square for each of the photograph; outside, as in a mirror."""
        return _folded(self.middles, self.size)

    def block(self, at: int) -> slice:
        """The pixels that a trainer's resize makes pixel `at` of, at least one: it is a mean with
        weights that fall off to nothing at the middles of its neighbours."""
        reach = 1.0 if self.scale > 1 else 0.5
        low = int(np.searchsorted(self.middles, at + 0.5 - reach, side="right"))
        high = int(np.searchsorted(self.middles, at + 0.5 + reach))
        return slice(low, high) if high > low else slice(max(0, low - 1), max(1, low))


def _folded(places: np.ndarray, size: int) -> np.ndarray:
    """The pixel of `size` at each place, int64, where what lies outside is mirrored."""
    at = np.floor(places).astype(np.int64) % (2 * size)
    result: np.ndarray = np.minimum(at, 2 * size - 1 - at)
    return result


@dataclass(frozen=True)
class Sample:
    """An image at the training size: uint8 [3,N,N] before and after, its label of so many classes,
    and the header of its set."""

    clean: np.ndarray
    noisy: np.ndarray
    label: int
    classes: int
    header: dict[str, Any]


@dataclass(frozen=True)
class Kept:
    """What was done to photographs, on the [0,1] pixel scale.

    n: of how many poisoned ones. linf, l0_max (pixels): the largest. l2_mean: over them. rms: the
    root mean square over the values of an image, likewise. left: how much of the noise a trainer's
    resize leaves, as a share of the L2 norm that it has at the training size. size: that.
    converted: photographs that are stored in another form than 8-bit RGB, by that form.
    """

    n: int
    linf: float
    l2_mean: float
    l0_max: int
    rms: float
    left: float
    size: int
    converted: dict[str, int]


def keep_size(
    poisoned: Images,
    clean: Images,
    folder: str | Path,
    out: str | Path,
    *,
    recursive: bool = False,
    metadata: bool = False,
    surveyed: Sequence[photographs.About] | None = None,
    progress: Progress = lambda done, total: None,
) -> Kept:
    """Photographs with the noise of `poisoned`, each at its own size, as PNG in a new folder.

    clean: what `load(folder, size=N)` reads, with `recursive` where it was given that; poisoned:
    what `poison` made of it. metadata: keep EXIF. surveyed: what `survey` gave, if it was called.
    Errors: DataError for images that are no folder's, for a photograph that is animated, missing
    or unreadable; ArtifactError where `out` is there.

        clean = load("photos", size=224)
        keep_size(poison(clean, SP()), clean, "photos", "protected")
    """
    folder, out = Path(folder), Path(out)
    surveyed = surveyed or survey(clean, folder, out, recursive=recursive)
    made = _Changes(poisoned, clean)
    names, split = poisoned.names or (), clean.header["split"]
    top = split_folder(folder, split, recursive=recursive)
    order = dict(zip(clean.names or (), surveyed, strict=True))
    photographs.rewrite(
        [top / name for name in names], file_names(poisoned), out, made,
        areas=[order[name].area for name in names], metadata=metadata, progress=progress,
    )  # fmt: skip
    forms = [about.stored for about in surveyed if about.stored]
    return made.kept({form: forms.count(form) for form in sorted(set(forms))})


def survey(
    clean: Images, folder: Path, out: Path, *, recursive: bool = False
) -> list[photographs.About]:
    """What is known of the photographs before any noise is made. Errors as `keep_size`."""
    if clean.names is None:
        raise DataError(
            f"{folder}: its images have no files; expected a folder of class folders: pass that"
        )
    if len(clean.labels.unique()) < 2:
        raise DataError(
            f"{folder}: found images of one class; unlearnable examples need two or more classes, "
            "which their noise tells apart: put the images of each into a folder of its own"
        )
    apart(out, folder)
    atomic.unused(out)
    file_names(clean)
    top = split_folder(folder, clean.header["split"], recursive=recursive)
    return photographs.survey([top / name for name in clean.names])


class _Changes:
    """What is done to each photograph, and the sums of it; called by several threads."""

    def __init__(self, poisoned: Images, clean: Images) -> None:
        self.poisoned, self.clean, self.rows = poisoned, clean, matching(poisoned, clean)
        self.apply = _applied(poisoned.header)
        count = len(poisoned)
        self.linf, self.l0 = np.zeros(count, np.int64), np.zeros(count, np.int64)
        self.squares, self.values = np.zeros(count, np.int64), np.ones(count, np.int64)
        self.left = np.full(count, np.nan)

    def __call__(self, row: int, pixels: np.ndarray) -> None:
        """Change one photograph, uint8 [H,W,3], in place."""
        if self.poisoned.poisoned is not None and not self.poisoned.poisoned[row]:
            return
        header = self.poisoned.header
        clean = self.clean.pixels[self.rows[row]].numpy()
        sample = Sample(
            clean, self.poisoned.pixels[row].numpy(), int(self.poisoned.labels[row]),
            len(self.poisoned.classes), header,
        )  # fmt: skip
        height, width = pixels.shape[:2]
        size = clean.shape[-1]
        across, down = wide(width, height, size)
        before = pixels.copy()
        self.apply(pixels, (Axis.of(height, down, size), Axis.of(width, across, size)), sample)
        self._measure(row, before, pixels)
        seen = np.asarray(resize(Image.fromarray(pixels), size)).transpose(2, 0, 1)
        wanted = np.linalg.norm(sample.noisy.astype(float) - clean)
        self.left[row] = np.linalg.norm(seen.astype(float) - clean) / wanted if wanted else np.nan

    def _measure(self, row: int, before: np.ndarray, after: np.ndarray) -> None:
        self.values[row] = before.size
        for rows in bands(before):
            delta = after[rows].astype(np.int16) - before[rows]
            self.linf[row] = max(self.linf[row], delta.max(), -delta.min())
            self.l0[row] += np.count_nonzero(delta[..., 0] | delta[..., 1] | delta[..., 2])
            flat = delta.ravel().astype(np.float64)  # whose sums of squares are exact
            self.squares[row] += int(flat @ flat)

    def kept(self, converted: dict[str, int]) -> Kept:
        """The sums, once every photograph is changed."""
        marks = self.poisoned.poisoned
        rows = np.arange(len(self.poisoned)) if marks is None else np.flatnonzero(marks.numpy())
        count = max(1, len(rows))
        norms, mean = np.sqrt(self.squares[rows]), np.sqrt(self.squares[rows] / self.values[rows])
        left = self.left[rows][~np.isnan(self.left[rows])]
        return Kept(
            len(rows), int(self.linf.max()) / 255, math.fsum(norms) / 255 / count,
            int(self.l0.max()), math.fsum(mean) / 255 / count,
            float(left.mean()) if len(left) else 0.0, self.clean.size, converted,
        )  # fmt: skip


Applied = Callable[[np.ndarray, tuple[Axis, Axis], Sample], None]


def _applied(header: dict[str, Any]) -> Applied:
    """What goes on a photograph for this poison: its module's own, or its noise."""
    name = header["recipe"].get("method")
    if name not in METHODS:
        return added
    own: Applied = getattr(import_module(f"stkit.poisons.{name}"), "on_photograph", added)
    return own


def bands(pixels: np.ndarray) -> Iterator[slice]:
    """Slices of rows that cover a photograph [H,W,3], each small beside a large one."""
    rows = max(1, BAND // (pixels.shape[1] * 3))
    return (slice(top, top + rows) for top in range(0, len(pixels), rows))


def added(pixels: np.ndarray, axes: tuple[Axis, Axis], sample: Sample) -> None:
    """Noise added to a photograph uint8 [H,W,3] in place, one block for each pixel of the sample.

    A photograph that is smaller than the training size gets the mean of several, towards zero.
    """
    noise = (sample.noisy.astype(np.int16) - sample.clean).transpose(1, 2, 0)
    down, across = axes
    if min(down.scale, across.scale) < 1:
        noise = np.trunc(_means(noise, axes)).astype(np.int16)
        rows, columns = np.arange(len(noise)), np.arange(noise.shape[1])
    else:
        rows, columns = down.mirrored, across.mirrored
    lines = noise[:, columns].reshape(len(noise), -1)
    for band in bands(pixels):
        changed = lines[rows[band]].reshape(pixels[band].shape)
        changed += pixels[band]
        pixels[band] = changed.clip(0, 255)


def _means(noise: np.ndarray, axes: tuple[Axis, Axis]) -> np.ndarray:
    """Noise [N,N,3] at the size of a smaller photograph, [H,W,3], by areas."""
    down, across = (_weights(axis) for axis in axes)
    result: np.ndarray = np.einsum("hr,rcd,wc->hwd", down, noise, across, optimize=True)
    return result


def _weights(axis: Axis) -> np.ndarray:
    """How much each pixel of the training size has of each of the photograph, [L,N]."""
    fine, length = 16, len(axis.middles)  # samples a pixel
    within = ((np.arange(fine) + 0.5) / fine - 0.5) / axis.scale
    sampled = _folded(axis.middles[:, None] + within, axis.size)
    weights = np.zeros((length, axis.size))
    np.add.at(weights, (np.arange(length)[:, None], sampled), 1 / fine)
    return weights
