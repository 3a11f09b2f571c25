"""class/name.png for every image, under the source's names; see `trees.file_names`."""

from pathlib import Path
from typing import TYPE_CHECKING

from stkit.data.exporting.values import Exported, Format, Progress

if TYPE_CHECKING:
    from stkit.data.images import Images


def write(images: "Images", clean: "Images | None", root: Path, progress: Progress) -> Exported:
    """A tree of class folders."""
    from stkit.data.exporting import trees

    return trees.write(images, root, trees.file_names(images), progress)


FORMAT = Format("folder", 10, "lossless PNG", write, tree=True, names="the source's tree and names")
