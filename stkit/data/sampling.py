"""Class-balanced choices of rows."""

import numpy as np
import torch
from torch import Tensor


def balanced(labels: Tensor, count: int) -> Tensor:
    """The rows (ascending) of a class-balanced choice of `count`: the first of every class.

    A class that is too small gives all it has, and the others fill up.
    """
    labels = labels.cpu()
    order = torch.argsort(labels, stable=True)
    sizes = torch.bincount(labels)
    starts = torch.cumsum(sizes, 0) - sizes
    rank = torch.empty_like(labels)
    rank[order] = torch.arange(len(labels)) - starts[labels[order]]
    chosen = torch.argsort(rank * (len(sizes) + 1) + labels, stable=True)[:count]
    return chosen.sort().values


def assign(labels: np.ndarray, blobs: np.ndarray) -> np.ndarray:
    """For each image the row of its point: the j-th of its class, both in order of occurrence."""
    order, source = np.argsort(labels, kind="stable"), np.argsort(blobs, kind="stable")
    ordered = labels[order]
    within = np.arange(len(labels)) - np.searchsorted(ordered, ordered)
    rows = np.empty(len(labels), np.int64)
    rows[order] = source[np.searchsorted(blobs[source], ordered) + within]
    return rows
