"""Photographs written again as lossless PNG, each at its own size, under the same names.

One at a time as far as memory goes: a folder of photographs of 24 million pixels is no larger here
than two of them. What is seen is kept: orientation, transparency, the colour profile. What is not
(EXIF: place, camera, time) is dropped unless it is asked for, and its small preview always: that
would be a picture without noise.
"""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image
from PIL.ExifTags import IFD, Base
from PIL.ImageFile import ImageFile

from stkit.core import atomic
from stkit.core.errors import DataError
from stkit.data.exporting.values import Progress
from stkit.data.loans import Memory
from stkit.data.pictures import array, decoded, upright

MIB = 1 << 20
DECODING, WORK = Memory(1024 * MIB), Memory(1024 * MIB)
"""What all threads together may take: to decode, and for decoded photographs until they lie on the
disk. Both hold any that `load` reads at a training size."""
TAKEN = 20  # bytes a pixel, from decoding to the end; measured, and rounded up
COMPRESSION = 1  # noise is not compressed; the highest takes three times as long to save a tenth


@dataclass(frozen=True)
class Photograph:
    """A photograph turned upright: pixels uint8 [H,W,3]; where the file has them, alpha uint8
    [H,W], and an ICC profile for RGB; EXIF where it was asked for."""

    pixels: np.ndarray
    alpha: np.ndarray | None = None
    profile: bytes | None = None
    exif: bytes | None = None


@dataclass(frozen=True)
class About:
    """What is known of a photograph before it is decoded: its pixels; how its colours are stored,
    where that is not what is written."""

    area: int
    stored: str | None


def survey(paths: Sequence[Path]) -> list[About]:
    """Each photograph's size and colours. DataError where one is animated, or cannot be read."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(_about, paths))


def _about(path: Path) -> About:
    about, frames = decoded(path, 1, _glance, memory=DECODING)
    if frames > 1:
        raise DataError(
            f"{path}: found {frames} frames, expected one picture; save one of them in its place, "
            "or remove it"
        )
    return about


def _glance(image: ImageFile) -> tuple[About, int]:
    """What an opened image is, and its frames; a camera's JPEG may have a preview behind it."""
    frames = 1 if image.format in ("JPEG", "MPO") else getattr(image, "n_frames", 1)
    raw = str(image.tile[0][3]) if image.tile else ""
    deep = image.mode.startswith(("I", "F")) or "16" in raw or "32" in raw
    stored = "16-bit" if deep else "CMYK" if image.mode in ("CMYK", "YCCK") else None
    return About(image.width * image.height, stored), frames


def read(path: Path, *, metadata: bool = False) -> Photograph:
    """A photograph as it is seen; metadata: with its EXIF. Errors as `pictures.read_picture`."""
    return decoded(path, None, partial(_photograph, metadata=metadata), memory=DECODING)


def _photograph(opened: ImageFile, *, metadata: bool) -> Photograph:
    profile, exif = opened.info.get("icc_profile"), _exif(opened) if metadata else None
    image = upright(opened)
    alpha = None
    if image.getbands()[-1] in ("A", "a"):
        image = image.convert("RGBA")
        alpha = np.asarray(image.getchannel("A"))
    coloured = isinstance(profile, bytes) and profile[16:20] == b"RGB "
    pixels = array(image if image.mode == "RGB" else image.convert("RGB"))
    return Photograph(pixels, alpha, profile if coloured else None, exif)


def _exif(image: ImageFile) -> bytes | None:
    """The image's EXIF but for its orientation, which is applied, and what may be a preview: the
    thumbnail, and the note of the camera's maker."""
    if not image.getexif():
        return None
    kept = Image.Exif()
    kept.load(image.getexif().tobytes())  # a copy, without the thumbnail
    for tags, dropped in ((kept, Base.Orientation), (kept.get_ifd(IFD.Exif), Base.MakerNote)):
        if dropped in tags:
            del tags[dropped]
    return kept.tobytes()


def write(photograph: Photograph, path: Path) -> None:
    """A PNG file of it."""
    pixels = photograph.pixels
    if photograph.alpha is not None:
        pixels = np.dstack([pixels, photograph.alpha])
    Image.fromarray(pixels).save(
        path, "PNG", compress_level=COMPRESSION, icc_profile=photograph.profile,
        exif=photograph.exif or b"",
    )  # fmt: skip


def rewrite(
    paths: Sequence[Path],
    names: Sequence[str],
    out: Path,
    change: Callable[[int, np.ndarray], None],
    *,
    areas: Sequence[int],
    metadata: bool = False,
    progress: Progress = lambda done, total: None,
) -> None:
    """Every photograph once more, by a new name, in a new folder that appears whole or not at all.

    change: is given the row of a path and that photograph's pixels uint8 [H,W,3], which it changes
    in place; by several threads at a time. areas: pixels of each. Errors: as `read`, and
    ArtifactError where `out` is there or cannot be written.
    """
    with atomic.whole_folder(out) as root:
        places = [root / name for name in names]
        for folder in sorted({place.parent for place in places}):
            folder.mkdir(parents=True, exist_ok=True)
        one = partial(_rewrite, change=change, metadata=metadata)
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            for done, _ in enumerate(pool.map(one, range(len(names)), paths, places, areas), 1):
                progress(done, len(names))


def _rewrite(
    row: int,
    path: Path,
    place: Path,
    area: int,
    *,
    change: Callable[[int, np.ndarray], None],
    metadata: bool,
) -> None:
    with WORK.lent(TAKEN * area):
        photograph = read(path, metadata=metadata)
        if not photograph.pixels.flags.writeable:
            photograph = replace(photograph, pixels=photograph.pixels.copy())
        change(row, photograph.pixels)
        write(photograph, place)
