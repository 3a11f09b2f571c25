"""Other people's files, opened without running anything they contain.

What a file is, its first bytes say, not its name. `.pt` goes through torch's weights_only, pickles
through `unpickle`, NumPy's files are read with allow_pickle=False.
"""

import re
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from stkit.core.errors import DataError, RecipeError, StkitError
from stkit.data.importing.unpickle import bare_array

OLD_TORCH = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # what torch.save wrote before version 1.6
NPZ = ("data", "targets")
EXPECTED = "expected .pt, .pkl, .npy, .npz or a folder of <index>.png files"


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """A DataError for whatever a damaged file makes its reader raise."""
    try:
        yield
    except (StkitError, MemoryError):
        raise
    except Exception as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise DataError(f"{path}: unreadable ({reason}); get it again") from None


def kind_of(path: Path) -> str:
    """torch, pickle, npy, npz or folder. DataError for what is not there or is none of them."""
    if path.is_dir():
        return "folder"
    with _reading(path):
        try:
            with open(path, "rb") as file:
                first = file.read(len(OLD_TORCH))
        except FileNotFoundError:
            raise DataError(f"{path}: no such file or folder; check the path") from None
        if first.startswith(b"\x93NUMPY"):
            return "npy"
        if first.startswith(b"PK"):
            with zipfile.ZipFile(path) as archive:
                names = archive.namelist()
            if any(name.endswith("data.pkl") for name in names):
                return "torch"
            if any(name.endswith(".npy") for name in names):
                return "npz"
    if first == OLD_TORCH:
        return "torch"
    if first.startswith(b"\x80") or path.suffix in (".pkl", ".pickle"):
        return "pickle"
    raise DataError(f"{path}: found an unknown kind of file, {EXPECTED}")


def content(path: Path, kind: str) -> Any:
    """The file's content: NumPy arrays, a dict of them (npz, torch's dicts), or a folder's files.

    Arrays may be memory-mapped and read-only. DataError names anything unexpected.
    """
    return {
        "torch": _torch, "pickle": bare_array, "npy": _npy, "npz": _npz, "folder": _pictures,
    }[kind](path)  # fmt: skip


def _torch(path: Path) -> Any:
    """A tensor as an array; a dict of tensors as a dict of arrays."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            mapped = zipfile.is_zipfile(path)
            saved = torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except Exception as error:
        text = " ".join(str(error).split())
        name = re.search(r"GLOBAL (\S+)", text)
        what = f"holds {name[1]}" if name else f"unreadable ({text[:100]})"
        raise DataError(f"{path}: {what}, expected one tensor; nothing of it was run") from None
    if isinstance(saved, torch.Tensor):
        return _array(path, saved)
    if isinstance(saved, dict) and isinstance(saved.get("data"), torch.Tensor):
        return {k: _array(path, v) for k, v in saved.items() if isinstance(v, torch.Tensor)}
    if isinstance(saved, dict):
        names = ", ".join(map(str, list(saved)[:3]))
        raise DataError(
            f"{path}: holds a model or another dict ({names}), expected a tensor of noise, "
            "or {'data', 'labels'}; pass the file of the noise"
        )
    raise DataError(f"{path}: holds a {type(saved).__name__}, expected one tensor")


def _array(path: Path, tensor: torch.Tensor) -> np.ndarray:
    with _reading(path):
        tensor = tensor.detach()
        return (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy()


def _npy(path: Path) -> np.ndarray:
    with _reading(path):
        array: np.ndarray = np.load(path, mmap_mode="r", allow_pickle=False)
        return array


def _npz(path: Path) -> dict[str, np.ndarray]:
    with _reading(path), np.load(path, allow_pickle=False) as archive:
        missing = [name for name in NPZ if name not in archive.files]
        if missing:
            raise DataError(
                f"{path}: has {', '.join(archive.files)} but no {' and no '.join(missing)}, "
                "expected data (uint8 images) and targets (labels)"
            )
        return {name: archive[name] for name in NPZ}


def _pictures(root: Path) -> dict[int, Path]:
    """index -> path for the files <index>.png of the folder, or of its folder data/."""
    home = root / "data" if (root / "data").is_dir() else root
    pictures: dict[int, Path] = {}
    for path in sorted(home.iterdir()):
        if path.suffix.lower() != ".png" or not re.fullmatch(r"[0-9]{1,18}", path.stem):
            continue
        if int(path.stem) in pictures:
            first = pictures[int(path.stem)].name
            raise DataError(f"{path}: the same index as {first}; remove one")
        pictures[int(path.stem)] = path
    if not pictures:
        raise DataError(
            f"{root}: found no <index>.png, expected one for each image; a folder of class "
            "folders needs no import: pass it where a SOURCE is asked for"
        )
    return pictures


def own_labels(path: Path | None, count: int, classes: int) -> np.ndarray:
    """The labels int64 [count] that come in a `.npy` file beside an array in its own order."""
    if path is None:
        raise RecipeError("this layout is in an order of its own; pass its labels, --labels FILE")
    if kind_of(path) != "npy":
        raise DataError(f"{path}: expected labels in a .npy file")
    labels = class_numbers(_npy(path), classes, str(path))
    if len(labels) != count:
        raise DataError(f"has {count} rows, but {path} has {len(labels)} labels")
    return labels


def class_numbers(labels: np.ndarray, classes: int, name: str) -> np.ndarray:
    """Labels of any number type, [N], [N,1] or one-hot [N,K], as int64 [N] from 0 to K - 1."""
    if labels.ndim == 2 and labels.shape[1] > 1:
        one_hot = ((labels != 0).sum(1) == 1).all() and labels.shape[1] == classes
        if not one_hot:
            raise DataError(f"{name}: labels are {labels.shape}, expected one of {classes} a row")
        hot: np.ndarray = labels.argmax(1)
        return hot
    flat = np.asarray(labels).reshape(-1)
    number = flat.dtype.kind in "biuf" and len(flat) and np.isfinite(flat).all()
    if not number or (np.rint(flat) != flat).any():
        raise DataError(f"{name}: labels are {labels.dtype} {labels.shape}, expected whole numbers")
    whole = flat.astype(np.int64)
    if whole.min() < 0 or whole.max() >= classes:
        raise DataError(
            f"{name}: labels run from {whole.min()} to {whole.max()}, but the clean set has "
            f"{classes} classes; pass the data set they belong to"
        )
    return whole
