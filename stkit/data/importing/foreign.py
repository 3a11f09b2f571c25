"""Other people's files, opened without running anything they contain.

What a file is, its first bytes say, not its name. Only regular files are opened, and nothing is
read or unpacked before what it says of itself has been held against its size.
"""

import os
import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from stkit.core.errors import DataError, RecipeError
from stkit.core.files import open_regular
from stkit.data.importing import numpy_files, torch_files
from stkit.data.importing.shapes import readable
from stkit.data.importing.unpickle import bare_array

OWN = rb".{8}\{[\" ]"  # safetensors: a length, then JSON
EXPECTED = "expected .pt, .pkl, .npy, .npz or a folder of .png files"


def kind_of(path: Path) -> str:
    """torch, pickle, npy, npz, folder, or stkit for a file of stkit's own. DataError for what is
    none of them, ArtifactError for what is not there or no file."""
    if os.path.isdir(path):  # where `is_dir` raises for names that are too long
        return "folder"
    with open_regular(path, "check the path of the file or folder") as file:
        first = file.read(len(torch_files.OLD))
        if first.startswith(b"\x93NUMPY"):
            return "npy"
        if first.startswith(b"PK"):
            try:
                with zipfile.ZipFile(file) as archive:
                    names = archive.namelist()
            except Exception as error:
                raise DataError(f"{path}: unreadable ({readable(error)}); get it again") from None
            if any(name.endswith("data.pkl") for name in names):
                return "torch"
            if any(name.endswith(".npy") for name in names):
                return "npz"
    if first == torch_files.OLD:
        return "torch"
    if re.match(OWN, first, re.DOTALL):
        return "stkit"
    if first.startswith(b"\x80") or path.suffix in (".pkl", ".pickle"):
        return "pickle"
    raise DataError(f"{path}: found an unknown kind of file, {EXPECTED}")


def content(path: Path, kind: str) -> Any:
    """The file's content: NumPy arrays, a dict of them (torch's dicts), of `Member`s (npz), or a
    folder's files.

    Arrays may be memory-mapped and read-only. DataError names anything unexpected.
    """
    if kind == "npz":
        return numpy_files.npz(path)
    return {
        "torch": torch_files.read, "pickle": bare_array, "npy": numpy_files.npy,
        "folder": _pictures,
    }[kind](path)  # fmt: skip


def _pictures(root: Path) -> dict[str, Path]:
    """name -> path for all .png files in a folder and the folders in it, names relative to it."""
    files_by_name: dict[str, Path] = {}

    def unread(error: OSError) -> None:
        raise DataError(f"{error.filename}: cannot be read ({error.strerror}); check the path")

    for folder, inner, files in os.walk(root, onerror=unread):
        inner.sort()
        for name in sorted(files):
            if name.lower().endswith(".png"):
                path = Path(folder, name)
                files_by_name[path.relative_to(root).as_posix()] = path
    if not files_by_name:
        raise DataError(
            f"{root}: found no .png file, expected <index>.png for each image, or the names of the "
            "clean images; pass the folder of the noisy images"
        )
    return files_by_name


def positions(path: Path) -> np.ndarray:
    """The numbers in a `.npy` file of positions, as they are."""
    if kind_of(path) != "npy":
        raise DataError(f"{path}: expected positions in a .npy file")
    return numpy_files.npy(path)


def own_labels(path: Path | None, count: int, classes: int) -> np.ndarray:
    """The labels int64 [count] that come in a `.npy` file beside an array in its own order."""
    if path is None:
        raise RecipeError("this layout is in an order of its own; pass its labels, --labels FILE")
    if kind_of(path) != "npy":
        raise DataError(f"{path}: expected labels in a .npy file")
    labels = numpy_files.npy(path)
    if labels.shape[:1] != (count,):
        given = len(labels) if labels.ndim else "no"
        raise DataError(f"has {count} rows, but {path} has {given} labels")
    return class_numbers(labels, classes, str(path))


def class_numbers(labels: np.ndarray, classes: int, name: str) -> np.ndarray:
    """Labels of any number type, [N], [N,1] or one-hot [N,K], as int64 [N] from 0 to K - 1."""
    wide = labels.shape[1] if labels.ndim == 2 else 1
    given = f"{name}: labels are {labels.dtype} {list(labels.shape)}"
    if labels.ndim not in (1, 2) or labels.dtype.kind not in "biuf":
        raise DataError(f"{given}, expected whole numbers")
    if wide > 1:
        if wide != classes or ((labels != 0).sum(1) != 1).any():
            raise DataError(f"{given}, expected one of {classes} a row")
        hot: np.ndarray = labels.argmax(1)
        return hot
    flat = labels.reshape(-1)
    if not len(flat) or not np.isfinite(flat).all() or (np.rint(flat) != flat).any():
        raise DataError(f"{given}, expected whole numbers")
    low, high = int(flat.min()), int(flat.max())
    if low < 0 or high >= classes:
        raise DataError(
            f"{name}: labels run from {low} to {high}, but the clean set has "
            f"{classes} classes; pass the data set they belong to"
        )
    return flat.astype(np.int64)
