"""From noise to the poisoned data set: rounding, adding, choosing the images, measuring.

The authors add noise to the image in floating point, clip, and round or truncate once. Pixels are
whole grey levels, so floor(x + v) = x + floor(v), and the same for the nearest level: rounding the
noise first and adding integers gives that result exactly, for less work.

NumPy in Python threads, not torch: each goes through its own pieces without waiting for the others.
Torch's threads meet after every operation; on two busy cores that was measured up to 30 times
slower, on two idle ones as fast.
"""

import math
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from stkit.core import arrays
from stkit.core.errors import DataError
from stkit.core.rng import stream
from stkit.data.images import Images

PIECE = 1 << 19  # pixel values worked on at a time: the temporaries stay in the cache
ROWS = 1 << 15  # most rows at a time: so many 255^2 still sum up to less than 2^31


@dataclass(frozen=True)
class Statistics:
    """The size of a perturbation: n poisoned images, norms on the [0,1] pixel scale.

    linf, l0_max (pixels): the largest over images. l2_mean: over the poisoned ones.
    """

    n: int
    linf: float
    l2_mean: float
    l0_max: int


def pieces(count: int, values: int, *, piece: int = PIECE) -> Iterator[slice]:
    """Slices of consecutive rows that cover `count` rows of `values` numbers each.

    piece: about so many numbers a slice, but always whole rows, at least one and at most `ROWS`.
    """
    rows = min(ROWS, max(1, piece // values))
    return (slice(start, min(start + rows, count)) for start in range(0, count, rows))


def each(work: Callable[[slice], None], count: int, values: int, *, piece: int = PIECE) -> None:
    """`work` on every one of `pieces`, on as many threads as torch would use.

    What is to be kept belongs in arrays made before: small objects made in between are left lying
    among the large temporaries, and then the memory of these is not used again.
    """
    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        for _ in pool.map(work, pieces(count, values, piece=piece)):
            pass


def draw(count: int, poison_rate: float, seed: int) -> Tensor:
    """The choice of poisoned images: bool [N], true for the first round(rate * N) rows of
    one permutation, so that a larger rate keeps every image of a smaller one."""
    order = torch.randperm(count, generator=stream(seed, "poisoned"))
    poisoned = torch.zeros(count, dtype=torch.bool)
    poisoned[order[: round(poison_rate * count)]] = True
    return poisoned


def grey_levels(noise: np.ndarray, rounding: str) -> np.ndarray:
    """Noise in [0,1] units as whole grey levels, int16, by `rounding` floor or nearest.

    -8/255 times 255 is a hair below -8 in floating point and would be floored to -9. So a value
    counts as the level above it when it is as near as two roundings in its type can be off in
    [0,1]: 3e-5 of a level in float32, 6e-14 in float64. Pass large noise piece by piece: it is
    worked on in float64.
    """
    scaled = noise.astype(np.float64) * 255
    if rounding == "nearest":
        np.rint(scaled, out=scaled)
    else:
        slack = np.finfo(noise.dtype).eps
        if (
            noise.dtype.newbyteorder("=") == np.float16
        ):  # stored so only, not computed: its error is its own spacing
            slack = np.finfo(np.float32).eps + 2 * float(np.spacing(np.abs(noise).max()))
        np.floor(scaled + 255 * slack, out=scaled)
    return scaled.clip(-255, 255).astype(np.int16)


def add(
    images: Tensor,
    poisoned: Tensor,
    levels: Callable[[slice], np.ndarray],
    *,
    piece: int = PIECE,
) -> Tensor:
    """The images uint8 [N,3,H,W] with noise where `poisoned` bool [N] says so, clipped to [0,255].

    levels: gives the noise of a slice of rows in grey levels, int16 [n,3,H,W]. piece: see `pieces`;
    it changes nothing but the memory in use.
    """
    clean, chosen = images.numpy(), poisoned.numpy()[:, None, None, None]
    noisy = arrays.zeros(clean.shape, np.uint8)

    def work(rows: slice) -> None:
        noise = levels(rows) * chosen[rows]
        noise += clean[rows]
        noisy[rows] = noise.clip(0, 255, out=noise)

    each(work, len(clean), clean[0].size, piece=piece)
    return torch.from_numpy(noisy)


def chosen(clean: Tensor, noisy: Tensor, poisoned: Tensor) -> Tensor:
    """Images uint8 [N,3,H,W]: the noisy ones where `poisoned` bool [N] says so, else the clean."""
    first, second, which = clean.numpy(), noisy.numpy(), poisoned.numpy()[:, None, None, None]
    mixed = arrays.zeros(first.shape, np.uint8)

    def work(rows: slice) -> None:
        mixed[rows] = np.where(which[rows], second[rows], first[rows])

    each(work, len(first), first[0].size)
    return torch.from_numpy(mixed)


def statistics(clean: Tensor, noisy: Tensor, count: int, *, piece: int = PIECE) -> Statistics:
    """The size of the perturbation, as `stkit inspect` and the header give it.

    clean, noisy: uint8 [N,3,...]; they may leave out pixels that did not change. count: the
    poisoned images, over which l2_mean is the mean; the others must be unchanged. Sums are exact:
    the same on any number of threads and for any `piece`.
    """
    first, second = clean.flatten(2).numpy(), noisy.flatten(2).numpy()
    linf, squares, l0 = (np.zeros(len(first), np.int64) for _ in range(3))

    def work(rows: slice) -> None:
        delta = np.maximum(first[rows], second[rows])
        delta -= np.minimum(first[rows], second[rows])
        linf[rows] = delta.max((1, 2))
        l0[rows] = np.count_nonzero(delta[:, 0] | delta[:, 1] | delta[:, 2], axis=1)
        wide = delta.astype(np.int32)
        wide *= wide
        squares[rows] = wide.reshape(len(wide), -1).sum(1)

    each(work, len(first), first[0].size, piece=piece)
    l2_mean = math.fsum(np.sqrt(squares)) / 255 / max(1, count)
    return Statistics(count, int(linf.max()) / 255, l2_mean, int(l0.max()))


def matching(images: Images, clean: Images) -> Tensor:
    """For each image the clean row with the same index: int64 [N].

    DataError where the two are of different sizes, or an image has no clean one.
    """
    if images.pixels.shape[1:] != clean.pixels.shape[1:]:
        raise DataError(
            f"the published images are {list(images.pixels.shape[1:])}, the clean ones "
            f"{list(clean.pixels.shape[1:])}; pass the clean set they were made from"
        )
    order = clean.index.argsort()
    place = torch.searchsorted(clean.index[order], images.index)
    rows = order[place.clamp_max(len(clean) - 1)]
    missing = int((clean.index[rows] != images.index).sum())
    if missing:
        raise DataError(
            f"{missing} of {len(images)} published images have no clean image of "
            "the same index; pass the clean set they were made from, and its split"
        )
    return rows
