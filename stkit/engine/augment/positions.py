"""Random numbers for every pixel, from a seed for every image.

A hash of the seed, which stands in the table of draws, and the position: so that the table stays
small, and nothing is drawn while applying.
"""

import torch
from torch import Tensor


def seeds(uniform: Tensor) -> Tensor:
    """Uniform in [0,1) -> whole numbers below 2^24, as many as float32 counts."""
    return (uniform * 2**24).floor()


def uniform(seed: Tensor, channels: int, side: int, used: int = 0) -> Tensor:
    """Uniform [0,1) float32 [N,channels,side,side], a function of seed [N], channel and position.

    used: numbers of a channel that came from these seeds before.
    """
    first, count = 1 + channels * used, channels * side * side
    place = torch.arange(first, first + count, dtype=torch.int32, device=seed.device)
    place = _hash(place).view(channels, side, side)
    mixed = _hash(place ^ _hash(seed.to(torch.int32))[:, None, None, None])
    return ((mixed >> 8) & 0xFFFFFF).float().mul_(2**-24)


def _hash(x: Tensor) -> Tensor:
    """int32, changed in place: 32 bits each of which depends on all (two multiplications, Wellons).

    Products wrap; what a shift of a negative number brings in at the top is cut off.
    """
    x ^= (x >> 16) & 0xFFFF
    x *= 0x21F0AAAD
    x ^= (x >> 15) & 0x1FFFF
    x *= 0x735A2D97
    x ^= (x >> 15) & 0x1FFFF
    return x
