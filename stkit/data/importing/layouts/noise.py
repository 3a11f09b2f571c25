"""Noise of one's own, an array: float in [0,1] units or in grey levels, int8 or uint8 grey levels.

[N,3,H,W] or [N,H,W,3], one an image, a class, or an image of a part whose positions are given.
"""

from dataclasses import replace
from typing import TYPE_CHECKING

from stkit.data.importing.values import Layout, Options, Reading, never

if TYPE_CHECKING:
    import numpy as np

    from stkit.data.images import Images
    from stkit.data.importing.own import Content


def read(content: "Content", clean: "Images", options: Options) -> Reading:
    """Noise by class, by index or by its positions, rounded and added."""
    import numpy as np
    import torch

    from stkit.data.importing import noise, own

    array, rounding = own.only(content, clean, options, "noise"), own.rounding_of(options)
    count, words = len(array.values), ""
    if array.at is None:
        where = noise.place(count, clean, options, order=options.order)
    else:
        rows, marked = np.zeros(len(clean), np.int64), torch.zeros(len(clean), dtype=torch.bool)
        rows[array.at], marked[torch.from_numpy(array.at)] = np.arange(count), True
        where, words = noise.Place(rows, "sample", marked), f", for {count} of {len(clean)} images"

    def levels(rows: "np.ndarray", images: "np.ndarray") -> "np.ndarray":
        return own.levels(array, rows, rounding)

    said = noise.described(array.values.dtype, array.shape, where.scope) + words
    reading = noise.placed(levels, where, clean, said)
    return replace(reading, rounding=rounding if array.values.dtype.kind == "f" else None)


LAYOUT = Layout(
    "noise", 34, "npy", "noise of one's own, an array",
    "noise or noisy images of one's own (.npy, .npz, .pt)", read,
    options=("epsilon", "scope", "rounding", "index"), matches=never, also=("npz", "torch"),
)  # fmt: skip
