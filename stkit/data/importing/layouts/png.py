"""APBench, TAP, AR, ISS: a poisoned image for each index, in files <index>.png."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from stkit.core.errors import DataError
from stkit.data.importing.values import Layout, Options, Reading

if TYPE_CHECKING:
    from stkit.data.images import Images


def read(content: dict[int, Path], clean: "Images", options: Options) -> Reading:
    """The images, once they are seen to be nearest to their own clean ones."""
    import numpy as np
    import torch

    from stkit.data.importing import fitting, images
    from stkit.data.pictures import read_image

    index = clean.index.tolist()
    missing = sorted(set(index) - content.keys())
    if missing:
        first = ", ".join(map(str, missing[:5])) + (", ..." if len(missing) > 5 else "")
        raise DataError(
            f"{len(missing)} of {len(index)} indices are missing ({first}); expected <index>.png "
            "for every image of the clean set: get the folder whole"
        )
    if len(content) > len(index) and fitting.rows(max(content) + 1, clean) is None:
        raise DataError(
            f"found {len(content)} images, the clean set has {len(index)}; pass the whole set"
        )
    data = np.empty(clean.pixels.shape, np.uint8)

    def fill(row: int) -> None:
        picture = read_image(content[index[row]])[None]
        fitting.frame(picture.shape, clean, content[index[row]].name, last=True)
        data[row] = picture[0].transpose(2, 0, 1)

    with ThreadPoolExecutor() as pool:
        for _ in pool.map(fill, range(len(index))):
            pass
    return images.compared(torch.from_numpy(data), clean, options, f"{len(content)} files")


LAYOUT = Layout(
    "png", 70, "folder", "a folder of <index>.png", "<index>.png files (a folder)", read
)
