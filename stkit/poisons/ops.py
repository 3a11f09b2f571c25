"""OPS, one-pixel shortcut (Wu et al. 2023): one pixel of a class, in all its images, in one colour.

For every class, pixel and corner colour xi of the RGB cube the score is mean / standard deviation
of |xi - x|, pooled over images and channels (`code`, what the authors' code computes), or the
paper's Eq. 2, mean / variance of the sum over channels (`paper`). The best pair that no earlier
class has taken wins.

The authors loop over pixels and colours; here each class is read once. Sums of x and of products of
channels, in exact integers, give every score in closed form. Differences: scores are compared
exactly, ties go to the first in scan order (row by row, then colour 4R+2G+B), 0/0 counts as 0 and
x/0 as infinity (theirs: NaN, and any of the ties); any number of classes and images that are not
square (theirs: 10, and a row length taken from the height); `pixels=n` picks n different pixels
(theirs: the n best pairs, of which two may be one pixel, so that fewer change).
"""

import math
from fractions import Fraction
from threading import Lock

import numpy as np
import torch
from torch import Tensor

from stkit.data import perturbation
from stkit.data.images import Images
from stkit.poisons.interface import Made
from stkit.poisons.photographs import Axis, Sample
from stkit.recipes.poisons import OPS, resolve

COLOURS = np.array([[v >> 2 & 1, v >> 1 & 1, v & 1] for v in range(8)])  # v = 4R + 2G + B
SQUARES, CROSS = [(0, 0), (1, 1), (2, 2)], [(0, 1), (0, 2), (1, 2)]  # pairs of channels
CLOSE = 1e-12  # float64 scores are off by some 1e-16; nearer ones than this are compared exactly


def make(images: Images, recipe: OPS, *, poisoned: Tensor, seed: int) -> Made:
    """See `interface`; there is nothing random in it."""
    height, width = images.pixels.shape[-2:]
    recipe = resolve(recipe, (height, width), len(images.classes))
    picks = search(images.pixels, images.labels, len(images.classes), recipe)
    labels, chosen = images.labels.numpy(), poisoned.numpy()[:, None, None]
    colours = (COLOURS[picks % 8] * 255).astype(np.uint8).swapaxes(1, 2)  # [K,3,pixels]
    pixels = images.pixels.numpy().copy()
    flat = pixels.reshape(*pixels.shape[:2], -1)
    before = np.empty((len(labels), 3, recipe.pixels), np.uint8)
    after = np.empty_like(before)

    def work(rows: slice) -> None:
        where = (picks // 8)[labels[rows], None]
        before[rows] = np.take_along_axis(flat[rows], where, 2)
        after[rows] = np.where(chosen[rows], colours[labels[rows]], before[rows])
        np.put_along_axis(flat[rows], where, after[rows], 2)

    perturbation.each(work, len(labels), before[0].size)
    # Nothing else changed, so that these pixels alone give the statistics.
    changed = torch.from_numpy(before), torch.from_numpy(after)
    return Made(torch.from_numpy(pixels), perturbation.statistics(*changed, int(poisoned.sum())))


def on_photograph(pixels: np.ndarray, axes: tuple[Axis, Axis], sample: Sample) -> None:
    """All that a trainer's resize makes a changed pixel of in its colour: what comes out is it."""
    for row, column in zip(*np.nonzero((sample.noisy != sample.clean).any(0)), strict=True):
        block = axes[0].block(row), axes[1].block(column)
        pixels[block] = sample.noisy[:, row, column]


def search(images: Tensor, labels: Tensor, classes: int, recipe: OPS) -> np.ndarray:
    """The picked pairs, int64 [K,pixels], best first: 8 * (row * W + column) + colour code.

    images: uint8 [N,3,H,W]; labels: int64 [N]. A class without images gets zeros. Exact up to two
    million images a class.
    """
    height, width = images.shape[-2:]
    flat = images.flatten(2).numpy()
    picks = np.zeros((classes, recipe.pixels), np.int64)
    taken = np.zeros(height * width * 8, bool)
    ends = np.bincount(labels.numpy(), minlength=classes).cumsum()
    members = np.split(np.argsort(labels.numpy(), kind="stable"), ends[:-1])
    for label, rows in enumerate(members):
        if len(rows):
            above, below = scores(flat, rows, recipe.objective)
            above[taken], below[taken] = 0, 1  # the authors score these 0
            picks[label] = best(above, below, recipe.pixels)
            taken[picks[label]] = True
    return picks


def scores(flat: np.ndarray, rows: np.ndarray, objective: str) -> tuple[np.ndarray, np.ndarray]:
    """Fractions int64 [H*W*8], numerator and denominator, that rank the pairs as the score does.

    With a = |xi - x| in grey levels, T and Q the sums of a and of a^2 over n images and channels:
    `code`'s score is T / sqrt(3n Q - T^2), which grows with T^2 / Q. `paper`'s is, up to a factor
    of the class, T / (n * sum of s^2 - T^2), s being an image's sum of a over channels.
    """
    n, sign = len(rows), 1 - 2 * COLOURS.T  # a = x where xi is 0, 255 - x where it is 1
    pairs = SQUARES if objective == "code" else SQUARES + CROSS
    sums, products = moments(flat, rows, pairs)
    total = sums.T @ sign + 255 * n * COLOURS.sum(1)
    if objective == "code":
        square = products.sum(0)[:, None] + (255 * 255 * n - 510 * sums).T @ COLOURS.T
        return (total * total).ravel(), square.ravel()
    spread = np.zeros_like(total)
    for (i, j), product in zip(pairs, products, strict=True):
        covariance = n * product - sums[i] * sums[j]
        spread += (1 if i == j else 2) * covariance[:, None] * (sign[i] * sign[j])
    return total.ravel(), spread.ravel()


def moments(
    flat: np.ndarray, rows: np.ndarray, pairs: list[tuple[int, int]]
) -> tuple[np.ndarray, np.ndarray]:
    """Over the images `rows` of uint8 [N,3,H*W]: the sum of each channel, int64 [3,H*W], and the
    sum of the product of each pair of channels, int64 [pairs,H*W]."""
    sums = np.zeros(flat.shape[1:], np.int64)
    products = np.zeros((len(pairs), flat.shape[2]), np.int64)
    lock = Lock()

    def work(piece: slice) -> None:
        x = flat[rows[piece]].astype(np.int32)  # `perturbation.ROWS` keeps its sums below 2^31
        first = x.sum(0, dtype=np.int32)
        second = [(x[:, i] * x[:, j]).sum(0, dtype=np.int32) for i, j in pairs]
        with lock:
            np.add(sums, first, out=sums)
            np.add(products, second, out=products)

    perturbation.each(work, len(rows), flat[0].size)
    return sums, products


def best(above: np.ndarray, below: np.ndarray, count: int) -> list[int]:
    """The `count` best pairs of different pixels, best first, for scores above / below >= 0."""
    score = np.divide(above, below, out=np.where(above > 0, np.inf, 0.0), where=below > 0)
    last = np.partition(score.reshape(-1, 8).max(1), -count)[-count]
    near = np.flatnonzero(score >= last * (1 - CLOSE)).tolist()
    exact = {
        pair: Fraction(a, b) if b else math.inf if a else 0
        for pair, a, b in zip(near, above[near].tolist(), below[near].tolist(), strict=True)
    }
    chosen: dict[int, int] = {}  # pixel -> pair; sorting is stable, so ties stay in scan order
    for pair in sorted(exact, key=exact.__getitem__, reverse=True):
        chosen.setdefault(pair // 8, pair)
    return list(chosen.values())[:count]
