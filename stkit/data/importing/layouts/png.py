"""APBench, TAP, AR, ISS: a poisoned image for each index, in files <index>.png."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stkit.core.errors import DataError
from stkit.data.importing.values import Layout, Options, Reading

if TYPE_CHECKING:
    from stkit.data.images import Images

NAME = re.compile(r"(?:data/)?([0-9]{1,18})\.png", re.IGNORECASE)


def read(content: dict[str, Path], clean: "Images", options: Options) -> Reading:
    """The images, once they are seen to be nearest to their own clean ones."""
    from stkit.data.importing import fitting, images, noisy_files

    files = _indexed(content)
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
    pixels = noisy_files.read([files[each] for each in index], clean)
    return images.compared(pixels, clean, options, f"{len(files)} files")


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


def matches(content: Any, options: Options) -> bool:
    """There are such files at all."""
    return bool(_indexed(content))


LAYOUT = Layout("png", 70, "folder", "a folder of <index>.png", "", read, matches=matches)
