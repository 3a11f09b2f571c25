"""Large sets of images a block of rows at a time."""

from collections.abc import Callable, Iterator

from torch import Tensor

BLOCK = 1 << 22  # pixel values worked on at a time: 16 MiB as floats

Step = Callable[[Tensor, slice], Tensor]
"""What a preparation does to a block: uint8 [n,3,H,W] and which rows these are -> the same."""


def row_count(pixels: Tensor, block: int = BLOCK) -> int:
    """The number of images that have about so many pixel values together."""
    return max(1, block // pixels[0].numel())


def slices(count: int, rows: int) -> Iterator[slice]:
    """Slices of so many consecutive rows each that cover `count`; the last may be shorter."""
    return (slice(start, min(start + rows, count)) for start in range(0, count, rows))
