"""The header of a stkit file: its one metadata key, read without torch.

A safetensors file begins with 8 bytes (length) and a JSON object; stkit puts one compact, sorted
JSON text under `__metadata__.stkit`, so that equal runs write equal bytes.
"""

import hashlib
import json
import math
import os
from pathlib import Path
from typing import Any

from stkit import __version__
from stkit.core import files, schema
from stkit.core.errors import ArtifactError
from stkit.core.kinds import KINDS, check, today

Header = dict[str, Any]
"""JSON on disk: the common part (`make`) and what belongs to the kind of file."""
FORMAT = 1
COMMON = ("kind", "recipe", "seed", "digest", "inputs")
THREADS = "recipe.threads"
"""What `differences` calls those of a CPU; older files have none, and those made on a GPU."""
METADATA = "__metadata__"
TENSOR = {"dtype": str, "shape": [schema.COUNT], "data_offsets": [schema.COUNT, 2]}
"""What a safetensors header says of a tensor."""


def make(
    kind: str, recipe: dict[str, Any], *, seed: int, inputs: list[Header], **more: Any
) -> Header:
    """A header's common part and `more`; the digest and the versions come when it is written.

    inputs: the headers of the parents, of which kind, recipe, seed, digest and inputs are kept, of
    images which split they are, and of a checkpoint which epoch, where that is not the last.
    """
    kept = [
        {key: parent[key] for key in COMMON}
        | {k: v for k, v in parent.items() if k in ("split", "kept")}
        for parent in inputs
    ]
    return {
        "format": FORMAT, "kind": kind, "recipe": recipe, "seed": seed, "digest": "",
        "inputs": kept, "versions": {"stkit": __version__}, **more,
    }  # fmt: skip


def dumps(value: Any) -> str:
    """Sorted, compact JSON; numbers that JSON cannot hold become the strings nan, inf, -inf.

    Numbers and arrays of NumPy and torch are written as Python's.
    """
    return json.dumps(
        _plain(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )


def _plain(value: Any) -> Any:
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value


def differences(before: Header, now: Header) -> list[str]:
    """The settings in which two headers differ, one readable item each.

    Threads that are not recorded `before` are not known, so they are no difference.
    """
    a, b = (
        flat(json.loads(dumps({k: h[k] for k in ("recipe", "seed", "inputs")})))
        for h in (before, now)
    )
    return [
        f"{key} was {a.get(key, 'absent')}, now {b.get(key, 'absent')}"
        for key in sorted(a.keys() | b.keys())
        if a.get(key) != b.get(key) and (key in a or key != THREADS)
    ]


def same(before: Header, now: Header) -> None:
    """ArtifactError unless unfinished work was made `before` with the settings of `now`."""
    other = differences(before, now)
    if other:
        raise ArtifactError(
            f"the unfinished work was made with other settings: {'; '.join(other)}; "
            "pass the same ones, or --force to start again"
        )


def numbers(value: Any) -> Any:
    """A JSON value in which nan, inf and -inf, which `dumps` writes as text, are numbers again.

    For measurements, not for names.
    """
    if isinstance(value, dict):
        return {k: numbers(v) for k, v in value.items()}
    if isinstance(value, list):
        return [numbers(v) for v in value]
    return float(value) if value in ("nan", "inf", "-inf") else value


def flat(value: Any, name: str = "") -> dict[str, Any]:
    """The leaves of nested dicts and lists, each by its path: {"a": [5]} gives {"a.0": 5}."""
    if isinstance(value, dict):
        items = value.items()
    elif isinstance(value, list):
        items = enumerate(value)  # type: ignore[assignment]
    else:
        return {name: value}
    return {k: v for key, item in items for k, v in flat(item, f"{name}.{key}".strip(".")).items()}


def is_stkit(path: Path) -> bool:
    """Whether the path is to be read as a stkit file rather than as a folder or a name."""
    return path.suffix == ".safetensors" or (path.exists() and not path.is_dir())


def layout(path: Path) -> tuple[Header, int]:
    """The whole safetensors header and the offset of the tensors' bytes, checked for length."""
    with files.open_regular(path) as file:
        try:
            size = os.fstat(file.fileno()).st_size
            length = int.from_bytes(file.read(8), "little")
            if size < 8 or length > size - 8:
                raise ArtifactError(_foreign(path, "it is truncated or not a safetensors file"))
            if length > files.HEADER:
                raise ArtifactError(_foreign(path, f"its header has {length:,} bytes"))
            head = files.parse_json(file.read(length))
        except OSError as error:
            raise ArtifactError(f"{path}: cannot be read ({error.strerror})") from None
        except ValueError:
            raise ArtifactError(_foreign(path, "its header is not readable")) from None
    try:
        schema.check(head, dict)
        tensors = {name: about for name, about in head.items() if name != METADATA}
        schema.check(tensors, {str: TENSOR})
    except ArtifactError:
        raise ArtifactError(_foreign(path, "its header is not readable")) from None
    ends = [about["data_offsets"][1] for about in tensors.values()]
    if 8 + length + max(ends, default=0) != size:
        raise ArtifactError(_foreign(path, "it is truncated"))
    return head, 8 + length


def read(path: Path, *kinds: str) -> Header:
    """The stkit header of a file; ArtifactError unless it is whole and of one of `kinds` (or any).

    A few hundred bytes are read, and the size is checked, so a truncated file is found here. All
    that readers rely on is checked here, once, see `core.kinds`.
    """
    head, _ = layout(path)
    try:
        meta: Header = files.parse_json(head.get(METADATA, {})["stkit"])
        kind, version = meta["kind"], meta["format"]
    except (KeyError, TypeError, ValueError):
        raise ArtifactError(_foreign(path, "it was not written by stkit")) from None
    if version != FORMAT:
        raise ArtifactError(
            f"{path}: found file format {version}, expected {FORMAT}; use the stkit that wrote it"
        )
    if not isinstance(kind, str) or kind not in KINDS:
        raise ArtifactError(_foreign(path, f"its kind is {kind!r:.40}"))
    if kinds and kind not in kinds:
        raise ArtifactError(
            f"{path}: found a {kind} file, expected a {' or '.join(kinds)} file; {_remedy(kinds)}"
        )
    try:
        check(meta)
        if meta.get("seal") != seal(meta):
            raise ArtifactError(
                "damaged, its header is not the one that was written; make it again"
            )
    except ArtifactError as error:
        raise ArtifactError(f"{path}: {error}") from None
    return dict(today(meta))


def seal(head: Header) -> str:
    """What stands in a header for all the rest of it, so that one flipped bit is seen."""
    text = dumps({key: value for key, value in head.items() if key != "seal"})
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()


def _foreign(path: Path, reason: str) -> str:
    return f"{path}: {reason}; expected a file made by stkit data, poison, train, acm or eval"


def _remedy(kinds: tuple[str, ...]) -> str:
    return {
        "dataset": "pass what `stkit data` or `stkit poison` wrote",
        "checkpoint": "pass what `stkit train` wrote",
    }.get(kinds[0], "pass another file")
