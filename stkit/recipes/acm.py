"""The variants of ACM: how spread a class is, and the threshold that belongs to it. No torch.

ACM is the mean over ordered pairs of classes of L(i,j) / (spread(i) + spread(j)), Eq. 5 of the ST
paper; see `measure.acm`. A variant is one entry of `VARIANTS`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Variant:
    """A threshold, and spread(sigma, radius, count) of the classes, tensors [K]: the mean distance
    of a class's samples to their mean, the largest, and how many there are."""

    gamma: float
    spread: Callable[[Any, Any, Any], Any]


VARIANTS = {
    # Eq. 3-5 as they stand, in 1 / the features' unit; gamma: sec. 4.1
    "literal": Variant(2.6e-4, lambda sigma, radius, count: radius * sigma),
    # sigma summed over a class, not averaged, which puts the paper's gamma in range
    "sum": Variant(2.6e-4, lambda sigma, radius, count: radius * (sigma * count)),
    # without a unit; gamma is ours
    "ratio": Variant(0.10, lambda sigma, radius, count: sigma),
}
