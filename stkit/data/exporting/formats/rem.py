"""REM's `.pkl`: one int8 array [N,3,H,W] of grey levels, a pickle that NumPy 1 reads too."""

from typing import TYPE_CHECKING, BinaryIO

from stkit.core.errors import DataError
from stkit.data.exporting.values import Exported, Format, Progress

if TYPE_CHECKING:
    from stkit.data.images import Images


def write(images: "Images", clean: "Images | None", file: BinaryIO, progress: Progress) -> Exported:
    """Sample-wise noise. DataError where it exceeds what int8 holds."""
    import pickle

    import numpy as np
    import torch

    from stkit.data.exporting import noise

    images, plain = noise.paired(images, clean)
    values = np.empty(plain.shape, np.int8)
    low = high = 0
    for rows in noise.slices(plain):
        levels = images.pixels[rows].short() - plain[rows]
        low, high = min(low, int(levels.min())), max(high, int(levels.max()))
        values[rows] = levels.to(torch.int8).numpy()
    if low < -128 or high > 127:
        raise DataError(
            f"the differences run from {low} to {high} grey levels, REM's int8 holds -128 to 127; "
            "pass --format em, npz or png"
        )
    protocol = 3 if values.nbytes < 1 << 32 else 4  # 3 holds no more
    text = pickle.dumps(values, protocol=protocol)
    file.write(text.replace(b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n", 1))
    return Exported(len(images), "sample")


FORMAT = Format("rem", 30, "REM's .pkl", write, noise=True)
