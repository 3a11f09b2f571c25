"""AVATAR and others: poisoned images `data`, uint8 [N,H,W,3], and their labels `targets`."""

from typing import TYPE_CHECKING

from stkit.core.errors import DataError
from stkit.data.importing.values import Layout, Options, Reading

if TYPE_CHECKING:
    import numpy as np

    from stkit.data.images import Images


def read(content: "dict[str, np.ndarray]", clean: "Images", options: Options) -> Reading:
    """The images, once they are seen to be nearest to their own clean ones."""
    from stkit.data.importing import fitting, images

    data = content["data"]
    if data.dtype != "uint8":
        raise DataError(f"data is {data.dtype}, expected uint8 images")
    fitting.frame(data.shape, clean, "data", last=True)
    return images.labelled(data.transpose(0, 3, 1, 2), content["targets"], clean, options)


LAYOUT = Layout("npz", 80, "npz", "an .npz of data and targets", "data and targets (.npz)", read)
