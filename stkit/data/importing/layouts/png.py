"""Poisoned images in PNG files, one an image: <index>.png, or named as the clean ones are.

By index as APBench, TAP, AR and ISS have them. Other names are those of `stkit export --format
folder`: the clean folder's, class folders and all, with .png for another ending; for sources
without file names CLASS/POSITION.
"""

import re
from pathlib import Path
from typing import TYPE_CHECKING

from stkit.core.errors import DataError
from stkit.data.importing.values import Layout, Options, Reading

if TYPE_CHECKING:
    from stkit.data.images import Images

NAME = re.compile(r"(?:data/)?([0-9]{1,18})\.png", re.IGNORECASE)


def read(content: dict[str, Path], clean: "Images", options: Options) -> Reading:
    """The images, once they are seen to be nearest to their own clean ones."""
    from stkit.data.importing import images, noisy_files

    indexed = _indexed(content)
    files = _by_index(indexed, clean) if indexed else _by_name(content, clean)
    said = f"{len(indexed)} files" if indexed else f"{len(files)} files, by their names"
    return images.compared(noisy_files.read(files, clean), clean, options, said)


def _indexed(content: dict[str, Path]) -> dict[int, Path]:
    """index -> path for the files <index>.png of the folder, or of its folder data/."""
    inner = any(name.startswith("data/") for name in content)
    files: dict[int, Path] = {}
    for name, path in content.items():
        named = NAME.fullmatch(name)
        if named is None or name.startswith("data/") is not inner:
            continue
        if int(named[1]) in files:
            first = files[int(named[1])].name
            raise DataError(f"{path}: the same index as {first}; remove one")
        files[int(named[1])] = path
    return files


def _by_index(files: dict[int, Path], clean: "Images") -> list[Path]:
    """The file of each clean image."""
    from stkit.data.importing import fitting, noisy_files

    index = clean.index.tolist()
    missing = sorted(set(index) - files.keys())
    if missing:
        raise DataError(
            f"{len(missing)} of {len(index)} indices are missing ({noisy_files.few(missing)}); "
            "expected <index>.png for every image of the clean set: get the folder whole"
        )
    if len(files) > len(index) and fitting.rows(max(files) + 1, clean) is None:
        raise DataError(
            f"found {len(files)} images, the clean set has {len(index)}; pass the whole set"
        )
    return [files[each] for each in index]


def _by_name(files: dict[str, Path], clean: "Images") -> list[Path]:
    """The file of each clean image, out of the folder of its split where there is one."""
    from stkit.core import lineage
    from stkit.data.exporting.trees import file_names
    from stkit.data.importing import noisy_files

    split = f"{clean.header['split']}/"
    if any(name.startswith(split) for name in files) and split[:-1] not in clean.classes:
        inner = {name: path for name, path in files.items() if name.startswith(split)}
        files = {name.removeprefix(split): path for name, path in inner.items()}
    names = file_names(clean)
    missing = [name for name in names if name not in files]
    if missing:
        raise DataError(
            f"{len(missing)} of {len(names)} images are missing ({noisy_files.few(missing)}); "
            "expected a .png with the name of each clean image: get the folder whole"
        )
    extra = sorted(files.keys() - set(names))
    if extra and not lineage.of(clean.header).limited:
        raise DataError(
            f"{len(extra)} images have no clean one of their name ({noisy_files.few(extra)}); "
            "pass the clean folder that they were made from, or take them out"
        )
    return [files[name] for name in names]


LAYOUT = Layout(
    "png", 70, "folder", "a folder of .png files",
    ".png files named by index or as the clean ones are (a folder)", read,
)  # fmt: skip
