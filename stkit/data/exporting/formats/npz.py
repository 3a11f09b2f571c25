"""`data` uint8 [N,H,W,3] and `targets` int64 [N]."""

from typing import TYPE_CHECKING, BinaryIO

from stkit.data.exporting.values import Exported, Format, Progress

if TYPE_CHECKING:
    from stkit.data.images import Images


def write(images: "Images", clean: "Images | None", file: BinaryIO, progress: Progress) -> Exported:
    """One NumPy archive."""
    import numpy as np

    order = images.index.argsort(stable=True)
    data = images.pixels[order].permute(0, 2, 3, 1).contiguous().numpy()
    np.savez(file, data=data, targets=images.labels[order].numpy())
    return Exported(len(images))


FORMAT = Format("npz", 50, ".npz", write)
