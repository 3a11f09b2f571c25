"""A data set as a folder of lossless PNG files."""

import os
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath

from PIL import Image

from stkit.core.errors import DataError
from stkit.data.exporting.values import Exported, Progress
from stkit.data.images import Images


def file_names(images: Images) -> list[str]:
    """A relative path with a .png ending for each image, all different.

    Sources without file names get their position in the source's order. Another image type's
    ending becomes .png, or is kept before it where two files of a class would then collide.
    DataError for names that lead out of the folder, which only a forged file has.
    """
    if images.names is None:
        wide = len(str(int(images.index.max())))
        names = [
            f"{images.classes[label]}/{index:0{wide}}.png"
            for label, index in zip(images.labels.tolist(), images.index.tolist(), strict=True)
        ]
    else:
        names = _as_png(images.names)
    for name in names:
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
            raise DataError(f"the file name {name!r} leads out of the folder; make the file again")
    return names


def _as_png(names: tuple[str, ...]) -> list[str]:
    """The names with a .png ending: those that have one first, the others as is free."""
    new = {name: name for name in names if name.lower().endswith(".png")}
    taken = set(new)
    stems = [str(PurePosixPath(name).with_suffix("")) for name in names]
    count = Counter(stems)
    for name, stem in sorted(zip(names, stems, strict=True)):
        if name not in new:
            free = f"{stem}.png" if count[stem] == 1 else f"{name}.png"
            while free in taken:
                free += ".png"
            new[name] = free
            taken.add(free)
    return [new[name] for name in names]


def write(images: Images, root: Path, names: list[str], progress: Progress) -> Exported:
    """Every image under its name in `root`, by all cores."""
    pixels = images.pixels.permute(0, 2, 3, 1)

    for folder in sorted({(root / name).parent for name in names}):
        folder.mkdir(parents=True, exist_ok=True)

    def save(row: int) -> None:
        Image.fromarray(pixels[row].contiguous().numpy()).save(root / names[row])

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for done, _ in enumerate(pool.map(save, range(len(images))), 1):
            progress(done, len(images))
    return Exported(len(images))
