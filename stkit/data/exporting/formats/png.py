"""<index>.png for every image, as APBench, TAP and others have them."""

from pathlib import Path
from typing import TYPE_CHECKING

from stkit.core.errors import DataError
from stkit.data.exporting.values import Exported, Format, Progress

if TYPE_CHECKING:
    from stkit.data.images import Images


def write(images: "Images", clean: "Images | None", root: Path, progress: Progress) -> Exported:
    """A flat folder."""
    from stkit.data.exporting import trees

    places = images.index.tolist()
    if len(set(places)) < len(places):
        raise DataError("two images have one index, so their files would collide; pass npz")
    return trees.write(images, root, [f"{place}.png" for place in places], progress)


FORMAT = Format("png", 40, "lossless PNG", write, tree=True, names="<index>.png")
