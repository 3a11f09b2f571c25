"""Noisy PNG files that are named as the clean images are, in the same class folders.

The names are those of `stkit export --format folder`: the clean folder's, with .png for another
ending; for sources without file names CLASS/POSITION.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from stkit.core.errors import DataError
from stkit.data.importing.values import Layout, Options, Reading, never

if TYPE_CHECKING:
    from stkit.data.images import Images


def read(content: dict[str, Path], clean: "Images", options: Options) -> Reading:
    """The images, once they are seen to be nearest to their own clean ones."""
    from stkit.data.exporting.trees import file_names
    from stkit.data.importing import images, noisy_files

    split = f"{clean.header['split']}/"  # of a folder that holds the splits
    if any(name.startswith(split) for name in content) and split[:-1] not in clean.classes:
        content = {
            name.removeprefix(split): path
            for name, path in content.items()
            if name.startswith(split)
        }
    names = file_names(clean)
    missing = [name for name in names if name not in content]
    if missing:
        raise DataError(
            f"{len(missing)} of {len(names)} images are missing ({noisy_files.few(missing)}); "
            "expected a .png with the name of each clean image: get the folder whole"
        )
    extra = sorted(content.keys() - set(names))
    if extra and not _is_limited(clean):
        raise DataError(
            f"{len(extra)} images have no clean one of their name ({noisy_files.few(extra)}); "
            "pass the clean folder that they were made from, or take them out"
        )
    pixels = noisy_files.read([content[name] for name in names], clean)
    return images.compared(pixels, clean, options, f"{len(names)} files, by their names")


def _is_limited(clean: "Images") -> bool:
    """Whether more images than these were in the source, which may have noisy ones too."""
    from stkit.core import lineage

    return lineage.of(clean.header).limited


LAYOUT = Layout(
    "named", 75, "folder", "a folder of .png files named as the clean ones",
    ".png files, named by index or as the clean ones are (a folder)", read, matches=never,
)  # fmt: skip
