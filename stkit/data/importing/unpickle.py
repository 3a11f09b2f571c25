"""One NumPy array out of a pickle, with nothing of the file ever called.

A pickle is a program: it names functions and has them called. Here each of the few names that a
bare array needs is answered by a stand-in that only keeps its arguments; every other name is
refused before anything is called. The array is built afterwards, from what was kept, by us.
"""

import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np

from stkit.core.errors import DataError

PLAIN = re.compile(r"[iuf][1248]|b1")  # types of numbers; "O" would be objects


class _Ndarray:
    """Stands for the class numpy.ndarray, which a pickled array names."""


class _Dtype:
    """Stands for a dtype: its code, and its byte order once its state is set."""

    def __init__(self, code: Any, *flags: Any) -> None:
        self.code, self.order = code, "|"

    def __setstate__(self, state: Any) -> None:
        self.order = state[1]


class _Array:
    """Stands for an array: shape, dtype, whether Fortran's order, and its bytes."""

    def __init__(self, *state: Any) -> None:
        self.state = state

    def __setstate__(self, state: Any) -> None:
        self.state = tuple(state)[-4:]  # the first of five is a version

    def built(self) -> np.ndarray:
        shape, dtype, fortran, data = self.state
        if not PLAIN.fullmatch(dtype.code) or dtype.order not in ("<", ">", "|", "="):
            raise ValueError(f"its type is {dtype.order}{dtype.code}")
        data = data.encode("latin1") if isinstance(data, str) else data
        array = np.frombuffer(data, np.dtype(dtype.order + dtype.code))
        return array.reshape(shape, order="F" if fortran else "C")


def _reconstruct(*kept: Any) -> _Array:
    return _Array()


def _frombuffer(data: Any, dtype: Any, shape: Any, order: Any) -> _Array:
    return _Array(shape, dtype, order == "F", data)


def _encode(text: Any, coding: Any) -> bytes:
    if not isinstance(text, str) or coding != "latin1":
        raise ValueError("its bytes are coded in an unknown way")
    return text.encode("latin1")


ADMITTED = {
    "numpy._core.multiarray._reconstruct": _reconstruct,  # protocols up to 4
    "numpy._core.numeric._frombuffer": _frombuffer,  # protocol 5
    "numpy.ndarray": _Ndarray,
    "numpy.dtype": _Dtype,
    "_codecs.encode": _encode,  # bytes, up to protocol 2
}
"""Names as NumPy 2 writes them; NumPy 1 has `core` for `_core`."""


class _Refused(Exception):
    pass


class _Reader(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        full = f"{module}.{name}"
        known = ADMITTED.get(full.replace("numpy.core.", "numpy._core."))
        if known is None:
            raise _Refused(full)
        return known


def bare_array(path: Path) -> np.ndarray:
    """The array, read-only, that a pickle holds: any protocol, of any NumPy.

    DataError for anything but one array of plain numbers; it names what was found.
    """
    with open(path, "rb") as file:
        try:
            held = _Reader(file, encoding="latin1").load()  # Python 2's bytes were text
        except _Refused as name:
            raise DataError(_expected(path, str(name)) + "; nothing of it was run") from None
        except Exception as error:  # a damaged pickle raises of every kind
            raise DataError(f"{path}: not a readable pickle ({error}); get it again") from None
    if not isinstance(held, _Array):
        raise DataError(_expected(path, f"a {type(held).__name__.strip('_').lower()}"))
    try:
        return held.built()
    except Exception as error:  # whatever the file put in place of shape, type and bytes
        raise DataError(f"{path}: not an array of numbers ({error}); get it again") from None


def _expected(path: Path, content: str) -> str:
    return f"{path}: the pickle holds {content}, expected one bare NumPy array and nothing else"
