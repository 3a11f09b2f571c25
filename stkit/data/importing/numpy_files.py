"""NumPy's .npy and .npz, without their objects: what they say of themselves is checked first.

An .npy is mapped, an .npz's arrays are `Member`s, which are read once their shapes are seen to fit:
a member of a few thousand bytes may say that it is as many gigabytes.
"""

import io
import os
import warnings
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal

import numpy as np

from stkit.core.errors import DataError
from stkit.core.files import open_regular
from stkit.data.importing.shapes import PACKED, mapped, plain, readable

FORMAT = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}
DATA = ("data", "targets")
ARRAY, INDEX = "array", "index"
HEAD = 1 << 14  # bytes in which a header ends: NumPy itself takes 10,000 at most
CHUNK = 1 << 20  # bytes unpacked at a time
LARGE, RATIO = 64 << 20, 100  # of a larger member one in so many bytes is in the file


@dataclass(frozen=True)
class Header:
    """What an .npy says of its array; at: where its bytes begin, size: how many they are."""

    dtype: np.dtype
    shape: tuple[int, ...]
    order: Literal["C", "F"]
    at: int
    size: int


@dataclass(frozen=True)
class Member:
    """An array of an .npz: its type and shape, and how to read it."""

    dtype: np.dtype
    shape: tuple[int, ...]
    read: Callable[[], np.ndarray]


def npy(path: Path) -> np.ndarray:
    """The array of an .npy, memory-mapped and read-only. DataError where it is none of numbers."""
    with open_regular(path) as file:
        head = _header(file.read(HEAD), path)
        here = os.fstat(file.fileno()).st_size - head.at
        if here < head.size:
            raise DataError(
                f"{path}: unreadable ({here:,} of {head.size:,} bytes are there); get it again"
            )
        return mapped(file, head.at, head.dtype, head.shape, head.order)


def npz(path: Path) -> dict[str, Member]:
    """The arrays of an .npz that are imported, not yet read: data and targets, or else the only one
    there is, as `array`, beside its `index`. DataError where it has neither."""
    with open_regular(path) as file, _archive(file, path) as archive:
        there = {name.removesuffix(".npy"): name for name in archive.namelist()}
        others = [name for name in there if name != INDEX]
        chosen = {name: there[name] for name in DATA if name in there}
        if len(chosen) < len(DATA) and len(others) == 1:
            chosen = {ARRAY: there[others[0]]}
            chosen |= {INDEX: there[INDEX]} if INDEX in there else {}
        elif missing := [name for name in DATA if name not in there]:
            raise DataError(
                f"{path}: has {readable(', '.join(there))} but no {' and no '.join(missing)}, "
                "expected data (uint8 images) and targets (labels), or one array of noise or "
                "images alone, or beside the index of the images it is for"
            )
        return {name: _member(archive, path, member) for name, member in chosen.items()}


def _archive(file: BinaryIO, path: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(file)
    except Exception as error:
        raise DataError(f"{path}: unreadable ({readable(error)}); get it again") from None


def _member(archive: zipfile.ZipFile, path: Path, name: str) -> Member:
    """One array, of which no more than the header is read."""
    about = archive.getinfo(name)
    label = f"{path}: {name}"
    if about.compress_type not in PACKED or about.flag_bits & 1:
        raise DataError(f"{label} is packed in an unknown way; expected what numpy.savez writes")
    if about.file_size > max(LARGE, RATIO * about.compress_size):
        raise DataError(
            f"{label} says that {about.compress_size:,} bytes unpack to {about.file_size:,}, "
            f"expected {RATIO} times as many at most; get it again"
        )
    try:
        with archive.open(about) as stream:
            start = stream.read(HEAD)
    except Exception as error:
        raise DataError(f"{label} is unreadable ({readable(error)}); get it again") from None
    head = _header(start, label)
    if about.file_size != head.at + head.size:
        raise DataError(
            f"{label} is {about.file_size:,} bytes, by its shape {head.at + head.size:,}; "
            "get it again"
        )
    return Member(head.dtype, head.shape, lambda: _unpacked(path, name, head))


def _unpacked(path: Path, name: str, head: Header) -> np.ndarray:
    """The array of a member whose shape has been seen to fit."""
    octets, got = np.empty(head.size, np.uint8), 0
    with open_regular(path) as file, _archive(file, path) as archive:
        try:
            with archive.open(name) as stream:
                stream.read(head.at)
                while got < head.size and (piece := stream.read(min(CHUNK, head.size - got))):
                    octets[got : got + len(piece)] = np.frombuffer(piece, np.uint8)
                    got += len(piece)
                whole = got == head.size and not stream.read(1)  # which checks the sum, too
        except Exception as error:
            raise DataError(
                f"{path}: {name} is unreadable ({readable(error)}); get it again"
            ) from None
    if not whole:
        raise DataError(f"{path}: {name} has another length than it says; get it again")
    return octets.view(head.dtype).reshape(head.shape, order=head.order)


def _header(start: bytes, where: Path | str) -> Header:
    """What the first bytes of an .npy say. DataError where they are none, or of no numbers."""
    file = io.BytesIO(start)
    try:
        with warnings.catch_warnings():  # of Python 2's headers
            warnings.simplefilter("ignore")
            read = FORMAT[np.lib.format.read_magic(file)]
            shape, fortran, dtype = read(file)
    except Exception as error:  # of every kind, MemoryError of nested ones
        reason = readable(error)
        raise DataError(f"{where}: unreadable (its header: {reason}); get it again") from None
    size = plain(dtype, shape, where)
    return Header(dtype, shape, "F" if fortran else "C", file.tell(), size)
