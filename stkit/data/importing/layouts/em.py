"""EM, TUE, AUE: float noise in [0,1] units, [N,3,H,W], [K,3,H,W] or [P,K,3,H,W].

EM's loader drops the negative half of its noise, here it is kept unless `sign` is "positive"; it
truncates sums in float32, here noise is floored unless `rounding` is "loader". Of several noises a
class each image takes one drawn from `stream(seed, "import")` by its index.
"""

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from stkit.core.errors import DataError
from stkit.data.importing.values import LOADER, Layout, Options, Reading

if TYPE_CHECKING:
    import numpy as np

    from stkit.data.images import Images


def read(values: "np.ndarray", clean: "Images", options: Options) -> Reading:
    """Noise by class or by index, rounded and added."""
    from stkit.data import perturbation
    from stkit.data.importing import loaders, noise

    if isinstance(values, dict):
        raise DataError("found a dict of tensors, expected one tensor of noise; pass --format pil")
    shape, choices = values.shape, 0
    if values.ndim == 5:
        choices, values = len(values), values.reshape(shape[0] * shape[1], *shape[2:])
    noise.framed(values, clean, "f")
    where = noise.place(shape[1 if choices else 0], clean, options, choices=choices)
    low, _ = noise.checked(values, options)
    sign = options.sign or "both"
    rounding = options.rounding or "floor"

    def levels(rows: "np.ndarray", images: "np.ndarray") -> "np.ndarray":
        if rounding == LOADER:
            return loaders.em(values[rows], images, positive=sign == "positive")
        whole = perturbation.grey_levels(values[rows], rounding)
        return whole.clip(0, None) if sign == "positive" else whole

    content = noise.described(values.dtype, shape, where.scope)
    reading = noise.placed(levels, where, clean, content, drawn=choices > 0)
    notes = reading.notes
    if low < 0 and options.sign is None:
        notes += (
            "negative noise is kept; the EM authors' loader drops it, as --sign positive does",
        )
    return replace(reading, sign=sign, rounding=rounding, notes=notes)


def matches(content: Any, options: Options) -> bool:
    """One tensor, but for what EM's has not: colours last, whole numbers, positions beside it."""
    if isinstance(content, dict):
        return False
    last = content.ndim == 4 and content.shape[3] == 3 != content.shape[1]
    return not last and content.dtype not in ("int8", "uint8") and options.index is None


LAYOUT = Layout(
    "em", 10, "torch", "EM, TUE or AUE noise, a .pt tensor", "EM, TUE or AUE noise (.pt)", read,
    options=("epsilon", "scope", "sign", "rounding"), matches=matches,
)  # fmt: skip
