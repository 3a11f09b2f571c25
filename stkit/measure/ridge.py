"""A ridge classifier to +-1 labels: W = (B'B + 0.01 n I)^-1 B'Y, B being n rows and a column of 1.

The label that is read off a row b is the largest of b W. Where there are fewer rows than columns
the same W is had as B'(BB' + 0.01 n I)^-1 Y.

Of 8-bit pixels B'B is exact, at the speed of float32: 128 taken off, a product of two is at most
2^14, so that 1,024 of them add up to whole numbers that float32 holds, in whatever order.
"""

import math

import torch
from torch import Tensor

from stkit.data.images import to_float

WEIGHT = 0.01  # of the penalty, a row
CHUNK = 1024  # products that are added up in float32
MIDDLE = 128


def pixel_scores(fitted: Tensor, labels: Tensor, asked: Tensor, classes: int) -> Tensor:
    """b W, float64 [m,classes], of the pixels `asked`, uint8 [m,C,H,W], in [0,1].

    fitted: uint8 [n,C,H,W]. labels: int64 [n], 0 to classes - 1.
    """
    count = fitted.shape[1]
    if bool((fitted == fitted[:, :1]).all()) and bool((asked == asked[:, :1]).all()):
        fitted, asked = fitted[:, :1], asked[:, :1]  # equal columns are one, that many times as
    scale = math.sqrt(count / fitted.shape[1])  # long
    fitted, asked = fitted.flatten(1), asked.flatten(1)
    b, y = _with_ones(asked, scale), _targets(labels, classes)
    penalty = WEIGHT * len(fitted)
    if len(fitted) > fitted.shape[1]:
        weights = _solved(gram(fitted.T, scale, ones=True), penalty, _moments(fitted, y, scale))
    else:
        weights = _moments(fitted, _solved(gram(fitted, scale), penalty, y), scale)
    return b @ weights


def feature_scores(fitted: Tensor, labels: Tensor, asked: Tensor, classes: int) -> Tensor:
    """The same off floating features [m,D], each of them at mean 0 and variance 1 in `fitted`."""
    centre, width = fitted.mean(0), fitted.std(0).clamp_min(1e-6)
    b, other = (_ones_beside(((x - centre) / width).double()) for x in (fitted, asked))
    weights = _solved(b.T @ b, WEIGHT * len(b), b.T @ _targets(labels, classes))
    return other @ weights


def _targets(labels: Tensor, classes: int) -> Tensor:
    """+1 at each label, -1 elsewhere: float64 [n,classes]."""
    return 2 * torch.nn.functional.one_hot(labels, classes).double() - 1


def _with_ones(pixels: Tensor, scale: float) -> Tensor:
    """B, float64, of pixels uint8 [n,D]."""
    return _ones_beside(scale * to_float(pixels, torch.float64))


def _ones_beside(x: Tensor) -> Tensor:
    return torch.cat([x, x.new_ones(len(x), 1)], 1)


def _solved(products: Tensor, penalty: float, targets: Tensor) -> Tensor:
    """(products + penalty I)^-1 targets; of them the lower half is looked at."""
    products.diagonal().add_(penalty)
    return torch.cholesky_solve(targets, torch.linalg.cholesky(products))


def _moments(pixels: Tensor, y: Tensor, scale: float) -> Tensor:
    """B'y, float64, in blocks."""
    total = y.new_zeros(pixels.shape[1] + 1, y.shape[1])
    for rows, values in zip(pixels.split(CHUNK), y.split(CHUNK), strict=True):
        total += _with_ones(rows, scale).T @ values
    return total


def gram(pixels: Tensor, scale: float, *, ones: bool = False) -> Tensor:
    """The products of each two rows of pixels uint8 [k,L] in [0,1], float64, in the lower half.

    ones: with a row of 1 below (B'B of pixels that are turned); else each product has 1 more, which
    is a column of 1 (BB').
    """
    size, length = pixels.shape
    products = torch.zeros(size + ones, size + ones, dtype=torch.float64)
    inner = products[:size, :size]
    sums = torch.zeros(size, dtype=torch.float64)
    for chunk in pixels.split(CHUNK, 1):
        whole = (chunk.float() - MIDDLE).contiguous()
        sums += whole.sum(1)
        for top in range(0, size, CHUNK):
            inner[top:, top : top + CHUNK] += whole[top:] @ whole[top : top + CHUNK].T
    factor = scale / 255
    inner += MIDDLE * (sums[:, None] + sums) + length * MIDDLE**2
    inner *= factor**2
    if ones:
        products[size, :size] = factor * (sums + length * MIDDLE)
        products[size, size] = length
    else:
        products += 1
    return products
