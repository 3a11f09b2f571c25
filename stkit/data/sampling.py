"""Class-balanced choices of rows."""

import numpy as np
import torch
from torch import Tensor


def place_by_class(labels: Tensor) -> Tensor:
    """Each row's place when the rows are sorted by class, in their order within it: int64 [N].

    labels: int64 [N], none negative, on any device; the result is on the CPU.
    """
    place = torch.empty(len(labels), dtype=torch.int64)
    place[labels.cpu().argsort(stable=True)] = torch.arange(len(labels))
    return place


def rank_in_class(labels: Tensor) -> Tensor:
    """The number of rows of the same class before each row: int64 [N]. See `place_by_class`."""
    labels = labels.cpu()
    sizes = labels.bincount()
    return place_by_class(labels) - (sizes.cumsum(0) - sizes)[labels]


def balanced(labels: Tensor, count: int) -> Tensor:
    """The rows (ascending) of a class-balanced choice of `count`: the first of every class.

    A class that is too small gives all it has, and the others fill up. labels: int64 [N].
    """
    labels = labels.cpu()
    classes = len(labels.bincount())
    order = rank_in_class(labels) * (classes + 1) + labels
    return order.argsort(stable=True)[:count].sort().values


def stratified(labels: Tensor, count: int) -> Tensor:
    """The rows (ascending) of a choice of `count` in which classes have the shares that they have
    in the set: the first of every class, of each that has an image at least one.

    labels: int64 [N]. What whole numbers leave over goes to the largest remainders, among equal
    ones to the lower label (scikit-learn's `train_test_split` draws these).
    """
    labels = labels.cpu()
    sizes = labels.bincount()
    quotas = sizes * count // len(labels)
    remainders = sizes * count % len(labels)
    first = remainders.argsort(descending=True, stable=True)[: count - int(quotas.sum())]
    quotas[first] += 1
    quotas = torch.maximum(quotas, sizes.clamp(max=1))
    return (rank_in_class(labels) < quotas[labels]).nonzero().flatten()


def assign(labels: np.ndarray, blobs: np.ndarray) -> np.ndarray:
    """For each image the row of its point: the j-th of its class, both in order of occurrence.

    labels: int64 [N] of the images. blobs: [M] of the points, at least as many of every class.
    """
    wanted, given = torch.from_numpy(labels), torch.from_numpy(blobs)
    sizes = given.bincount(minlength=len(wanted.bincount()))
    place = (sizes.cumsum(0) - sizes)[wanted] + rank_in_class(wanted)
    return given.argsort(stable=True)[place].numpy()
