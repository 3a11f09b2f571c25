"""What a file says of an array, believed only where it can be: its type, shape and size.

And what it says in words, which goes into messages.
"""

import math
import zipfile
from pathlib import Path
from typing import BinaryIO, Literal

import numpy as np

from stkit.core import text as harmless
from stkit.core.errors import DataError

DIMENSIONS = 8  # of an array at most
PACKED = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # how torch and NumPy pack a zip's members
WORDS = 200  # of a file's own in a message at most: characters


def readable(text: object) -> str:
    """Words of a file or of an error, for a message: one line, of a bounded length, no control
    characters."""
    return harmless.line(str(text))[:WORDS] or type(text).__name__


def plain(dtype: np.dtype, shape: tuple[int, ...], where: Path | str) -> int:
    """The bytes of an array of this type and shape, which are seen to be of plain numbers.

    DataError for objects, records, text, times, and for what is no shape.
    """
    counts = all(type(length) is int and length >= 0 for length in shape)
    if dtype.kind not in "biufc" or dtype.itemsize > 16 or not counts or len(shape) > DIMENSIONS:
        raise DataError(
            f"{where}: holds {readable(dtype)} {readable(list(shape))}, expected plain numbers; "
            "nothing of it was run"
        )
    return math.prod(shape) * dtype.itemsize


def mapped(
    file: BinaryIO, at: int, dtype: np.dtype, shape: tuple[int, ...], order: Literal["C", "F"] = "C"
) -> np.ndarray:
    """An array that lies in an open file from byte `at` on: memory-mapped, read-only."""
    if not math.prod(shape):
        return np.zeros(shape, dtype)
    return np.memmap(file, dtype, "r", at, shape, order)
