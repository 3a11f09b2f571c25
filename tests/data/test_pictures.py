"""Image files of unknown origin: what decodes them, what they may take, and how they fail.

The files that would take all memory or minutes are made here, in a few kilobytes each.
"""

import io
import os
import random
import struct
import threading
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image, ImageOps

from stkit.core.errors import ArtifactError, DataError, StkitError
from stkit.data.loans import Memory
from stkit.data.pictures import KNOWN, hush, read_image, read_picture, resize

RNG = np.random.default_rng(0)


def noise(width: int = 12, height: int = 9, bands: int = 3) -> Image.Image:
    return Image.fromarray(RNG.integers(0, 256, (height, width, bands), dtype=np.uint8))


def saved(image: Image.Image, form: str, **how) -> bytes:
    file = io.BytesIO()
    image.save(file, form, **how)
    return file.getvalue()


# What decodes a file


@pytest.mark.parametrize("ending", ["png", "eps", "jpg"])
def test_no_image_starts_ghostscript(ending, tmp_path, monkeypatch):
    (tmp_path / "gs").write_text(f"#!/bin/sh\ntouch {tmp_path}/started\n")
    (tmp_path / "gs").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    path = tmp_path / f"1.{ending}"
    path.write_bytes(saved(noise(), "EPS"))
    with pytest.raises(DataError, match=r"unreadable image .it is no JPEG, PNG, .*; repair or"):
        read_image(path)
    assert not (tmp_path / "started").exists()


def test_the_first_bytes_decide_and_not_the_name(tmp_path):
    image = noise()
    (tmp_path / "1.png").write_bytes(saved(image, "BMP"))
    assert (read_image(tmp_path / "1.png") == np.asarray(image)).all()
    for form in ("ICO", "TGA", "PCX", "PDF"):
        (tmp_path / "2.png").write_bytes(saved(image, form))
        with pytest.raises(DataError, match="unreadable image"):
            read_image(tmp_path / "2.png")


def test_only_regular_files_are_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "loop.png").symlink_to("loop.png")
    (tmp_path / "zero.png").symlink_to("/dev/zero")
    for name, message in (("pipe", "a pipe"), ("loop", "cannot be read"), ("zero", "a device"),
                          ("gone", "no such file")):  # fmt: skip
        with pytest.raises(ArtifactError, match=rf"{name}.png: .*{message}.*; repair or remove it"):
            read_image(tmp_path / f"{name}.png")


# The same pixels as Pillow's


@pytest.mark.parametrize("mode", ["RGB", "L", "1", "P", "LA", "RGBA", "CMYK", "F", "I;16"])
@pytest.mark.parametrize("size", [None, 5])
def test_pixels_are_pillows(mode, size, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    image = noise(1500, 900) if mode == "RGB" else noise()  # in one band, and in several
    path = tmp_path / "1.tiff"
    image.convert(mode).save(path, exif=exif)
    with open(path, "rb") as file, Image.open(file) as opened:  # by path, some are turned wrongly
        upright = ImageOps.exif_transpose(opened)
        if mode == "I;16":
            upright = Image.fromarray((np.asarray(upright) >> 8).astype(np.uint8))
        upright = upright.convert("RGB")
        wanted = np.asarray(resize(upright, size) if size else upright)
    assert (read_image(path, size) == wanted).all()


def test_transparency_that_is_dropped_is_told(tmp_path):
    clear = noise(bands=4)
    opaque = clear.copy()
    opaque.putalpha(255)
    palette = noise().convert("P")
    cases = [
        (clear, {}, True), (clear.convert("LA"), {}, True), (opaque, {}, False),
        (noise(), {}, False),
        (palette, {"transparency": int(np.asarray(palette)[0, 0])}, True),
        (palette, {"transparency": b"\xff" * 255}, False),
    ]  # fmt: skip
    for image, how, transparent in cases:
        image.save(tmp_path / "1.png", **how)
        assert read_picture(tmp_path / "1.png").transparent is transparent, (image.mode, how)


# Files that would take too much


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(width: int, height: int, more: bytes = b"") -> bytes:
    """A grey one-bit PNG, its pixels missing."""
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + more + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


def scans(side: int, count: int) -> bytes:
    """A progressive JPEG whose last scan comes so often."""
    data = saved(Image.new("L", (side, side), 128), "JPEG", progressive=True)
    first, last = data.rfind(b"\xff\xda"), data.rfind(b"\xff\xd9")
    return data[:last] + count * data[first:last] + data[last:]


def run_lengths(width: int, height: int, body: bytes) -> bytes:
    """A BMP in run lengths, which Pillow decodes in Python."""
    head = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 8, 1, len(body), 0, 0, 256, 0)
    return b"BM" + struct.pack("<IHHI", 1078 + len(body), 0, 0, 1078) + head + bytes(1024) + body


def tiles(count: int) -> bytes:
    """An uncompressed TIFF, 512 pixels wide and high, in so many tiles of one pixel."""
    tags = [(256, 512), (257, 512), (258, 8), (259, 1), (262, 1), (277, 1), (322, 1), (323, 1)]
    ifd = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    end = 8 + 2 + 12 * (len(tags) + 1) + 4
    ifd += struct.pack("<HHII", 324, 3, count, end)
    return (
        b"II*\0\x08\0\0\0" + struct.pack("<H", len(tags) + 1) + ifd + bytes(4) + 2 * count * b"\x08"
    )


WEBP = saved(Image.new("RGB", (8, 8)), "WEBP", lossless=True, method=0)
BOMBS = {
    "a billion wide": (lambda: png(10**9, 1), "exceeds limit"),
    "a row of 90 million": (lambda: png(80_000_000, 1), "80000000x1 pixels, expected 65,535"),
    "a square": (lambda: png(9000, 9000), r"9000x9000 pixels, which take \d+ MiB to decode"),
    "texts": (
        lambda: png(4, 4, 70 * chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(1 << 20), 9))),
        "Too much memory used in text",
    ),
    "one text": (
        lambda: png(4, 4, chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(8 << 20), 9))),
        "Decompressed data too large",
    ),
    "34 bytes": (lambda: WEBP[:21] + b"\xff\xff\xff\x1f" + WEBP[25:], "pixels"),
    "scans": (lambda: scans(500, 9000), "scans of 500x500 pixels, more than a photo has"),
    "ends of lines": (lambda: run_lengths(6000, 6000, b"\1\0\0\0" * 999), "in run lengths"),
    "one long line": (lambda: run_lengths(9 << 20, 1, b"\0\2\xff\xff"), "pixels, expected 65,535"),
    "tiles": (lambda: tiles(70_000), "70,000 tiles, more than such an image needs"),
}  # fmt: skip


@pytest.mark.parametrize("name", BOMBS)
def test_a_small_file_that_would_take_too_much(name, tmp_path):
    make, message = BOMBS[name]
    path = tmp_path / "1.png"
    path.write_bytes(make())
    assert path.stat().st_size < 1 << 20
    with pytest.raises(DataError, match=message) as caught:
        read_image(path)
    assert str(caught.value).startswith(f"{path}: ") and "\n" not in str(caught.value)


def test_a_line_of_pixels_is_not_made_a_wall(tmp_path):
    noise(1, 60_000).save(tmp_path / "1.png")
    assert read_image(tmp_path / "1.png").shape == (60_000, 1, 3)
    assert read_image(tmp_path / "1.png", 4).shape == (4, 4, 3)
    with pytest.raises(DataError, match=r"1.png: found 1x60000 .* 224x13,440,000 .* short side of"):
        read_image(tmp_path / "1.png", 224)


def test_a_file_of_too_many_bytes(tmp_path):
    with open(tmp_path / "1.png", "wb") as file:
        file.truncate(300 << 20)
    with pytest.raises(DataError, match="found 314,572,800 bytes, expected 268,435,456 at most"):
        read_image(tmp_path / "1.png")


def test_all_threads_together_stay_within_the_memory(tmp_path):
    """Each of eight images needs more than half of it: they wait for one another, and all end."""
    image = noise(400, 300)
    image.save(tmp_path / "1.png")
    memory, most, lock = Memory(2_000_000), [0], threading.Lock()
    exchange = memory.exchange

    def watched(loan, amount):
        done = exchange(loan, amount)
        with lock:
            most[0] = max(most[0], memory.total - memory.free)
        return done

    memory.exchange = watched
    with ThreadPoolExecutor(8) as pool:
        for pixels in pool.map(
            lambda _: read_image(tmp_path / "1.png", memory=memory), range(8), timeout=30
        ):
            assert (pixels == np.asarray(image)).all()
    assert 1_000_000 < most[0] <= memory.total == memory.free
    with pytest.raises(DataError, match="which take 0 MiB to decode, expected 0 at most"):
        read_image(tmp_path / "1.png", memory=Memory(500_000))


# Damaged files


def samples() -> dict[str, bytes]:
    """A small file of every kind that is read, with what may come in it."""
    exif = Image.Exif()
    exif[0x0112] = 6
    image, again = noise(), noise().convert("P")
    made = {
        "jpeg": saved(image, "JPEG", exif=exif), "many": saved(image, "JPEG", progressive=True),
        "mpo": saved(image, "MPO", save_all=True, append_images=[image]),
        "png": saved(image, "PNG", exif=exif, icc_profile=bytes(99)),
        "palette": saved(image.convert("P"), "PNG", transparency=b"\0\x80"),
        "webp": saved(noise(bands=4), "WEBP", exif=exif, lossless=True, method=0),
        "gif": saved(image.convert("P"), "GIF", save_all=True, append_images=[again]),
        "bmp": saved(image, "BMP"),
        "runs": run_lengths(9, 4, b"\3\1\0\0\0\2\1\1\5\2\0\5abcde\0\0\0\0\1"),
        "tiff": saved(image, "TIFF"), "lzw": saved(image, "TIFF", compression="tiff_lzw"),
        "deep": saved(Image.fromarray(np.zeros((4, 5), np.uint16)), "TIFF"),
        "ppm": saved(image, "PPM"), "plain": b"P3\n2 2 255\n" + b"1 2 3 " * 4,
        "float": b"Pf\n3 2\n-1.0\n" + bytes(24),
    }  # fmt: skip
    return made | ({"avif": saved(image, "AVIF", speed=10)} if "AVIF" in KNOWN else {})


def damaged(data: bytes, draw: random.Random) -> bytes:
    """The file with a byte, a number or its end changed, or something in it twice."""
    start = draw.randrange(min(len(data), draw.choice([64, len(data)])))
    number = draw.choice(
        [bytes(4), b"\xff" * 4, b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f", b"\0\1\0\0"]
    )
    return [
        data[:start] + bytes([draw.randrange(256)]) + data[start + 1 :],
        data[:start] + number + data[start + 4 :],
        data[:start], data[:start] + 2 * data[start:],
    ][draw.randrange(4)]  # fmt: skip


@pytest.mark.parametrize("name", samples())
@pytest.mark.filterwarnings("ignore::UserWarning:PIL", "ignore::Warning")
def test_a_damaged_image_is_read_or_named_in_one_line(name, tmp_path):
    hush()
    data, path = samples()[name], tmp_path / "1.png"
    path.write_bytes(data)
    assert read_image(path).dtype == np.uint8
    for number in range(60):
        path.write_bytes(damaged(data, random.Random(f"{name} {number}")))
        try:
            assert read_image(path, 8).shape == (8, 8, 3)
        except StkitError as error:
            assert str(error).startswith(f"{path}: ") and "\n" not in str(error)  # noqa: PT017
