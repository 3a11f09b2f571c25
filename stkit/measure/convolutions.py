"""Features of random convolutions, untrained: what noise is seen by that no linear classifier sees.

Filters are random patches of the images themselves, whitened, of length 1 (Coates, Lee and Ng, "An
Analysis of Single-Layer Networks in Unsupervised Feature Learning", AISTATS 2011). A feature is the
mean size of a filter's response in a quarter of the image: |r|, which is the rectified response and
the rectified negative one together. Whitening lifts what natural images have little of, such as the
grain of autoregressive noise. Ours are 128 filters of 3x3 pixels, each second position.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from stkit.core.rng import stream
from stkit.data.images import to_float

FILTERS, SIDE, STRIDE, QUARTERS = 128, 3, 2, 2
PATCHES = 10_000  # on which the whitening is fitted
FLOOR = 1e-4  # added to the variances, of pixels in [0,1], before they are divided by
BLOCK = 64  # images at a time


@dataclass(frozen=True)
class Filters:
    """Weights float32 [128,3,k,k] of a convolution, and its biases [128]."""

    weights: Tensor
    biases: Tensor


def filters(pixels: Tensor, seed: int) -> Filters:
    """Filters of these images, uint8 [N,3,H,W]. Drawn by `stream(seed, "probe filters")`."""
    count, _, height, width = pixels.shape
    side = min(SIDE, height, width)
    generator = stream(seed, "probe filters")
    image, top, left = (
        torch.randint(most, (PATCHES,), generator=generator)[:, None, None, None]
        for most in (count, height - side + 1, width - side + 1)
    )
    place = torch.arange(side)
    rows, columns = top + place[:, None], left + place
    patches = to_float(pixels[image, torch.arange(3)[:, None, None], rows, columns]).flatten(1)
    mean = patches.mean(0)
    values, axes = torch.linalg.eigh((patches - mean).T.double().cov())
    whiten = ((axes / (values.clamp_min(0) + FLOOR).sqrt()) @ axes.T).float()
    chosen = F.normalize((patches[:FILTERS] - mean) @ whiten) @ whiten
    return Filters(chosen.view(FILTERS, 3, side, side), -(chosen @ mean))


def features(pixels: Tensor, of: Filters) -> Tensor:
    """The mean size of each response in each quarter: float32 [N,512] of uint8 [N,3,H,W]."""
    return torch.cat(
        [
            F.adaptive_avg_pool2d(
                F.conv2d(to_float(block), of.weights, of.biases, stride=STRIDE).abs_(), QUARTERS
            ).flatten(1)
            for block in pixels.split(BLOCK)
        ]
    )
