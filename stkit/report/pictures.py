"""Small pictures of images as PNG, by hand: no torch, no image library.

A strip shows an image of each class. Files are found by the digest that results record.
"""

import struct
import zlib
from base64 import b64encode
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from stkit.core import header
from stkit.core.errors import StkitError

SIDE = 64  # pixels at most; larger images are shown by every n-th pixel
FEW = 8  # pixels of an image: where no more differ, each is to be seen
SPOT = 2  # pixels around one of few that has changed, on either side
RING = 0.09  # radius of a ring around one, of an image's width


@dataclass(frozen=True)
class Strip:
    """Images side by side: rows of RGB bytes, `height` of them."""

    width: int
    height: int
    pixels: bytes

    def uri(self) -> str:
        """The strip as a PNG in a data URI."""
        row = 3 * self.width
        lines = (self.pixels[i : i + row] for i in range(0, len(self.pixels), row))
        raw = zlib.compress(b"".join(b"\0" + line for line in lines), 9)
        head = struct.pack(">IIBBBBB", self.width, self.height, 8, 2, 0, 0, 0)
        png = b"\x89PNG\r\n\x1a\n" + b"".join(
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
            for kind, body in ((b"IHDR", head), (b"IDAT", raw), (b"IEND", b""))
        )
        return "data:image/png;base64," + b64encode(png).decode()


def index(paths: Iterable[Path]) -> dict[str, Path]:
    """Digest -> file, of the data sets among these files and in folders and their `work`."""
    known: dict[str, Path] = {}
    for path in paths:
        home = path if path.is_dir() else path.parent
        for file in [path, *sorted(home.glob("*.safetensors")),
                     *sorted((home / "work").glob("*.safetensors"))]:  # fmt: skip
            try:
                if file.suffix == ".safetensors":
                    known.setdefault(header.read(file, "dataset")["digest"], file)
            except (StkitError, KeyError):
                continue  # not a data set
    return known


def strip(size: tuple[int, int], images: Sequence[bytes]) -> Strip:
    """Images [3,H,W] of this height and width side by side; of large ones every n-th pixel."""
    height, width = size
    step = _step(size)
    columns, lines = range(0, width, step), range(0, height, step)
    pixels = bytearray(3 * len(columns) * len(images) * len(lines))
    for place, image in enumerate(images):
        for channel in range(3):
            for y, line in enumerate(lines):
                source = (channel * height + line) * width
                target = 3 * len(columns) * (y * len(images) + place) + channel
                values = image[source : source + width : step]
                pixels[target : target + 3 * len(columns) : 3] = values
    return Strip(len(columns) * len(images), len(lines), bytes(pixels))


def _step(size: tuple[int, int]) -> int:
    return -(-max(size) // SIDE)


@dataclass(frozen=True)
class Difference:
    """What was added to images, so that it can be seen.

    factor: by how much it is enlarged. images: around mid grey, each [3,H,W]. pixels: of each image
    those that differ, y * W + x, where they are few; else none.
    """

    factor: float
    images: tuple[bytes, ...]
    pixels: tuple[tuple[int, ...], ...]


def difference(clean: Sequence[bytes], poisoned: Sequence[bytes]) -> Difference:
    """What was added to clean images [3,H,W], with its sign."""
    pairs = list(zip(clean, poisoned, strict=True))
    levels = [[b - a for a, b in zip(before, after, strict=True)] for before, after in pairs]
    factor = factor_of(max((abs(level) for image in levels for level in image), default=0))
    grey = {level: min(255, round(128 + level * factor)) for level in set().union(*levels)}
    pixels = [_changed(image) for image in levels]
    few = all(len(places) <= FEW for places in pixels)
    return Difference(
        factor,
        tuple(bytes(map(grey.__getitem__, image)) for image in levels),
        tuple(places if few else () for places in pixels),
    )


def factor_of(largest: int) -> float:
    """By how much a difference of so many grey levels is enlarged: to fill what is around mid grey.

    A whole number, or one half, for people to read.
    """
    return max(127 // largest, 0.5) if largest else 1.0


def _changed(levels: Sequence[int]) -> tuple[int, ...]:
    size = len(levels) // 3
    planes = levels[:size], levels[size : 2 * size], levels[2 * size :]
    return tuple(place for place, values in enumerate(zip(*planes, strict=True)) if any(values))


def spots(size: tuple[int, int], shown: Difference) -> Strip:
    """The strip of a difference, in which each of few changed pixels is a square of its colour."""
    made = strip(size, shown.images)
    step, pixels = _step(size), bytearray(made.pixels)
    across = made.width // len(shown.images)
    for place, (image, changed) in enumerate(zip(shown.images, shown.pixels, strict=True)):
        for pixel in changed:
            y, x = (value // step for value in divmod(pixel, size[1]))
            colour = bytes(image[pixel :: size[0] * size[1]])
            left, right = max(0, x - SPOT), min(across, x + SPOT + 1)
            for line in range(max(0, y - SPOT), min(made.height, y + SPOT + 1)):
                start = 3 * (line * made.width + place * across + left)
                pixels[start : start + 3 * (right - left)] = colour * (right - left)
    return Strip(made.width, made.height, bytes(pixels))


@dataclass(frozen=True)
class Ring:
    """A circle around a pixel of a strip, in its pixels; all of it within the pixel's image."""

    x: float
    y: float
    radius: float


def rings(size: tuple[int, int], shown: Difference) -> list[Ring]:
    """Rings in a strip around each of few pixels that changed, or else none."""
    step = _step(size)
    height, width = (len(range(0, side, step)) for side in size)
    radius = RING * width
    return [
        Ring(place * width + min(max(pixel % size[1] / step + 0.5, radius), width - radius),
             min(max(pixel // size[1] / step + 0.5, radius), height - radius), radius)
        for place, changed in enumerate(shown.pixels)
        for pixel in changed
    ]  # fmt: skip
