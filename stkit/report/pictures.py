"""Small pictures of data set files as PNG, by hand: no torch, no image library.

A strip shows the first image of each class. Files are found by the digest that results record.
"""

import struct
import zlib
from array import array
from base64 import b64encode
from collections.abc import Iterable
from dataclasses import dataclass
from math import prod
from pathlib import Path

from stkit.core import files, header
from stkit.core.errors import DataError, StkitError

CLASSES = 10  # images in a strip
SIDE = 64  # pixels at most; larger images are shown by every n-th pixel
LARGEST = 64 << 20  # bytes of an image, or of all labels, that are read


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


def strip(path: Path, rows: list[int]) -> Strip:
    """These images of a data set file side by side.

    DataError where the file cannot be shown; ValueError where it has no such rows.
    """
    first, shape = _tensor(path, "images", "U8", 4)
    count, channels, height, width = shape
    if channels != 3 or not 0 < 3 * height * width <= LARGEST:
        raise DataError(f"{path}: found images of {shape[1:]}, expected smaller ones of 3 channels")
    if max(rows, default=0) >= count:
        raise ValueError(f"{path}: it has {count} images")
    step, size = -(-max(height, width) // SIDE), 3 * height * width
    columns, lines = range(0, width, step), range(0, height, step)
    pixels = bytearray(3 * len(columns) * len(rows) * len(lines))
    with files.open_regular(path) as file:
        for place, row in enumerate(rows):
            file.seek(first + row * size)
            image = file.read(size)
            for channel in range(3):
                for y, line in enumerate(lines):
                    source = (channel * height + line) * width
                    target = 3 * len(columns) * (y * len(rows) + place) + channel
                    values = image[source : source + width : step]
                    pixels[target : target + 3 * len(columns) : 3] = values
    return Strip(len(columns) * len(rows), len(lines), bytes(pixels))


def rows_of_classes(path: Path) -> list[int]:
    """The row of the first image of each of the first classes. DataError where there is none."""
    first, (count,) = _tensor(path, "labels", "I64", 1)
    if not 0 < 8 * count <= LARGEST:
        raise DataError(f"{path}: found {count} labels, expected 1 to {LARGEST // 8:,} of them")
    labels = array("q")
    with files.open_regular(path) as file:
        file.seek(first)
        labels.frombytes(file.read(8 * count))
    return [labels.index(label) for label in sorted(set(labels))[:CLASSES]]


def _tensor(path: Path, name: str, dtype: str, dimensions: int) -> tuple[int, list[int]]:
    """Where a tensor begins in a file, and its shape. DataError unless its bytes are there."""
    head, start = header.layout(path)
    about = head.get(name, {})
    shape, (first, end) = about.get("shape", []), about.get("data_offsets", (0, 0))
    if about.get("dtype") != dtype or len(shape) != dimensions:
        raise DataError(f"{path}: found no {name}, expected a data set; pass another file")
    if end - first != prod(shape) * (8 if dtype == "I64" else 1):
        raise DataError(f"{path}: damaged, its {name} are not whole; make it again")
    return start + first, shape


def difference(clean: Strip, poisoned: Strip) -> tuple[Strip, float]:
    """What was added, around mid grey, and by how much it is enlarged so that it can be seen."""
    deltas = [b - a for a, b in zip(clean.pixels, poisoned.pixels, strict=True)]
    largest = max(map(abs, deltas), default=0)
    factor = 127 / largest if largest else 1.0
    pixels = bytes(round(128 + delta * factor) for delta in deltas)
    return Strip(clean.width, clean.height, pixels), factor
