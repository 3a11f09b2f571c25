"""Forged and odd files for the importers: refused in one line, at once, in little memory, not run.

The corpus is made by code: each input is one that some reader of pickles, .pt, .npy or .npz fails
on with gigabytes, for ever, by a traceback, or by running it.
"""

import copyreg
import io
import os
import pickle
import socket
import struct
import time
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from stkit import load
from stkit.core.errors import StkitError
from stkit.data.images import Images
from stkit.data.importing.load import load as load_foreign
from stkit.data.importing.values import Options

N, SIDE = 24, 16
MEMORY, SECONDS = 80 << 20, 5.0
NOISE = np.linspace(-8, 8, N * 3 * SIDE * SIDE).reshape(N, 3, SIDE, SIDE) / 255


@pytest.fixture(scope="module")
def clean(photos) -> Images:
    return load(photos)


def refused(clean: Images, path: Path, **options) -> str:
    """The one line that refuses the file, within time and memory."""
    tracemalloc.start()
    begun = time.monotonic()
    try:
        with pytest.raises(StkitError) as error:
            load_foreign(path, clean, options=Options(**options))
        assert tracemalloc.get_traced_memory()[1] < MEMORY
    finally:
        tracemalloc.stop()
    assert time.monotonic() - begun < SECONDS
    line = str(error.value)
    assert line.isprintable() and len(line) < 700, line
    return line


def saved(**how) -> bytes:
    """A .pt of noise."""
    file = io.BytesIO()
    torch.save(torch.from_numpy(NOISE).float(), file, **how)
    return file.getvalue()


def rezipped(data: bytes, change: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    """The zip with other members, by the end of their names."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(out, "w") as new:
        for name in old.namelist():
            text = next((b for end, b in change.items() if name.endswith(end)), old.read(name))
            new.writestr(name, text, method if name.endswith(tuple(change)) else 0)
    return out.getvalue()


def tensor(size: bytes, stride: bytes) -> bytes:
    """The pickle of a tensor of one number that says to have this size and these strides."""
    return (
        b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n((X\x07\0\0\0storagectorch\nFloatStorage\n"
        b"X\x01\0\0\x000X\x03\0\0\0cpuK\x01tQK\0" + size + stride + b"\x89}tR."
    )


def npy(header: str, body: bytes = b"", version: bytes = b"\1\0", length: int | None = None):
    """An .npy with this header."""
    count = len(header) if length is None else length
    form = "<H" if version == b"\1\0" else "<I"
    return b"\x93NUMPY" + version + struct.pack(form, count) + header.encode() + body


def head(descr: str, shape: str) -> str:
    return f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}}}\n"


def pickles() -> dict[str, bytes]:
    """Pickles that make other machines allocate, recurse, print or walk without end."""
    huge = struct.pack("<Q", 1 << 62)
    two = b"".join([b"N", *[b"q\0h\0\x86"] * 200])  # prints as 2**200 nothings
    deep = b")" + b"\x85" * 5_000
    dtype = b"cnumpy\ndtype\nX\x02\0\0\0i1\x85R(K\3"
    array = b"cnumpy._core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\0\x85C\1b\x87R(K\1"
    return {
        "memo index": b"\x80\2Nr\xff\xff\xff\x7f.", "memo text": b"Np99999999999999\n.",
        "bytes": b"\x80\4\x8e" + huge + b".", "bytearray": b"\x80\5\x96" + huge + b".",
        "text": b"\x80\4\x8d" + huge + b".", "frame": b"\x80\4\x95" + huge + b"N.",
        "integer": b"\x80\2\x8b\xff\xff\xff\x7f.", "digits": b"I" + b"9" * 5000 + b"\n.",
        "steps": b"\x80\2" + b")0" * 50_001 + b"N.", "no stop": b"\x80\2" + b"]" * 5_000,
        "two of two": b"\x80\2" + two + b".", "deep key": b"\x80\2}" + deep + b"Ns.",
        "name of twos": b"\x80\4" + two + two + b"\x93.",
        "order of twos": array + b"K\1\x85" + dtype + two + b"NNNK\0K\0K\0tb\x89C\1atb.",
        "shape of twos": array + two + dtype + b"X\1\0\0\0|NNNK\0K\0K\0tb\x89C\1atb.",
        "shape of digits": array + b"\x8b\0\x10\0\0" + b"\x7f" * 4096 + b"\x85" + dtype + b"tb.",
        "list in itself": b"\x80\2]q\0h\0a.", "tuple key": b"\x80\2})Ns.",
        "state of nothing": b"\x80\2N}b.", "item of nothing": b"\x80\2NNa.",
        "call of a number": b"\x80\2K\1)R.", "escapes": b"\x80\2c\x1b[31mred\n\x07bell\n.",
        "lines": b"\x80\4\x8c\3a\nb\x8c\3c\nd\x93.",
    }  # fmt: skip


def torches() -> dict[str, bytes]:
    """.pt files that say more than they hold, or hold more than tensors."""
    new, old = saved(), saved(_use_new_zipfile_serialization=False)
    many = b"((\x8a\5\0\0\0\0\x7fK\3K\x10K\x10t"
    cut = old.index(struct.pack("<q", NOISE.size))
    return {
        "strides": rezipped(new, {"data.pkl": tensor(many[1:], b"(K\0K\0K\0K\0t")}),
        "shape": rezipped(new, {"data.pkl": tensor(b"M\xff\xff\x85", b"K\1\x85")}),
        "negative": rezipped(new, {"data.pkl": tensor(b"J\xff\xff\xff\xff\x85", b"K\1\x85")}),
        "bytearray": rezipped(
            new, {"data.pkl": b"\x80\2c__builtin__\nbytearray\n\x8a\5\0\0\0\0\x7f\x85R."}
        ),
        "packed pickle": rezipped(new, {"data.pkl": b"\0" * (17 << 20)}, zipfile.ZIP_DEFLATED),
        "packed numbers": rezipped(new, {"data/0": b"\0" * (1 << 20)}, zipfile.ZIP_DEFLATED),
        "lzma": rezipped(new, {"data.pkl": b"N."}, zipfile.ZIP_LZMA),
        "few numbers": rezipped(new, {"data/0": b"\0" * 40}),
        "storage elsewhere": rezipped(new, {"data.pkl": b"\x80\2(K\1K\2tQ."}),
        "parameter of itself": rezipped(
            new, {"data.pkl": b"\x80\2ctorch._utils\n_rebuild_parameter\nN\x85R."}
        ),
        "a number": rezipped(new, {"data.pkl": b"I1\n."}),
        "old count": old[:cut] + struct.pack("<Q", 1 << 62) + old[cut + 8 :],
        "old, cut": old[: cut + 4], "old magic only": old[:30],
        "nested": rezipped(new, {"data.pkl": new}),
        "a key of 5,000 digits": rezipped(new, {"data.pkl": pickle.dumps({10**5000: 1}, 2)}),
    }  # fmt: skip


def arrays() -> dict[str, bytes]:
    """.npy files whose headers are odd."""
    good = f"({N}, {SIDE}, {SIDE}, 3)"
    return {
        "huge": npy(head("'<f4'", f"({1 << 60}, {SIDE}, {SIDE}, 3)")),
        "negative": npy(head("'<f4'", "(-1, 16, 16, 3)")),
        "truth": npy(head("'<f4'", f"(True, {SIDE}, {SIDE}, 3)"), b"\0" * 4000),
        "text in the shape": npy(head("'<f4'", "('a',)")),
        "many axes": npy(head("'<f4'", f"({'1, ' * 60})"), b"\0" * 4),
        "records": npy(head("[('a\\x1b', '<f4')]", good)), "text": npy(head("'<U9'", good)),
        "objects": npy(head("'|O'", good)), "times": npy(head("'<M8[s]'", good)),
        "arrays of arrays": npy(head("('<f4', (99999, 99999))", good)),
        "wide": npy(head("'<f4', 'x': ()", good)), "no dict": npy("os.system('x')\n"),
        "long header": npy("{", version=b"\2\0", length=0xFFFFFFFF),
        "brackets": npy("(" * 9000), "signs": npy(head("'<f4'", "(" + "-" * 9000 + "1,)")),
        "version": npy("{}", version=b"\x09\0"), "0-d": npy(head("'<f4'", "()"), b"\0" * 4),
        "no rows": npy(head("'<f4'", f"(0, {SIDE}, {SIDE}, 3)")),
        "no columns": npy(head("'<f4'", f"({N}, {SIDE}, 0, 3)")),
        "complex": npy(head("'<c8'", good), b"\0" * (N * SIDE * SIDE * 3 * 8)),
        "bool": npy(head("'|b1'", good), b"\1" * (N * SIDE * SIDE * 3)),
        "an index": npy(head("'<i8'", f"({N},)"), b"\0" * 8 * N),
    }  # fmt: skip


def archives() -> dict[str, bytes]:
    """.npz files whose members are bombs, or no arrays."""
    images = np.zeros((N, SIDE, SIDE, 3), np.uint8)

    def made(method: int = zipfile.ZIP_STORED, **members: bytes) -> bytes:
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w", method) as archive:
            for name, text in members.items():
                archive.writestr(f"{name}.npy", text)
        return out.getvalue()

    def array(values: np.ndarray) -> bytes:
        out = io.BytesIO()
        np.save(out, values)
        return out.getvalue()

    data, targets = array(images), array(np.zeros(N, int))
    million = npy(head("'|u1'", f"(1000000, {SIDE}, {SIDE}, 3)"))
    inner = made(data=data, targets=targets)
    return {
        "text": made(data=b"hello", targets=targets), "bytes": made(data=data, targets=b"\0" * 9),
        "nested": made(data=inner, targets=targets), "empty": made(data=b"", targets=b""),
        "says more": made(data=million, targets=targets),
        "holds more": made(data=data + b"\0", targets=targets),
        "bomb": made(zipfile.ZIP_DEFLATED, data=million + b"\0" * (65 << 20), targets=targets),
        "lzma": made(zipfile.ZIP_LZMA, data=data, targets=targets),
        "sum": inner.replace(images.tobytes(), b"\1" + images.tobytes()[1:]),
        "labels of pictures": made(data=data, targets=data),
        "no labels": made(data=data, more=data),
        "a label": made(data=data, targets=array(np.array(1))),
        "name": made(**{"\x1b[31m": data, "b\nc": data}),
    }  # fmt: skip


MADE = {".pkl": pickles, ".pt": torches, ".npy": arrays, ".npz": archives}


@pytest.mark.parametrize("ending", MADE)
def test_forged_files_are_refused_at_once(clean, tmp_path, ending):
    for name, data in MADE[ending]().items():
        path = tmp_path / f"{name}{ending}"
        path.write_bytes(data)
        line = refused(clean, path)
        assert str(path) in line or "cannot tell what the .npy file" in line, name


CALLS = {
    "GLOBAL": b"cos\nsystem\n(S'touch WITNESS'\ntR.",
    "STACK_GLOBAL": b"\x8c\2os\x8c\6system\x93\x8c\rtouch WITNESS\x85R.",
    "INST": b"(S'touch WITNESS'\nios\nsystem\n.",
    "OBJ": b"(cos\nsystem\nS'touch WITNESS'\no.",
    "OBJ of what is admitted": b"(cnumpy\nndarray\nS'touch WITNESS'\no.",
    "NEWOBJ": b"cos\nsystem\n(S'touch WITNESS'\nt\x81.",
    "NEWOBJ of what is admitted": b"cnumpy\ndtype\n(S'i1'\nt\x81.",
    "NEWOBJ_EX": b"\x80\4cnumpy\ndtype\n(S'i1'\nt}\x92.",
    "EXT1": b"\x82\x7b(S'touch WITNESS'\ntR.",
    "EXT2": b"\x83\x7b\0(S'touch WITNESS'\ntR.",
    "EXT4": b"\x84\x7b\0\0\0(S'touch WITNESS'\ntR.",
    "BUILD": b"cnumpy._core.multiarray\n_reconstruct\n)R}S'__setstate__'\ncos\nsystem\nsb.",
    "PERSID": b"Pid\n.",
    "BINPERSID": b"S'id'\nQ.",
    "NEXT_BUFFER": b"\x80\5\x97.",
    "READONLY_BUFFER": b"\x80\5N\x98.",
    "SET": b"\x80\4\x8f.",
}


def test_no_opcode_makes_or_calls_anything(clean, tmp_path, monkeypatch):
    """In a bare pickle, in new and old .pt, with the extension registry set against us."""
    monkeypatch.chdir(tmp_path)
    copyreg.add_extension("os", "system", 0x7B)
    new, old = saved(), saved(_use_new_zipfile_serialization=False)
    try:
        for name, text in CALLS.items():
            text = b"\x80\2" + text
            start = old.index(b"\x80\2ctorch")
            for path, data in (
                ("x.pkl", text),
                ("x.pt", rezipped(new, {"data.pkl": text})),
                ("old.pt", old[:start] + text + old[old.index(b".\x80\2]", start) + 1 :]),
            ):
                (tmp_path / path).write_bytes(data)
                assert "expected" in refused(clean, Path(path)) or name == "BUILD", (name, path)
                assert not (tmp_path / "WITNESS").exists(), (name, path)
    finally:
        copyreg.remove_extension("os", "system", 0x7B)


def test_only_regular_files_are_opened(clean, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # a socket's name is short
    os.mkfifo("pipe.pt")
    os.symlink("loop.npy", "loop.npy")
    os.symlink("/dev/zero", "zero.npz")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket.pkl")
        with open("holes.npy", "wb") as file:
            file.write(npy(head("'<f4'", f"({1 << 20}, {SIDE}, {SIDE}, 3)")))
            file.truncate(4 << 30)
        for name, words in {
            "pipe.pt": "found a pipe, expected a file", "loop.npy": "cannot be read",
            "zero.npz": "found a device", "/dev/null": "found a device",
            "socket.pkl": "cannot be read", "holes.npy": "are on disk, expected a file written",
            "x" * 300: "cannot be read", "none.pt": "no such file",
        }.items():  # fmt: skip
            assert words in refused(clean, Path(name)), name
            np.save("x.npy", np.full((N, SIDE, SIDE, 3), 0.01))
            assert words in refused(clean, Path("x.npy"), labels=Path(name)), name
    assert "labels in a .npy file" in refused(clean, Path("x.npy"), labels=tmp_path)


@pytest.mark.parametrize("kinds", [("<f2", ">f2"), ("<f4", ">f4"), ("<f8", ">f8"), ("<f8", "g")])
def test_any_floating_point_in_any_order(clean, tmp_path, kinds):
    """Big-endian, in Fortran's order, wide: the images are those of the plain array."""
    added = (NOISE * 255).round() / 255
    np.save(tmp_path / "y.npy", clean.labels[clean.index.argsort()].numpy().astype(">f4"))
    found = []
    for kind in kinds:
        noise = np.asarray(added.transpose(0, 2, 3, 1), kinds[0]).astype(kind)
        path = tmp_path / f"{kind}.npy"
        np.save(path, noise.copy(order="F" if kind == kinds[1] else "C"))
        for layout, more in (("sp", {"labels": tmp_path / "y.npy"}), ("ops", {"epsilon": 0.05})):
            read, _ = load_foreign(path, clean, layout=layout, options=Options(**more))
            found.append(read.pixels)
    assert torch.equal(found[0], found[2]) and torch.equal(found[1], found[3])
    assert not torch.equal(found[0], clean.pixels)


def test_an_array_of_a_tensor_with_strides(clean, tmp_path):
    """Views, transposed and from the middle of their storage, as torch.load has them."""
    noise = torch.from_numpy(NOISE).float()
    twice = torch.cat([noise, noise.flip(0)])[5 : 5 + N].transpose(2, 3)
    for old in (False, True):
        torch.save(twice, tmp_path / "view.pt", _use_new_zipfile_serialization=not old)
        torch.save(twice.contiguous(), tmp_path / "plain.pt")
        one, other = (load_foreign(tmp_path / name, clean)[0] for name in ("view.pt", "plain.pt"))
        assert torch.equal(one.pixels, other.pixels)
