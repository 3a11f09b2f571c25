"""Writing and reading stkit's safetensors files: whole or not at all, equal bytes for equal runs.

Files are written here rather than by the safetensors package so that the digest is taken while the
bytes pass and put into the header afterwards: nobody hashes a large file again. Reading is the
package's.
"""

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from stkit.core import atomic, header
from stkit.core.errors import ArtifactError
from stkit.core.header import Header

DTYPES = {
    torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16",
    torch.int64: "I64", torch.int32: "I32", torch.int16: "I16", torch.int8: "I8",
    torch.uint8: "U8", torch.bool: "BOOL",
}  # fmt: skip
BLANK = "0" * 64
PIECE = 1 << 24  # bytes hashed and written at a time


def free(path: Path, *, force: bool = False) -> None:
    """Make sure that `path` may be written: ArtifactError if it exists and not `force`."""
    if path.is_dir():
        raise ArtifactError(f"{path}: found a folder, expected a file name; pass -o FILE")
    if path.exists() and not force:
        raise ArtifactError(f"{path}: exists already; pass --force to replace it or another -o")
    home = next(folder for folder in path.absolute().parents if folder.exists())
    if not home.is_dir() or not os.access(home, os.W_OK):
        raise ArtifactError(f"{path}: {home} is no folder that can be written to; pass another -o")


def unclaimed(unfinished: Path, *, resume: bool, force: bool) -> None:
    """Make sure that unfinished work is not lost: it is gone on with, or thrown away on purpose."""
    if unfinished.exists() and not resume and not force:
        raise ArtifactError(
            f"{unfinished}: unfinished work is there; pass --resume to go on with it, "
            "or --force to throw it away"
        )


def write(path: Path, tensors: dict[str, Tensor], head: Header) -> Header:
    """Write a file, whole or not at all; returns the header with its digest and torch's version.

    Tensors may be of any shape, on any device; every type in `DTYPES`. ArtifactError when the disk
    is full or the folder cannot be written; what was at `path` stays as it was.
    """
    order = sorted(tensors, key=lambda name: (-tensors[name].element_size(), name))
    head = {**head, "digest": BLANK, "versions": {**head["versions"], "torch": torch.__version__}}
    entries: dict[str, dict[str, Any]] = {"__metadata__": {"stkit": header.dumps(head)}}
    end = 0
    for name in order:
        start, end = end, end + tensors[name].numel() * tensors[name].element_size()
        entries[name] = _entry(tensors[name]) | {"data_offsets": [start, end]}
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    sha = hashlib.sha256()
    with atomic.whole_file(path) as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for piece in _pieces(tensors, order):
            sha.update(piece)
            if not isinstance(piece, bytes):
                file.write(piece)
        file.seek(8 + text.index(BLANK.encode()))
        file.write(sha.hexdigest().encode())
    return {**head, "digest": sha.hexdigest()}


def digest(tensors: dict[str, Tensor]) -> str:
    """The digest that `write` would record for these tensors: names, types, shapes and bytes."""
    sha = hashlib.sha256()
    order = sorted(tensors, key=lambda name: (-tensors[name].element_size(), name))
    for piece in _pieces(tensors, order):
        sha.update(piece)
    return sha.hexdigest()


def _entry(tensor: Tensor) -> dict[str, Any]:
    return {"dtype": DTYPES[tensor.dtype], "shape": list(tensor.shape)}


def _pieces(tensors: dict[str, Tensor], order: list[str]) -> Iterator[bytes | memoryview]:
    """For each tensor its description (bytes, hashed only), then its memory, piece by piece."""
    for name in order:
        yield json.dumps([name, _entry(tensors[name])], sort_keys=True).encode()
        flat = tensors[name].detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
        for start in range(0, len(flat), PIECE):
            yield flat[start : start + PIECE].data


def read(path: Path, *kinds: str) -> tuple[Header, dict[str, Tensor]]:
    """A file's stkit header and its tensors (memory-mapped); ArtifactError unless whole."""
    head = header.read(path, *kinds)
    try:
        with safe_open(path, "pt") as file:
            return head, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise ArtifactError(f"{path}: damaged ({error}); make it again") from None
