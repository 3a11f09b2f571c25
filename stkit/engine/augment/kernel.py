"""What an augmentation is: a value that draws for each image of a batch, and acts on the batch.

To add one, write its name into `recipes/carried.py`, where it stands in the order of application,
and a `Kernel` under that name into the `KERNELS` of a module of this folder:

    def draw(uniform: Uniform, size: int, strength: Jitter) -> Columns:
        return {"darkness": 0.5 * uniform(1)}

    def apply(images: Tensor, drawn: Drawn) -> Tensor:
        return images * (1 - drawn["dim"]["darkness"])[:, :, None, None].to(images.dtype)

    KERNELS = {"dim": Kernel({"darkness": 1}, draw, apply)}
"""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from stkit.recipes.carried import Jitter

Columns = dict[str, Tensor]
"""What was drawn for a batch under one name: column -> [N, width], float32 in the table."""
Drawn = dict[str, Columns]
"""The columns of every name that a batch carries."""
Uniform = Callable[[int], Tensor]
"""K -> uniform float32 [N,K] in [0,1) from the random stream of the augmentation's own."""


@dataclass(frozen=True)
class Kernel:
    """An augmentation.

    columns: what it draws for an image, name -> width. draw: from uniform numbers, for images of
    this side in pixels; the strength is 1 where nobody asked for another, and may be ignored.
    apply: float images [N,3,H,W] -> the same shape; may not wait for the device, nor draw. Names
    that are neighbours in the order and share one `apply` are applied by a single call of it.
    stream: the name of its random stream, where that is not its own: one that has been renamed
    draws as before.
    """

    columns: dict[str, int]
    draw: Callable[[Uniform, int, Jitter], Columns]
    apply: Callable[[Tensor, Drawn], Tensor]
    stream: str | None = None


def gate(images: Tensor, column: Tensor) -> Tensor:
    """A column [N,1] of 0 and 1 as the weight of a `torch.lerp` between batches of images.

    lerp, unlike where, is vectorised on CPUs, and at 0 and 1 it is exactly one of the two.
    """
    return column.to(images.dtype)[:, :, None, None]
