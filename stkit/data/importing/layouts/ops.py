"""OPS: float differences in [0,1] units, [N,H,W,3], not zero in one pixel of each image.

A stated epsilon admits more pixels (the authors' --sparsity).
"""

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from stkit.core.errors import DataError
from stkit.data.importing.values import Layout, Options, Reading

if TYPE_CHECKING:
    import numpy as np

    from stkit.data.images import Images


def read(values: "np.ndarray", clean: "Images", options: Options) -> Reading:
    """Noise by class or by index, rounded and added."""
    import numpy as np

    from stkit.data.importing import loaders, noise

    noise.framed(values, clean, "f", last=True)
    where = noise.place(len(values), clean, options)
    noise.checked(values, options, cap=1.0)
    if options.epsilon is None and (most := noise.most_pixels(values)) > 1:
        raise DataError(
            f"the noise changes up to {most} pixels of an image, expected 1 of OPS; pass "
            "--epsilon 1 if so many are meant, or --format sp with --labels FILE"
        )
    rounding = options.rounding or "floor"  # of differences that float32 images may have made
    content = noise.described(values.dtype, values.shape, where.scope)
    reading = noise.placed(
        noise.nhwc(values, rounding, np.float32, loaders.ops), where, clean, content
    )
    return replace(reading, rounding=rounding)


def matches(content: Any, options: Options) -> bool:
    """Colours last, and no image has more than one pixel that is not zero."""
    from stkit.data.importing import fitting, noise

    if content.ndim != 4 or content.shape[3] != 3 or content.dtype.kind != "f":
        return False
    fitting.extremes(content, "the array")
    return noise.most_pixels(content) <= 1


LAYOUT = Layout(
    "ops", 50, "npy", "OPS noise, a .npy of one pixel an image", "", read,
    options=("epsilon", "scope", "rounding"), matches=matches,
)  # fmt: skip
