"""Damaged inputs as recipes: a given file, what is done to its bytes, the command that reads it.

A recipe is JSON, so that a failure can be kept, sent and replayed:

    {"reader": "header", "seed": "d.safetensors", "ops": [["del", ["digest"]]],
     "line": "inspect FILE --json"}

Operations, each on the bytes that the one before has left:

    ["set", PATH, VALUE], ["del", PATH]     of stkit's header; a path is a list of keys and indices
    ["layout-set", ...], ["layout-del", ...]  of the safetensors header, and
    ["json-set", ...], ["json-del", ...]      of a JSON file
    ["seal"]                                 digest and seal made to fit again, as a forger would
    ["flip", BIT] ["cut", BYTES] ["put", AT, HEX] ["insert", AT, HEX] ["drop", AT, BYTES]
    ["again", AT, BYTES, TIMES] ["hole", BYTES]
    ["line", N, TEXT]                        a line of a text
    ["text", TEXT]                           all of it
    ["file", PATH, SEED] ["dir", PATH] ["pipe", PATH] ["socket", PATH] ["link", PATH, TARGET]
    ["device", PATH] ["closed", PATH]        beside the file, or in the place of it

A value {"raw": TEXT} stands in the JSON as it is, {"deep": N} is N lists in each other, {"digits":
N} a number of so many, {"long": N} such a text. In a line, FILE is the damaged file, GIVEN the
folder of given files, HERE the folder of the damaged one.
"""

import copy
import hashlib
import json
import os
import shlex
import shutil
import socket
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

Recipe = dict[str, Any]
Op = list[Any]
MOST = 1 << 24  # bytes that an operation makes at most


def apply(recipe: Recipe, given: Path, here: Path) -> list[str]:
    """Make the damaged file of a recipe in an empty folder; the words of its command."""
    name = recipe.get("as", recipe["seed"])
    source = given / recipe["seed"]
    data = source.read_bytes() if source.is_file() else b""
    beside = []
    for op in recipe["ops"]:
        if op[0] in BESIDE:
            beside.append(op)
        elif op[0] != "hole":
            # it may be no JSON any more, or too deep for us, or of another shape
            with suppress(ValueError, TypeError, LookupError, RecursionError, AttributeError):
                data = _done(data, op)
    file = here / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(data)
    for op in recipe["ops"]:
        if op[0] == "hole":
            os.truncate(file, len(data) + op[1])
    for origin, place in recipe.get("copies", {}).items():
        (here / place).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(given / origin, here / place)
    for op in beside:
        with suppress(OSError, ValueError):
            BESIDE[op[0]](given, here / op[1], *op[2:])
    if "words" in recipe:
        return [_placed(word, file, given, here) for word in recipe["words"]]
    return [_placed(word, file, given, here) for word in shlex.split(recipe["line"])]


def _placed(word: str, file: Path, given: Path, here: Path) -> str:
    return (
        word.replace("FILE", str(file)).replace("GIVEN", str(given)).replace("HERE", str(here))
    )  # fmt: skip


def layout(data: bytes) -> tuple[dict[str, Any], bytes]:
    """A safetensors file's header, and its tensors' bytes."""
    length = int.from_bytes(data[:8], "little")
    return json.loads(data[8 : 8 + length]), data[8 + length :]


def _done(data: bytes, op: Op) -> bytes:
    """What an operation makes of bytes."""
    kind, *args = op
    if kind in ("set", "del", "layout-set", "layout-del"):
        head, rest = layout(data)
        if kind.startswith("layout"):
            text = dumps(_changed(head, kind[7:], *args))
        else:
            meta = json.loads(head["__metadata__"]["stkit"])
            head["__metadata__"]["stkit"] = dumps(_changed(meta, kind, *args))
            text = dumps(head)
        raw = text.encode(errors="surrogatepass")
        raw += b" " * (-len(raw) % 8)
        return len(raw).to_bytes(8, "little") + raw + rest
    if kind == "seal":
        return _sealed(data)
    if kind.startswith("json-"):
        return dumps(_changed(json.loads(data), kind[5:], *args)).encode(errors="surrogatepass")
    if kind == "text":
        return str(_plain(args[0])).encode(errors="surrogatepass")
    if kind == "line":
        lines = data.split(b"\n")
        lines[args[0] % len(lines)] = str(args[1]).encode(errors="surrogatepass")
        return b"\n".join(lines)
    return _bytes(bytearray(data), kind, *args)


SIZES = {"F64": 8, "I64": 8, "F32": 4, "I32": 4, "F16": 2, "BF16": 2, "I16": 2}


def _sealed(data: bytes) -> bytes:
    """A file whose digest and seal fit what is in it."""
    from stkit.core import header

    head, rest = layout(data)
    meta = json.loads(head["__metadata__"]["stkit"])
    tensors = {name: about for name, about in head.items() if name != "__metadata__"}
    sha = hashlib.sha256()
    for name in sorted(tensors, key=lambda n: (-SIZES.get(tensors[n]["dtype"], 1), n)):
        about = {key: tensors[name][key] for key in ("dtype", "shape")}
        sha.update(json.dumps([name, about], sort_keys=True).encode())
        start, end = tensors[name]["data_offsets"]
        sha.update(rest[start:end])
    if "digest" in meta:
        meta["digest"] = sha.hexdigest()
    if "seal" in meta:
        meta["seal"] = header.seal(meta)
    head["__metadata__"]["stkit"] = json.dumps(meta, separators=(",", ":"))
    raw = dumps(head).encode(errors="surrogatepass")
    return len(raw).to_bytes(8, "little") + raw + rest


def _bytes(data: bytearray, kind: str, at: int, *more: Any) -> bytes:
    size = max(1, len(data))
    match kind:
        case "flip":
            if data:
                data[at // 8 % size] ^= 1 << at % 8
        case "cut":
            del data[at % size :]
        case "put":
            new = bytes.fromhex(more[0])
            data[at % size : at % size + len(new)] = new
        case "insert":
            data[at % size : at % size] = bytes.fromhex(more[0])
        case "drop":
            del data[at % size : at % size + more[0]]
        case "again":
            some = bytes(data[at % size : at % size + more[0]])
            data[at % size : at % size] = (some * more[1])[:MOST]
        case _:
            raise ValueError(f"no operation {kind}")
    return bytes(data)


def _changed(value: Any, how: str, path: list[Any], new: Any = None) -> Any:
    """A JSON value with one place set or deleted; as it was where there is no such place."""
    if not path:
        return new if how == "set" else value
    inner, new = value, copy.deepcopy(new)
    try:
        for key in path[:-1]:
            inner = inner[key]
        if how == "set":
            inner[path[-1]] = new
        else:
            del inner[path[-1]]
    except (KeyError, IndexError, TypeError):
        pass
    return value


def dumps(value: Any) -> str:
    """JSON, in which {"raw": ...} and the like are written out."""
    raws: list[str] = []

    def marked(value: Any) -> Any:
        if isinstance(value, dict):
            if set(value) & {"raw", "deep", "digits", "long"} and len(value) == 1:
                raws.append(_raw(value))
                return f"@raw{len(raws) - 1}@"
            return {key: marked(inner) for key, inner in value.items()}
        return [marked(inner) for inner in value] if isinstance(value, list) else value

    text = json.dumps(marked(value), separators=(",", ":"))
    for number, raw in enumerate(raws):
        text = text.replace(f'"@raw{number}@"', raw)
    return text


def _raw(value: dict[str, Any]) -> str:
    ((kind, what),) = value.items()
    match kind:
        case "deep":
            return "[" * what + "]" * what
        case "digits":
            return "9" * what
        case "long":
            return '"' + "x" * what + '"'
    return str(what)


def _plain(value: Any) -> Any:
    """A text that may be given as {"deep": N} and the like."""
    return _raw(value) if isinstance(value, dict) else value


def _file(given: Path, path: Path, seed: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(given / seed, path)


def _folder(given: Path, path: Path) -> None:
    path.mkdir(parents=True)


def _pipe(given: Path, path: Path) -> None:
    _cleared(path)
    os.mkfifo(path)


def _socket(given: Path, path: Path) -> None:
    _cleared(path)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))


def _link(given: Path, path: Path, target: str) -> None:
    _cleared(path)
    path.symlink_to(target)


def _device(given: Path, path: Path) -> None:
    """A device of one's own that is like /dev/zero."""
    _cleared(path)
    os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, 5))


def _closed(given: Path, path: Path) -> None:
    path.chmod(0)


def _cleared(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with suppress(OSError):
        path.unlink()


BESIDE: dict[str, Callable[..., None]] = {
    "file": _file, "dir": _folder, "pipe": _pipe, "socket": _socket, "link": _link,
    "device": _device, "closed": _closed,
}  # fmt: skip
