"""Distances within and between the classes of a labelled set of features (ST paper, Eq. 3-5).

L, the minimum over all pairs of samples of two classes, is exact. Matrix products give, for 16 x 16
pairs at a time, a lower bound of the squared distance, rounding errors subtracted; only where that
lies below a distance already found are distances computed one by one, in float64. So no setting of
TF32 or autocast changes a result, small distances survive, and equal features are at distance 0.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from stkit.core.errors import DataError

BLOCK = 16  # samples of one class that are bounded together
TOLERANCE = 1e-12  # of a squared distance: gains below it are not looked for


@dataclass(frozen=True)
class Sizes:
    """What is worked on at a time; decides time and memory, no result.

    tile: samples a side of one matrix product, a multiple of BLOCK: 32 MB of float64. piece:
    numbers gathered where distances are computed one by one. large: samples beyond which float32
    is tried first on a CPU.
    """

    tile: int = 128 * BLOCK
    piece: int = 1 << 22
    large: int = 8192


@dataclass(frozen=True)
class Clusters:
    """What ACM is made of, of K classes; float64 on the CPU, in the features' own unit.

    L [K,K]: smallest distance between two classes (Eq. 4), 0 on the diagonal. sigma [K]: mean
    distance to the class centre (Eq. 3). radius [K]: the largest. counts int64 [K]: samples.
    NaN stands for a class without samples, and for everything that a NaN or inf feature reaches.
    """

    L: Tensor
    sigma: Tensor
    radius: Tensor
    counts: Tensor


DEFAULT = Sizes()


@contextmanager
def true_float32(device: torch.device) -> Iterator[None]:
    """Neither autocast nor TF32 (which PyTorch's convolutions use unless told) nor bf16 inside."""
    cudnn, cuda, mkldnn = torch.backends.cudnn, torch.backends.cuda, torch.backends.mkldnn
    kernels = (cudnn.conv, cuda.matmul, mkldnn.conv, mkldnn.matmul)  # type: ignore[attr-defined]
    before = [kernel.fp32_precision for kernel in kernels]
    try:
        for kernel in kernels:
            kernel.fp32_precision = "ieee"
        with torch.autocast(device.type, enabled=False):
            yield
    finally:
        for kernel, precision in zip(kernels, before, strict=True):
            kernel.fp32_precision = precision


@torch.no_grad()
def clusters(features: Tensor, labels: Tensor, classes: int, *, sizes: Sizes = DEFAULT) -> Clusters:
    """Distances within and between the classes of a labelled set of features (Eq. 3-5), exactly.

    features: floating [N,D] on any device. labels: int64 [N], 0 to classes - 1. Memory beside the
    features: 16 N D + (N/16)^2 * 32 bytes. DataError: they do not fit.
    """
    labels = labels.cpu()
    if features.ndim != 2 or labels.shape != features.shape[:1] or not features.numel():
        raise DataError(
            f"features are {list(features.shape)}, labels {list(labels.shape)}; "
            "expected [N,D] and [N], and at least one sample"
        )
    if labels.min() < 0 or labels.max() >= classes:
        raise DataError(
            f"labels run from {labels.min()} to {labels.max()}, expected 0 to {classes - 1}"
        )
    if features.device.type == "mps":  # which has no float64
        features = features.cpu()
    counts = labels.bincount(minlength=classes)
    order = labels.argsort(stable=True)
    points = features[order.to(features.device)].double()
    with true_float32(points.device):
        sigma, radius = _spreads(points, counts, sizes.tile)
        L = _nearest(points, counts, sizes)
    empty = counts == 0
    L, sigma, radius = L.cpu(), sigma.cpu(), radius.cpu()
    L[empty], L[:, empty], sigma[empty], radius[empty] = (float("nan"),) * 4
    return Clusters(L, sigma, radius, counts)


def _spreads(points: Tensor, counts: Tensor, tile: int) -> tuple[Tensor, Tensor]:
    """sigma and radius [K] of points [N,D] sorted by class, `counts` [K] of each."""
    lengths = counts.to(points.device)
    owner = torch.repeat_interleave(counts).to(points.device)
    centres = torch.segment_reduce(points, "mean", lengths=lengths, unsafe=True)
    pieces = zip(torch.split(points, tile), torch.split(owner, tile), strict=True)
    distances = torch.cat([(x - centres[of]).norm(dim=1) for x, of in pieces])
    sigma = torch.segment_reduce(distances, "mean", lengths=lengths, unsafe=True)
    return sigma, torch.segment_reduce(distances, "max", lengths=lengths, unsafe=True)


def _nearest(points: Tensor, counts: Tensor, sizes: Sizes) -> Tensor:
    """L [K,K] of points [N,D] sorted by class: bounds first, then distances where they matter."""
    k, device = len(counts), points.device
    index, blocks, owner = (x.to(device) for x in _blocks(counts))
    nearest = torch.full((k * k,), torch.inf, dtype=torch.float64, device=device)

    def compare(pairs: Tensor) -> None:
        at = owner[pairs[:, 0]] * k + owner[pairs[:, 1]]
        nearest.scatter_reduce_(0, at, _distances(points, index, pairs, sizes.piece), "amin")

    for dtype in _precisions(points, sizes.large):
        bounds = _bounds(points[index.flatten()], dtype, sizes.tile)
        bounds.masked_fill_(owner[:, None] >= owner, torch.inf)  # each pair of classes once
        low = bounds
        for _ in range(2):
            low = torch.segment_reduce(low.T.contiguous(), "min", lengths=blocks, unsafe=True)
        best = (bounds == low.masked_fill(low.isinf(), -1)[owner][:, owner]).nonzero()
        one = best.new_full((k * k,), -1)  # of equally good ones any will do
        one[owner[best[:, 0]] * k + owner[best[:, 1]]] = torch.arange(len(best), device=device)
        best = best[one[one >= 0]]
        compare(best)
        bounds[best[:, 0], best[:, 1]] = torch.inf
        known = nearest.view(k, k).square() * (1 - TOLERANCE)
        rest = (bounds < known[owner][:, owner]).nonzero()
        if 64 * len(rest) < bounds.numel():  # else one by one costs more than another pass
            break
    compare(rest)
    upper = torch.where(low.isnan(), low, nearest.view(k, k)).triu(1)
    return upper + upper.T


def _precisions(points: Tensor, large: int) -> tuple[torch.dtype, ...]:
    """What to bound in: on a CPU float32 is twice as fast, where it rules out enough."""
    first = len(points) > large and points.device.type == "cpu"
    return (torch.float32, torch.float64) if first else (torch.float64,)


def _blocks(counts: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Points sorted by class, cut into blocks of one class each: rows [B,BLOCK], the number of
    blocks of each class [K], the class of each block [B].

    A class's last block repeats its last sample, which changes no minimum.
    """
    blocks = (counts + BLOCK - 1) // BLOCK
    owner = torch.repeat_interleave(blocks)
    starts, first = counts.cumsum(0) - counts, blocks.cumsum(0) - blocks
    offset = (torch.arange(len(owner)) - first[owner])[:, None] * BLOCK + torch.arange(BLOCK)
    rows = starts[owner][:, None] + torch.minimum(offset, counts[owner][:, None] - 1)
    return rows, blocks, owner


def _bounds(points: Tensor, dtype: torch.dtype, size: int) -> Tensor:
    """[B,B]: no squared distance between a point of block a and one of block b >= a is smaller.

    |x|^2 + |y|^2 - 2 x.y in `dtype`, less its rounding error, relative to |x|^2 + |y|^2: D eps for
    the squares and the product, in any order of summation, 16 eps for shift, scale and sums.
    """
    points -= points.mean(0)  # the smaller the norms, the tighter the bounds
    scale = torch.linalg.vector_norm(points, torch.inf)
    scale = torch.where(scale > 0, scale, 1)  # float32 must not overflow
    points = points.div_(scale).to(dtype)
    slack = (points.shape[1] + 16) * torch.finfo(dtype).eps
    norms = torch.linalg.vecdot(points, points) * (1 - slack)
    blocks, side = len(points) // BLOCK, size // BLOCK
    bounds = points.new_full((blocks, blocks), torch.inf, dtype=torch.float64)
    tiles = list(zip(torch.split(points, size), torch.split(norms, size), strict=True))
    for a, (x, x_norms) in enumerate(tiles):
        for b, (y, y_norms) in enumerate(tiles[a:], a):
            tile = torch.addmm(y_norms[:, None], y, x.T, alpha=-2)
            tile = tile.view(-1, BLOCK, len(x)).amin(1) + x_norms
            tile = tile.view(len(tile), -1, BLOCK).amin(2).T
            bounds[a * side : (a + 1) * side, b * side : (b + 1) * side] = tile
    return bounds.clamp_(min=0).mul_(scale * scale)


def _distances(points: Tensor, index: Tensor, pairs: Tensor, size: int) -> Tensor:
    """[C]: the smallest distance between the points of two blocks, for pairs [C,2] of blocks."""
    nearest = []
    for piece in torch.split(pairs, max(1, size // (BLOCK * points.shape[1]))):
        x, y = points[index[piece[:, 0]]], points[index[piece[:, 1]]]
        exact = torch.cdist(x, y, compute_mode="donot_use_mm_for_euclid_dist")
        nearest.append(exact.amin((1, 2)))
    return torch.cat(nearest)
