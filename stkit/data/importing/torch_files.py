"""torch.save's files, old and new, read without torch.load: nothing in them is called.

Both hold a pickle (see `pickles`) that says how tensors are made of storages, plain bytes that lie
beside it; here they are mapped. A tensor must have all of its numbers in the file: strides can make
a few bytes look like terabytes.
"""

import io
import math
import os
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from stkit.core.errors import DataError
from stkit.core.files import open_regular
from stkit.data.importing import pickles
from stkit.data.importing.pickles import Call, Name, RefusedError, Stored
from stkit.data.importing.shapes import DIMENSIONS, PACKED, mapped, readable

OLD = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # how it began before torch 1.6
TENSOR, PARAMETER = "torch._utils._rebuild_tensor_v2", "torch._utils._rebuild_parameter"
TYPES = {
    "torch.DoubleStorage": "f8", "torch.FloatStorage": "f4", "torch.HalfStorage": "f2",
    "torch.LongStorage": "i8", "torch.IntStorage": "i4", "torch.ShortStorage": "i2",
    "torch.CharStorage": "i1", "torch.ByteStorage": "u1", "torch.BoolStorage": "b1",
    "torch.BFloat16Storage": "u2",  # the upper half of a float32
}  # fmt: skip
HALVES = "torch.BFloat16Storage"
ADMITTED = (TENSOR, PARAMETER, pickles.DICT, *TYPES)
PICKLE = 16 << 20  # bytes of the pickle in a new file at most


@dataclass(frozen=True)
class Place:
    """Where a storage lies in the file, and how many bytes it has."""

    at: int
    size: int


@dataclass(frozen=True)
class Saved:
    """What a file holds: the value that its pickle describes, and where its storages lie."""

    value: Any
    places: Mapping[str, Place]
    order: str = "<"


def read(path: Path) -> Any:
    """A tensor as an array; of a dict with a tensor `data` its tensors, as arrays by their names.

    Memory-mapped and read-only, but for bfloat16, which becomes float32. DataError for all else.
    """
    with open_regular(path) as file:
        try:
            old = file.read(len(OLD)) == OLD
            file.seek(0)
            saved = _old(file) if old else _new(file)
        except RefusedError as refused:
            what = f"holds {readable(refused)}"
            raise DataError(f"{path}: {what}, expected one tensor; nothing of it was run") from None
        except Exception as error:  # damaged ones raise of every kind
            raise _unreadable(path, error) from None
        if _is_tensor(saved.value):
            return _array(path, file, saved, saved.value)
        if isinstance(saved.value, dict) and _is_tensor(saved.value.get("data")):
            tensors = {k: v for k, v in saved.value.items() if _is_tensor(v)}
            return {str(k): _array(path, file, saved, v) for k, v in tensors.items()}
    if isinstance(saved.value, dict):
        names = readable(", ".join(map(str, list(saved.value)[:3])))
        raise DataError(
            f"{path}: holds a model or another dict ({names}), expected a tensor of noise, "
            "or {'data', 'labels'}; pass the file of the noise"
        )
    raise DataError(f"{path}: holds a {type(saved.value).__name__.lower()}, expected one tensor")


def _unreadable(path: Path, error: Exception) -> DataError:
    return DataError(
        f"{path}: unreadable ({readable(error)}), expected one tensor; nothing of it was run"
    )


def _is_tensor(value: Any) -> bool:
    return isinstance(value, Call) and value.name in (TENSOR, PARAMETER)


def _new(file: BinaryIO) -> Saved:
    """A file of torch 1.6 and later: a zip, its storages not packed."""
    size = os.fstat(file.fileno()).st_size
    with zipfile.ZipFile(file) as archive:
        about = {each.filename: each for each in archive.infolist()}
        name = next(name for name in about if name.endswith("data.pkl"))
        root = name.removesuffix("data.pkl")
        text = _small(archive, about[name])
        value = pickles.walk(io.BytesIO(text), len(text), ADMITTED, [])
        order = about.get(f"{root}byteorder")
        big = order is not None and _small(archive, order) == b"big"
        places = {
            inner.removeprefix(f"{root}data/"): _place(file, each, size)
            for inner, each in about.items()
            if inner.startswith(f"{root}data/")
        }
    return Saved(value, places, ">" if big else "<")


def _small(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> bytes:
    """A member of at most PICKLE bytes."""
    if member.compress_type not in PACKED:
        raise ValueError(f"{member.filename} is packed in an unknown way")
    if member.file_size > PICKLE:
        raise ValueError(f"{member.filename} is {member.file_size:,} bytes, of {PICKLE:,} at most")
    return archive.read(member)


def _place(file: BinaryIO, member: zipfile.ZipInfo, size: int) -> Place:
    """Where a member's bytes lie."""
    file.seek(member.header_offset)
    head = file.read(30)
    at = member.header_offset + 30 + int.from_bytes(head[26:28], "little")
    at += int.from_bytes(head[28:30], "little")
    packed = member.compress_type != zipfile.ZIP_STORED or member.flag_bits & 1
    if packed or head[:4] != b"PK\3\4" or at + member.file_size > size:
        raise ValueError(f"{member.filename} is packed or cut off")
    return Place(at, member.file_size)


def _old(file: BinaryIO) -> Saved:
    """A file of before torch 1.6: five pickles, then the storages, each after its length."""
    size = os.fstat(file.fileno()).st_size
    for _ in ("the magic number", "a version", "the system"):
        pickles.walk(file, size, ())
    stored: list[Stored] = []
    value = pickles.walk(file, size, ADMITTED, stored)
    types = {key: name for _, name, key in map(_storage, stored)}
    places: dict[str, Place] = {}
    for key in pickles.walk(file, size, ()):
        count = int.from_bytes(file.read(8), "little")
        place = Place(file.tell(), count * np.dtype(TYPES[types[key]]).itemsize)
        if place.at + place.size > size:
            raise ValueError("a storage is cut off")
        places[key] = place
        file.seek(place.at + place.size)
    return Saved(value, places)


def _storage(stored: Stored) -> tuple[str, str, str]:
    """Of a storage the kind, the name of its type, and its key. ValueError for what is none."""
    kind, name, key, _, _, *view = stored.key
    known = isinstance(name, Name) and name.full in TYPES and isinstance(key, str)
    if kind != "storage" or not known or any(each is not None for each in view):
        raise ValueError("a storage of an unknown kind")
    return kind, name.full, key


def _array(path: Path, file: BinaryIO, saved: Saved, tensor: Call) -> np.ndarray:
    """The numbers of a tensor. DataError where the file does not hold all of them."""
    try:
        if tensor.name == PARAMETER:
            tensor = tensor.arguments[0]
        stored, offset, shape, strides, *_ = tensor.arguments
        _, kind, key = _storage(stored)
        if len(shape) > DIMENSIONS or any(
            type(n) is not int or n < 0 for n in (offset, *shape, *strides)
        ):
            raise ValueError("its shape is none")
        place, dtype = saved.places[key], np.dtype(saved.order + TYPES[kind])
        there, count = place.size // dtype.itemsize, math.prod(shape)
        last = offset + sum((n - 1) * s for n, s in zip(shape, strides, strict=True))
        if count and max(last + 1, count) > there:
            raise ValueError(f"{list(shape)} of {there:,} numbers")
        flat = mapped(file, place.at, dtype, (there,))
        steps = [step * dtype.itemsize for step in strides]
        array = np.ndarray(shape, dtype, flat, offset * dtype.itemsize, steps if count else None)
    except Exception as error:
        raise _unreadable(path, error) from None
    return _wide(array) if kind == HALVES else array


def _wide(halves: np.ndarray) -> np.ndarray:
    """bfloat16, the upper halves of float32, as float32."""
    wide: np.ndarray = (halves.astype(np.uint32) << 16).view(np.float32)
    return wide
