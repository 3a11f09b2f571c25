"""PIL: poisoned images `data`, float [0,1] or uint8 [N,3,H,W], and `labels`."""

from typing import TYPE_CHECKING, Any

from stkit.core.errors import DataError
from stkit.data.importing.values import Layout, Options, Reading

if TYPE_CHECKING:
    import numpy as np

    from stkit.data.images import Images


def read(content: "dict[str, np.ndarray]", clean: "Images", options: Options) -> Reading:
    """The images, once they are seen to be nearest to their own clean ones."""
    from stkit.data.importing import images

    if not isinstance(content, dict):
        raise DataError("found one tensor, expected a dict of data and labels; pass --format em")
    if "labels" not in content:
        raise DataError("found a dict with data but no labels, expected both")
    return images.labelled(content["data"], content["labels"], clean, options)


def matches(content: Any, options: Options) -> bool:
    """A dict of tensors."""
    return isinstance(content, dict)


LAYOUT = Layout(
    "pil", 20, "torch", "PIL's images, a .pt dict", "PIL's images (.pt)", read,
    options=("epsilon", "rounding"), matches=matches,
)  # fmt: skip
