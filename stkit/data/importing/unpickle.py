"""One NumPy array out of a pickle of which nothing is called, see `pickles`.

Of the names that a file may mention only those that a bare array needs are admitted, and what was
to be called with them is looked at, not done: the array is built from its bytes, by us.
"""

import math
import os
import re
from pathlib import Path
from typing import Any

import numpy as np

from stkit.core.errors import DataError
from stkit.core.files import open_regular
from stkit.data.importing.pickles import Call, Name, RefusedError, walk
from stkit.data.importing.shapes import DIMENSIONS, readable

PLAIN = re.compile(r"[iuf][1248]|b1")  # types of numbers; "O" would be objects
RECONSTRUCT = "numpy._core.multiarray._reconstruct"  # protocols up to 4
FROMBUFFER = "numpy._core.numeric._frombuffer"  # protocol 5
DTYPE, ENCODE = "numpy.dtype", "_codecs.encode"  # encode: bytes, up to protocol 2
ADMITTED = (RECONSTRUCT, FROMBUFFER, "numpy.ndarray", DTYPE, ENCODE)


def bare_array(path: Path) -> np.ndarray:
    """The array, read-only, that a pickle holds: any protocol, of any NumPy.

    DataError for anything but one array of plain numbers; it names what was found.
    """
    with open_regular(path) as file:
        try:
            held = walk(file, os.fstat(file.fileno()).st_size, ADMITTED)
        except RefusedError as refused:
            what = readable(refused)
            raise DataError(_expected(path, what) + "; nothing of it was run") from None
        except Exception as error:  # a damaged pickle raises of every kind
            reason = readable(error)
            raise DataError(f"{path}: not a readable pickle ({reason}); get it again") from None
    if not isinstance(held, Call) or held.name not in (RECONSTRUCT, FROMBUFFER):
        raise DataError(_expected(path, f"a {_kind(held)}"))
    try:
        return _built(held)
    except Exception as error:  # whatever the file put in place of shape, type and bytes
        raise DataError(
            f"{path}: not an array of numbers ({readable(error)}); get it again"
        ) from None


def _expected(path: Path, content: str) -> str:
    return f"{path}: the pickle holds {content}, expected one bare NumPy array and nothing else"


def _kind(held: Any) -> str:
    """What a pickle holds that is no array, for people."""
    if isinstance(held, Call):
        return "dtype" if held.name == DTYPE else "bytes"
    return "type" if isinstance(held, Name) else type(held).__name__.lower()


def _built(held: Call) -> np.ndarray:
    """The array of a call of `_reconstruct` or `_frombuffer`. Errors of every kind."""
    axes = None
    if held.name == RECONSTRUCT:  # the first of five is a version
        shape, dtype, fortran, data = tuple(held.state)[-4:]
        order = "F" if fortran else "C"
    else:
        data, dtype, shape, order, *more = held.arguments
        axes = more[0] if more and order == "K" else None  # NumPy 2.4: the bytes' order of axes
    numbers = _dtype(dtype)
    if len(shape) > DIMENSIONS or any(type(n) is not int or n < 0 for n in shape):
        raise ValueError("its shape is none")
    data = _bytes(data)
    if math.prod(shape) * numbers.itemsize != len(data):
        raise ValueError(f"{list(shape)} {numbers} in {len(data):,} bytes")
    array = np.frombuffer(data, numbers).reshape(shape, order="F" if order == "F" else "C")
    array.flags.writeable = False
    return array if axes is None else array.transpose(axes)


def _dtype(held: Any) -> np.dtype:
    """The type of numbers; ValueError for what is none."""
    if not isinstance(held, Call) or held.name != DTYPE:
        raise ValueError("it has no type")
    code = held.arguments[0]
    order = "|" if held.state is None else held.state[1]
    if not isinstance(code, str) or not PLAIN.fullmatch(code) or order not in ("<", ">", "|", "="):
        raise ValueError("its type is none of plain numbers")
    return np.dtype(order + code)


def _bytes(held: Any) -> bytes | bytearray:
    """The bytes of an array, which pickles before protocol 3 hold as text."""
    if isinstance(held, Call) and held.name == ENCODE:
        text, coding = held.arguments
        if coding != "latin1" or not isinstance(text, str):
            raise ValueError("its bytes are coded in an unknown way")
        held = text
    if isinstance(held, str):
        return held.encode("latin1")
    if not isinstance(held, bytes | bytearray):
        raise ValueError("it has no bytes")
    return held
