"""NTGA: poisoned images in an order of their own, float [0,1] [M,H,W,3], and their labels.

Each belongs to the nearest clean image of its class; the result is in the clean set's order.
"""

from typing import TYPE_CHECKING, Any

from stkit.core.errors import DataError
from stkit.data.importing.values import Layout, Options, Reading

if TYPE_CHECKING:
    import numpy as np

    from stkit.data.images import Images

FAR = 0.2  # in [0,1]: with a pixel farther from it, an image was not made from a clean one


def read(values: "np.ndarray", clean: "Images", options: Options) -> Reading:
    """The images, each in the place of its nearest clean one."""
    from stkit.data.importing import fitting, foreign, images

    fitting.frame(values.shape, clean, "the array", last=True)
    if len(values) > len(clean):
        raise DataError(f"has {len(values)} images, the clean set has only {len(clean)}")
    labels = foreign.own_labels(options.labels, len(values), len(clean.classes))
    pixels = images.rounded(values.transpose(0, 3, 1, 2), options)
    rows = fitting.partners(pixels, labels, clean, options.epsilon or FAR)
    order = rows.argsort(stable=True)
    shared = len(rows) - len(set(rows.tolist()))
    note = f"{shared} images share their nearest clean image with another"
    return Reading(
        pixels[order],
        f"{values.dtype} {list(values.shape)}, each beside its nearest clean image",
        rounding=options.rounding or "floor",
        rows=rows[order],
        notes=(note,) if shared else (),
    )


def matches(content: Any, options: Options) -> bool:
    """Labels are given, and values look like images in [0,1] rather than noise."""
    from stkit.data.importing import fitting, noise

    if options.labels is None or content.ndim != 4 or content.dtype.kind != "f":
        return False
    low, high = fitting.extremes(content, "the array")
    return low >= 0 and high > 0.5 and noise.most_pixels(content) > 1


LAYOUT = Layout(
    "ntga", 60, "npy", "NTGA images, a .npy with labels", "", read,
    options=("epsilon", "rounding", "labels"), matches=matches,
)  # fmt: skip
