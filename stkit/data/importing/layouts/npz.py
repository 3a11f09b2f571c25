"""AVATAR and others: poisoned images `data`, uint8 [N,H,W,3], and their labels `targets`."""

from typing import TYPE_CHECKING, Any

from stkit.core.errors import DataError
from stkit.data.importing.values import Layout, Options, Reading

if TYPE_CHECKING:
    from stkit.data.images import Images
    from stkit.data.importing.numpy_files import Member


def read(content: "dict[str, Member]", clean: "Images", options: Options) -> Reading:
    """The images, once they are seen to be nearest to their own clean ones."""
    from stkit.data.importing import fitting, images

    if not matches(content, options):
        raise DataError("found one array, expected data and targets; pass --format noise or images")
    data, targets = content["data"], content["targets"]
    if data.dtype != "uint8":
        raise DataError(f"data is {data.dtype}, expected uint8 images")
    fitting.frame(data.shape, clean, "data", last=True)
    images.placed(data.shape, targets.shape, clean)  # before anything is unpacked
    return images.labelled(data.read().transpose(0, 3, 1, 2), targets.read(), clean, options)


def matches(content: Any, options: Options) -> bool:
    """Both are there."""
    return "targets" in content


LAYOUT = Layout(
    "npz", 80, "npz", "an .npz of data and targets", "data and targets (.npz)", read,
    matches=matches,
)  # fmt: skip
