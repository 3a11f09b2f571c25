"""Writing and reading stkit's safetensors files: whole or not at all, equal bytes for equal runs.

Files are written here rather than by the safetensors package so that the digest is taken while the
bytes pass and put into the header afterwards: nobody hashes a large file again. Reading is the
package's.
"""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from stkit.core import atomic, header, locks
from stkit.core.errors import ArtifactError
from stkit.core.header import Header

DTYPES = {
    torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16",
    torch.int64: "I64", torch.int32: "I32", torch.int16: "I16", torch.int8: "I8",
    torch.uint8: "U8", torch.bool: "BOOL",
}  # fmt: skip
BLANK = "0" * 64
LARGE = 1 << 30  # bytes of a file above which its tensors stay on disk, unchecked unless asked
PIECE = 1 << 24  # bytes hashed and written at a time


def write(path: Path, tensors: dict[str, Tensor], head: Header, *, replace: bool = True) -> Header:
    """Write a file, whole or not at all; returns the header with its digest and torch's version.

    Tensors may be of any shape, on any device; every type in `DTYPES`. replace: a file that is
    there. ArtifactError when the disk is full or the folder cannot be written, Taken when a file is
    there that is not to be replaced; what was at `path` stays as it was.
    """
    order = sorted(tensors, key=lambda name: (-tensors[name].element_size(), name))
    head = {**head, "versions": {**head["versions"], "torch": torch.__version__}}
    entries: dict[str, dict[str, Any]] = {}
    end = 0
    for name in order:
        start, end = end, end + tensors[name].numel() * tensors[name].element_size()
        entries[name] = _entry(tensors[name]) | {"data_offsets": [start, end]}
    sha = hashlib.sha256()
    with atomic.whole_file(path, replace=replace) as file:
        file.write(_header({**head, "digest": BLANK, "seal": BLANK}, entries))
        for piece in _pieces(tensors, order):
            sha.update(piece)
            if not isinstance(piece, bytes):
                file.write(piece)
        head["digest"] = sha.hexdigest()
        head["seal"] = header.seal(head)
        file.seek(0)
        file.write(_header(head, entries))
    return head


def _header(head: Header, entries: dict[str, dict[str, Any]]) -> bytes:
    """The beginning of a file, of a length that the digest and the seal do not change."""
    about = {header.METADATA: {"stkit": header.dumps(head)}} | entries
    text = json.dumps(about, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


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


def read(path: Path, *kinds: str, verify: bool | None = None) -> tuple[Header, dict[str, Tensor]]:
    """A file's stkit header and its tensors; ArtifactError unless whole and of one of `kinds`.

    Up to LARGE bytes are copied into memory, and what is used is what was checked against the
    digest; of a larger file the tensors are memory-mapped, and checked where `verify` asks for it.
    """
    head = header.read(path, *kinds)
    try:
        small = path.stat().st_size <= LARGE
        # a signal that arrives inside the safetensors package would end as an error of its own
        with locks.uninterrupted(), safe_open(path, "pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            if small:
                tensors = {name: tensor.clone() for name, tensor in tensors.items()}
    except (SafetensorError, OSError, ValueError) as error:
        raise ArtifactError(f"{path}: damaged ({error}); make it again") from None
    foreign = next((name for name, t in tensors.items() if t.dtype not in DTYPES), None)
    if foreign is not None:
        raise ArtifactError(f"{path}: damaged, {foreign!r} is of {tensors[foreign].dtype}")
    if verify or (small and verify is None):
        check(path, head, tensors)
    return head, tensors


def check(path: Path, head: Header, tensors: dict[str, Tensor]) -> None:
    """ArtifactError unless the tensors of a file are those of which its header has the digest."""
    if digest(tensors) != head["digest"]:
        raise ArtifactError(
            f"{path}: damaged, its tensors are not those that were written (the digest differs); "
            "make it again"
        )
