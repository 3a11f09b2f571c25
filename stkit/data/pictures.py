"""Image files, opened in one place: which kinds are read, and how much memory that may take.

A file's first bytes decide what decodes it, never its name, and Pillow's other readers, one of
which starts Ghostscript, are never asked. A few bytes may declare an image that fills the memory,
or one that is decoded for minutes: its size is read first, and all threads together borrow what
they need from one `Memory`.
"""

import ctypes
import logging
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from io import BytesIO
from pathlib import Path
from typing import BinaryIO, TypeVar

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError, _imaging
from PIL.ImageFile import ImageFile

from stkit.core.errors import DataError
from stkit.core.files import open_regular
from stkit.data.loans import Memory, trim

T = TypeVar("T")


@dataclass(frozen=True)
class Format:
    """A kind of image file: its suffixes, Pillow's module for it, and what decoding it takes.

    decoding: bytes a pixel at most, besides the image itself; measured, and rounded up.
    """

    suffixes: tuple[str, ...]
    module: str
    decoding: int


FORMATS = {
    "JPEG": Format(
        (".jpg", ".jpeg", ".jpe", ".jfif"), "Jpeg", 0
    ),  # progressive: more, see `_needed`
    "PNG": Format((".png", ".apng"), "Png", 0),
    "WEBP": Format((".webp",), "WebP", 13),
    "GIF": Format((".gif",), "Gif", 2),
    "BMP": Format((".bmp", ".dib"), "Bmp", 2),
    "TIFF": Format((".tif", ".tiff"), "Tiff", 8),
    "PPM": Format((".ppm", ".pgm", ".pbm", ".pnm", ".pfm"), "Ppm", 8),
    "AVIF": Format((".avif", ".avifs"), "Avif", 13),
}


def _known() -> tuple[str, ...]:
    """The formats that this Pillow decodes; AVIF came late, and some are built without WebP."""
    known = []
    for name, about in FORMATS.items():
        try:
            module = import_module(f"PIL.{about.module}ImagePlugin")
        except ImportError:
            continue
        if name in Image.OPEN and getattr(module, "SUPPORTED", True):
            known.append(name)
    return tuple(known)


KNOWN = _known()
SUFFIXES = frozenset(suffix for name in KNOWN for suffix in FORMATS[name].suffixes)
"""Endings, in lower case, of the names that are taken for images."""
LARGEST = 256 << 20  # bytes of a file
SIDE = 65_535  # pixels; above it, decoders that work by rows take any memory
WIDE = 1 << 26  # pixels of an image whose short side has been made `size`
COPIES = 3  # of a whole file, which WebP's decoder makes
PNG, TEXTS = b"\x89PNG\r\n\x1a\n", (b"zTXt", b"iTXt", b"iCCP")
TEXT, CHUNK = 64 << 20, 1 << 20  # bytes that Pillow unpacks of a PNG's texts at most: all, and each
DEFLATE = 1032  # bytes that one unpacks to at most
SCAN = b"\xff\xda"
SCANS = 2_000_000_000  # pixels times scans of a JPEG: a progressive photo has about ten scans
TILES = 65_536  # of a TIFF that is not compressed
RUNS = 1 << 22  # pixels of a BMP of run lengths, which Pillow decodes in Python
LARGE = 32 << 20  # bytes to decode an image, from which on they are given back at once
BAND = 1 << 20  # pixels copied at a time
ONE_BYTE, TWO_BYTES = ("1", "L", "P"), ("I;16", "I;16L", "I;16B", "I;16N")  # a pixel, all others: 4
ORIENTATION = 0x0112
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM, 5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270, 7: Image.Transpose.TRANSVERSE, 8: Image.Transpose.ROTATE_90,
}  # fmt: skip


MEMORY = Memory(352 << 20)
"""What decoding may take in this process, and so what one image may."""


@dataclass(frozen=True)
class Picture:
    """An image as uint8 [H,W,3], and whether the file's had transparency, which is dropped."""

    pixels: np.ndarray
    transparent: bool


def read_image(path: Path, size: int | None = None, *, memory: Memory = MEMORY) -> np.ndarray:
    """One image file as uint8 [H,W,3]: the pixels of `read_picture`."""
    return read_picture(path, size, memory=memory).pixels


def read_picture(path: Path, size: int | None = None, *, memory: Memory = MEMORY) -> Picture:
    """One image file, turned upright, any mode made RGB; of several images in it, the first.

    size: short side to so many pixels, then the centre square. memory: what this and other threads
    may take together. ArtifactError for what is no regular file; DataError, which names the file,
    for what is no image, damaged, or too large.
    """
    return decoded(path, size, partial(_picture, size=size), memory=memory)


def decoded(path: Path, size: int | None, decode: Callable[[ImageFile], T], *, memory: Memory) -> T:
    """What `decode` makes of an opened image, once memory is free for as much as `size` asks for.

    Errors as `read_picture`.
    """
    with open_regular(path, "repair or remove it") as file:
        try:
            return _read(file, size, decode, memory)
        except DataError as error:
            raise DataError(f"{path}: {error}; make it smaller or remove it") from None
        except Exception as error:  # on damaged bytes, decoders raise of every kind
            reason = str(error) or type(error).__name__
            if isinstance(error, UnidentifiedImageError):
                reason = f"it is no {', '.join(KNOWN)}, or damaged"
            raise DataError(f"{path}: unreadable image ({reason}); repair or remove it") from None


def _read(
    file: BinaryIO, size: int | None, decode: Callable[[ImageFile], T], memory: Memory,
    amount: int = 0,
) -> T:  # fmt: skip
    """What it decodes to, once so many bytes are free, and what it turns out to need besides."""
    length = os.fstat(file.fileno()).st_size
    if length > LARGEST:
        raise DataError(f"found {length:,} bytes, expected {LARGEST:,} at most")
    texts = min(TEXT, DEFLATE * length) if file.read(len(PNG)) == PNG else 0
    file.seek(0)
    with memory.lent(amount or COPIES * length + texts) as loan:
        data = file.read(length)
        image = Image.open(BytesIO(data), formats=KNOWN)
        assert isinstance(image, ImageFile)
        pixels = _needed(image, data, size)
        if pixels > memory.total:
            width, height = image.size
            raise DataError(
                f"found {width}x{height} pixels, which take {pixels >> 20:,} MiB to decode, "
                f"expected {memory.total >> 20:,} at most"
            )
        texts = min(texts, CHUNK * sum(map(data.count, TEXTS)))
        amount = COPIES * length + texts + pixels
        if loan.change(amount):
            made = decode(image)
            del data, image
            if pixels > LARGE:
                trim()
            return made
    del data, image  # others may need what they take
    file.seek(0)
    return _read(file, size, decode, memory, amount)


def _needed(image: ImageFile, data: bytes, size: int | None) -> int:
    """Bytes that an opened image takes at most to be decoded; DataError where it takes too long."""
    (width, height), area = image.size, image.width * image.height
    coding = image.tile[0][0] if image.tile else ""
    scans = 1
    if image.format in ("JPEG", "MPO"):
        start = image.fp.tell() if image.fp else 0  # behind the first mark of a scan
        scans = data.count(SCAN, max(0, start - len(SCAN)))
    _quick(image, coding, scans)
    own = 1 if image.mode in ONE_BYTE else 2 if image.mode in TWO_BYTES else 4
    turning, decoding = own, 0
    if coding == "jpeg":
        turning = own if image.getexif().get(ORIENTATION, 1) in TURNS else 0
        if scans > 1 or "progressive" in image.info:  # then all coefficients are kept
            decoding = 2 * len(image.getbands())
    elif coding != "raw" or image.format == "AVIF":
        decoding = FORMATS[str(image.format)].decoding
    converting = (
        (0 if image.mode == "RGB" else 4)
        + (5 if "transparency" in image.info else 0)
        + (3 * own if image.mode.startswith("I") else 0)
    )
    if size is None:
        return area * (decoding + own + max(turning, converting + 3))
    across, down = wide(width, height, size)
    return area * (decoding + own + max(turning, converting)) + 4 * across * (height + down)


def _quick(image: ImageFile, coding: str, scans: int) -> None:
    """DataError unless an opened image can be decoded in seconds, and its rows are of a size."""
    (width, height), area = image.size, image.width * image.height
    if max(width, height) > SIDE:
        raise DataError(f"found {width}x{height} pixels, expected {SIDE:,} a side at most")
    boxes = [box for _, box, *_ in image.tile if box]
    covered = sum((right - left) * (low - top) for left, top, right, low in boxes)
    if len(image.tile) > TILES or covered > area * len(image.getbands()):
        raise DataError(f"found {len(image.tile):,} tiles, more than such an image needs")
    if coding == "bmp_rle" and area > RUNS:
        raise DataError(f"found {width}x{height} pixels in run lengths, expected {RUNS:,} at most")
    if scans * area > SCANS:
        raise DataError(f"found {scans:,} scans of {width}x{height} pixels, more than a photo has")


def _picture(image: Image.Image, size: int | None) -> Picture:
    """An opened image decoded."""
    image = upright(image)
    alpha = image.getbands()[-1]
    transparent = alpha in ("A", "a") and image.getchannel(alpha).getextrema() != (255, 255)
    if image.mode != "RGB":
        image = image.convert("RGB")
    return Picture(array(resize(image, size) if size else image), transparent)


def upright(image: Image.Image) -> Image.Image:
    """An opened image turned as its EXIF says, 8 bits a channel, with what transparency it has."""
    ImageOps.exif_transpose(image, in_place=True)
    if image.mode.startswith("I"):  # 16-bit grey: Pillow would clip it at 255
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    return image.convert("RGBA") if "transparency" in image.info else image


def array(image: Image.Image) -> np.ndarray:
    """An RGB image as uint8 [H,W,3]; a large one in bands, as Pillow copies what it gives twice."""
    rows = max(1, BAND // image.width)
    if image.height <= rows:
        return np.asarray(image)
    array = np.empty((image.height, image.width, 3), np.uint8)
    for top in range(0, image.height, rows):
        low = min(top + rows, image.height)
        array[top:low] = np.asarray(image.crop((0, top, image.width, low)))
    return array


def resize(image: Image.Image, size: int) -> Image.Image:
    """Short side to `size`, antialiased, then the centre square. DataError: it would be huge."""
    if image.size == (size, size):
        return image
    image = image.resize(wide(image.width, image.height, size), Image.Resampling.BILINEAR)
    left, top = (image.width - size) // 2, (image.height - size) // 2
    return image.crop((left, top, left + size, top + size))


def wide(width: int, height: int, size: int) -> tuple[int, int]:
    """The width and height once the short side is `size`."""
    scale = size / min(width, height)
    across, down = max(size, round(width * scale)), max(size, round(height * scale))
    if across * down > WIDE:
        raise DataError(
            f"found {width}x{height} pixels, which would be {across:,}x{down:,} with a short "
            f"side of {size}, expected {WIDE:,} at most"
        )
    return across, down


def hush() -> None:
    """Keep Pillow, and libtiff within it, from writing on stderr what is raised anyway.

    For the command line: it has an effect on the whole process.
    """
    logging.getLogger("PIL").setLevel(logging.CRITICAL)
    with suppress(AttributeError, OSError):  # a Pillow that is built otherwise
        libtiff = ctypes.CDLL(_imaging.__file__)
        for name in ("TIFFSetErrorHandler", "TIFFSetWarningHandler"):
            getattr(libtiff, name)(None)
