"""The given files that recipes damage: small ones of every kind that stkit reads."""

import json
import os
import pickle
import struct
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
CANARY = "canary"  # a file of this name is what the payloads would make
GRID = """models = ["small"]
seeds = [0, 1]
rates = [0.5, 1.0]
poison-seed = 0
keep = true
poisons = ["clean", "ops"]
frames = ["nt"]
[data]
source = "digits"
test = "digits"
limit = 20
size = 8
name = "tiny"
[train]
epochs = 1
batch-size = 10
[[poison]]
name = "em-4"
method = "em"
epsilon = "4/255"
[[frame]]
name = "nt-wd"
frame = "nt"
weight-decay = 1e-3
"""


def make(folder: Path, stkit: Callable[[list[str], Path], int]) -> Path:
    """All of them. stkit: runs a command line in a folder; its exit code."""
    folder.mkdir(parents=True)
    train = "--model small --batch-size 10 --epochs 1"
    for line in (
        "data digits --size 8 --limit 20 -o d.safetensors",
        "data digits --split test --size 8 --limit 20 -o t.safetensors",
        "poison sp d.safetensors -o sp.safetensors",
        "export d.safetensors -o photos",
        "data photos -o f.safetensors",
        f"train sp.safetensors --frame nt --test t.safetensors {train} -o nt.safetensors",
        f"train d.safetensors --frame st {train} -o st.safetensors",
        "eval nt.safetensors t.safetensors -o e.safetensors",
        "acm nt.safetensors d.safetensors -o a.safetensors",
        "export sp.safetensors --format em --clean d.safetensors -o noise.pt",
        "export sp.safetensors --format rem --clean d.safetensors -o noise.pkl",
        "export sp.safetensors --format npz -o images.npz",
        "export sp.safetensors --format png -o png",
    ):
        if stkit(line.split(), folder):
            raise RuntimeError(f"stkit {line} failed")
    _arrays(folder)
    _pickles(folder)
    _torch(folder)
    _images(folder / "images")
    _results(folder / "results")
    (folder / "grid.toml").write_text(GRID)
    return folder


def _arrays(folder: Path) -> None:
    import numpy as np

    with np.load(folder / "images.npz") as saved:
        arrays = {name: saved[name] for name in saved.files}
    noise = np.random.default_rng(0).integers(-8, 9, (20, 8, 8, 3)) / 255
    np.save(folder / "noise.npy", noise.astype(np.float32))
    np.save(folder / "order.npy", np.asfortranarray(noise))
    np.save(folder / "labels.npy", arrays["targets"])
    np.savez_compressed(folder / "packed.npz", **arrays)
    with zipfile.ZipFile(folder / "huge.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        for name in ("data", "targets"):
            archive.writestr(f"{name}.npy", _npy_head((1 << 20, 64, 64, 3)) + bytes(1 << 20))
    (folder / "huge.npy").write_bytes(_npy_head((1 << 20, 64, 64, 3)))
    with zipfile.ZipFile(folder / "text.npz", "w") as archive:
        for name in ("data", "targets"):
            archive.writestr(f"{name}.npy", b"this is no array")


def _npy_head(shape: tuple[int, ...]) -> bytes:
    """The beginning of an .npy file of bytes."""
    text = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}, }}".encode()
    text += b" " * (-(len(text) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text


class _Runs:
    """What runs something when it is unpickled."""

    def __init__(self, *what: Any) -> None:
        self.what = what

    def __reduce__(self) -> Any:
        return self.what[0], self.what[1:]


def _payloads() -> dict[str, bytes]:
    """Pickles that would make a file, or take all memory, or all time."""
    import builtins

    touch = f"open({CANARY!r}, 'w').close()"
    runs = {
        "system": _Runs(os.system, f"touch {CANARY}"),
        "exec": _Runs(builtins.exec, touch),
        "eval": _Runs(builtins.eval, f"__import__('os').system('touch {CANARY}')"),
        "open": _Runs(builtins.open, CANARY, "w"),
        "getattr": _Runs(builtins.getattr, "text", "upper"),
        "import": _Runs(builtins.__import__, "antigravity"),
        "mkdir": _Runs(os.mkdir, CANARY),
        "in a list": [_Runs(os.system, f"touch {CANARY}")] * 3,
        "plain": {"a": [1, 2.0, None, "text", b"bytes", (1, 2)]},
    }
    made = {f"{name}-{p}": pickle.dumps(what, p) for name, what in runs.items() for p in (0, 2, 4)}
    made |= {
        "memo": b"\x80\x02Nr\xff\xff\xff\x7f.",
        "bytes8": b"\x80\x04\x8e" + (1 << 40).to_bytes(8, "little") + b".",
        "bytearray8": b"\x80\x05\x96" + (1 << 33).to_bytes(8, "little") + b".",
        "unicode8": b"\x80\x04\x8d" + (1 << 40).to_bytes(8, "little") + b".",
        "binstring": b"\x80\x02T\xff\xff\xff\x7f.",
        "long4": b"\x80\x02\x8b\xff\xff\xff\x7f.",
        "frame": b"\x80\x04\x95" + (1 << 60).to_bytes(8, "little") + b"N.",
        "marks": b"\x80\x02" + b"(" * 200_000 + b".",
        "lists": b"\x80\x02" + b"]" * 100_000 + b"a" * 99_999 + b".",
        "tuples": b"\x80\x02)" + b"\x85" * 100_000 + b".",
        "doubled": b"\x80\x02)" + b"2\x86" * 60 + b".",
        "int": b"I" + b"9" * 5000 + b"\n.",
        "long": b"L" + b"9" * 100_000 + b"L\n.",
        "global": b"cos\nsystem\n(S'touch canary'\ntR.",
        "inst": b"(S'touch canary'\nios\nsystem\n.",
        "obj": b"(cos\nsystem\nS'touch canary'\no.",
        "ext": b"\x80\x02\x82\x01.",
        "persistent": b"Pcanary\n.",
        "empty": b"",
        "dot": b"\x80\x04.",
    }
    return made


def _pickles(folder: Path) -> None:
    import numpy as np

    (folder / "pickles").mkdir()
    noise = (np.random.default_rng(0).integers(-8, 9, (20, 3, 8, 8)) / 255).astype(np.float32)
    for protocol in range(6):
        (folder / f"pickles/array-{protocol}.pkl").write_bytes(pickle.dumps(noise, protocol))
    for name, data in _payloads().items():
        (folder / f"pickles/{name.replace(' ', '-')}.pkl").write_bytes(data)


def _torch(folder: Path) -> None:
    import torch

    (folder / "torch").mkdir()
    noise = torch.load(folder / "noise.pt", weights_only=True)
    torch.save(noise, folder / "torch/old.pt", _use_new_zipfile_serialization=False)
    torch.save({"data": noise, "labels": torch.zeros(20)}, folder / "torch/dict.pt")
    torch.save({"w": torch.zeros(2, 2)}, folder / "torch/state.pt")
    torch.save(noise.to(torch.bfloat16), folder / "torch/half.pt")
    torch.save(noise[:1].expand(1 << 30, 3, 8, 8), folder / "torch/expanded.pt")
    torch.save(torch.nn.Linear(2, 2), folder / "torch/module.pt")
    for name, data in _payloads().items():
        with zipfile.ZipFile(folder / f"torch/{name.replace(' ', '-')}.pt", "w") as archive:
            archive.writestr("archive/data.pkl", data)
            archive.writestr("archive/version", "3\n")
            archive.writestr("archive/data/0", bytes(64))


def _images(folder: Path) -> None:
    import numpy as np
    from PIL import Image, features

    folder.mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (10, 12, 3), dtype=np.uint8)
    picture = Image.fromarray(pixels)
    for ending in ("png", "jpg", "webp", "gif", "bmp", "tif", "ppm", "tga", "ico", "pcx", "sgi"):
        picture.save(folder / f"x.{ending}")
    if features.check("avif"):
        picture.save(folder / "x.avif")
    picture.save(folder / "progressive.jpg", progressive=True)
    picture.save(folder / "packed.tif", compression="tiff_lzw")
    picture.quantize(16).save(folder / "palette.png", transparency=0)
    picture.convert("RGBA").save(folder / "alpha.png")
    picture.convert("CMYK").save(folder / "cmyk.jpg")
    Image.fromarray(pixels[..., 0].astype(np.uint16) * 256).save(folder / "deep.png")
    picture.save(folder / "moving.gif", save_all=True, append_images=[picture.rotate(90)] * 3)
    picture.save(folder / "moving.png", save_all=True, append_images=[picture.rotate(90)] * 3)
    exif = Image.Exif()
    exif[0x0112] = 6
    picture.save(folder / "turned.jpg", exif=exif)
    script = (
        f"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n({CANARY}) (w) file\n"
        "showpage\n%%EOF\n"
    )
    (folder / "script.png").write_text(script)
    (folder / "script.jpg").write_bytes(struct.pack("<I", 0xC6D3D0C5) + b"\x20" + bytes(27)
                                        + script.encode())  # fmt: skip
    _bombs(folder)


def _bombs(folder: Path) -> None:
    """Tiny files that say that they are large images."""
    import zlib

    def chunk(name: bytes, data: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(name + data))
        return struct.pack(">I", len(data)) + name + data + check

    for name, side in (("bomb", 60_000), ("wide", (1 << 31) - 1), ("large", 12_000)):
        head = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
        body = chunk(b"IDAT", zlib.compress(bytes(1 << 20), 9))
        text = chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(1 << 24), 9))
        end = chunk(b"IEND", b"")
        (folder / f"{name}.png").write_bytes(b"\x89PNG\r\n\x1a\n" + head + text + body + end)
    frame = b"," + struct.pack("<HHHH", 0, 0, 65535, 65535) + b"\0\x02\x02L\x01\0;"
    screen = b"GIF89a" + struct.pack("<HH", 65535, 65535) + b"\x80\0\0" + bytes(6)
    (folder / "bomb.gif").write_bytes(screen + frame)
    (folder / "bomb.ppm").write_bytes(b"P6 60000 60000 255\n" + bytes(100))
    (folder / "bomb.bmp").write_bytes(b"BM" + struct.pack("<IHHIIiiHHIIiiII", 100, 0, 0, 54, 40,
        60000, 60000, 1, 24, 0, 0, 0, 0, 0, 0) + bytes(46))  # fmt: skip


def _results(folder: Path) -> None:
    """Results of a grid, as tests/made_up.py makes them."""
    if str(HERE.parent) not in sys.path:
        sys.path.append(str(HERE.parent))
    from made_up import cell

    folder.mkdir()
    for number, made in enumerate((
        cell(0.9), cell(0.2, poison="sp"), cell(0.8, poison="sp", frame="st"),
        cell(0.3, poison="em-sample", rate=0.5),
    )):  # fmt: skip
        (folder / f"{number}.json").write_text(json.dumps(made))


def unfinished(folder: Path, stopped: Callable[[list[str], Path], int]) -> None:
    """Unfinished work beside them. stopped: runs a command that is interrupted soon after."""
    for words, name in (
        ("train d.safetensors --frame st --model small --batch-size 10 --epochs 2", "train"),
        ("poison em d.safetensors --model small --max-rounds 2 --model-steps 2 --steps 2 "
         "--batch-size 10", "em"),
        ("poison rem d.safetensors --model small --model-steps 3 --steps 2 --eot 1 "
         "--adversary-steps 2 --batch-size 10", "rem"),
    ):  # fmt: skip
        out = f"{name}.safetensors"
        stopped([*words.split(), "-o", out], folder)
        if not (folder / f"{out}.part").exists():
            raise RuntimeError(f"{out}.part was not left")
