"""Noisy images of one's own, an array: uint8, or float in [0,1] or in grey levels.

[N,3,H,W] or [N,H,W,3], one an image, or an image of a part whose positions are given.
"""

from dataclasses import replace
from typing import TYPE_CHECKING

from stkit.data.importing.values import Layout, Options, Reading, never

if TYPE_CHECKING:
    from stkit.data.images import Images
    from stkit.data.importing.own import Content


def read(content: "Content", clean: "Images", options: Options) -> Reading:
    """The images, once they are seen to be nearest to their own clean ones."""
    import torch

    from stkit.data import perturbation
    from stkit.data.importing import fitting, images, own

    array, rounding = own.only(content, clean, options, "images"), own.rounding_of(options)
    rows = torch.from_numpy(array.rows(clean))
    taken = torch.empty(array.values.shape, dtype=torch.uint8)

    def work(some: slice) -> None:
        taken[some] = own.pixels(array, some, rounding)

    perturbation.each(work, len(taken), taken[0].numel())
    words, rate, pixels = array.said, None, taken
    if array.at is None:
        pixels = taken[rows]
    else:
        fitting.aligned(taken, clean.pixels[rows])
        words += f", for {len(rows)} of {len(clean)} images"
        rate = len(rows) / len(clean)
        pixels = clean.pixels.clone()
        pixels[rows] = taken
    reading = images.compared(pixels, clean, options, words)
    floats = array.values.dtype.kind == "f"
    return replace(reading, rounding=rounding if floats else None, rate=rate)


LAYOUT = Layout(
    "images", 36, "npy", "noisy images of one's own, an array", "", read,
    options=("epsilon", "rounding", "index"), matches=never, also=("npz", "torch"),
)  # fmt: skip
