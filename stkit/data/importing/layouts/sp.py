"""SP: float noise in [0,1] units, [M,H,W,3]; by the labels that come with it the j-th noise of a
class is for the j-th image of that class. M >= N: the authors draw more than they need."""

from typing import TYPE_CHECKING, Any

from stkit.core.errors import DataError
from stkit.data.importing.values import Layout, Options, Reading

if TYPE_CHECKING:
    import numpy as np

    from stkit.data.images import Images


def read(values: "np.ndarray", clean: "Images", options: Options) -> Reading:
    """Noise by its labels, rounded and added."""
    import numpy as np

    from stkit.data.importing import foreign, loaders, noise
    from stkit.data.sampling import assign

    noise.framed(values, clean, "f", last=True)
    labels = foreign.own_labels(options.labels, len(values), len(clean.classes))
    noise.checked(values, options, norm=True)
    order = clean.index.numpy().argsort(kind="stable")
    ordered = clean.labels.numpy()[order]
    want = np.bincount(ordered, minlength=len(clean.classes))
    have = np.bincount(labels, minlength=len(clean.classes))
    if (have < want).any():
        label = int((have < want).argmax())
        raise DataError(
            f"has {have[label]} noises for class {label}, expected {want[label]}, one an image"
        )
    rows = np.empty(len(clean), np.int64)
    rows[order] = assign(ordered, labels)
    rounding = options.rounding or "floor"
    # The authors add float32 noise to float64 images: it is taken at its word.
    pixels = noise.add(noise.nhwc(values, rounding, np.float64, loaders.sp), rows, clean)
    content = noise.described(values.dtype, values.shape, "sample")
    return Reading(pixels, content, scope="sample", rounding=rounding)


def matches(content: Any, options: Options) -> bool:
    """Labels are given, and it is no other layout that has some: those are asked first."""
    return content.ndim == 4 and content.dtype.kind == "f" and options.labels is not None


LAYOUT = Layout(
    "sp", 40, "npy", "SP noise, a .npy with labels", "SP or OPS noise or NTGA images (.npy)", read,
    options=("epsilon", "rounding", "labels"), matches=matches,
)  # fmt: skip
