"""The directions that a linear model reads: taken off the images, or dealt out among them anew.

`orthogonal` follows the authors' code (Sandoval-Segura et al. 2023): a linear layer without bias on
pixels in [0,1], SGD with rate 0.1, divided by ten after half and after three quarters of 20 epochs,
batches of 1,024 in the file's order; then every image loses its components along the layer's K
weight vectors, by QR: x - QQ'x. Differences: theirs goes on with floats of any range, ours are
8-bit images again, clipped; and below 48 batches of 1,024 a batch is a 48th of the images, as
CIFAR-10 has 48 (and a rest): with one or two steps an epoch the layer would hardly leave its random
start.

**Rounds.** `orthogonal-N` is ours: a further layer, with a start of its own, is fitted on the
images left, x - QQ'x, as floats, and its K directions join Q; the images are rounded once, at the
end. Images are not projected anew for it: the layer's weights and their gradients are, which gives
the same layer. There is a first round always, so `orthogonal-N` is never milder than `orthogonal`,
and at most N.

**Where they stop.** Before each further round a linear layer is fitted on four fifths of the
images left (10,000 at most) and reads the others, as they are and mirrored. What makes a class
survives mirroring, which all frames train with; a pattern fixed to its place does not. So the
rounds end when three quarters of what is read above chance (or less by two standard errors) are
read in the mirror too. The share has no unit and needs no clean images. On 10,000 of CIFAR-10 it is
1.00 before any round and 0.84 to 0.92 after each of three; on SP 0.10, then 0.45 to 0.55; on OPS
0.24, then 0.76 to 0.93; on class-wise EM 0.61, then 0.82 to 0.91. Blind to a pattern that is
symmetric; where mirroring makes another class (digits), rounds that were not needed are done.

**Swap.** `swap-N` has the same Q, and gives each image the component of another: x - QQ'x +
QQ'x_other. Each component goes to exactly one image, by one permutation of the whole set: what
components there are stays the same, only their tie to the label goes. *Another image, not an image
of another class*: a component that is never of the own class still tells which class it is not, and
with two classes which it is. On two classes of SP, components of the other class give 0.98 of the
labels away, as one's own do, and 0.54 as they are dealt here; with ten classes the two are alike.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from stkit.core import arrays
from stkit.core.errors import DataError
from stkit.core.rng import stream
from stkit.data.blocks import Step, row_count, slices
from stkit.data.images import Images, to_float, to_uint8
from stkit.data.sampling import balanced, rank_in_class
from stkit.data.threads import one_thread

EPOCHS, BATCH, BATCHES, RATE = 20, 1024, 48, 0.1
PROBED, FIFTHS = 10_000, 5  # images of the model that may end the rounds; a fifth is read by it
SHARE, ERRORS = 0.75, 2.0  # of what is read above chance, less so many standard errors


def lost_in_the_mirror(right: int, mirrored: int, labels: Tensor) -> bool:
    """Whether too little of what a model reads is still read after mirroring.

    right, mirrored: the numbers of images whose label is read as they are, and mirrored. labels:
    int64 [N] of all that were read; chance is the share of the most frequent one.
    """
    count = len(labels)
    if not count:
        return False
    chance = int(labels.bincount().max()) / count
    share = mirrored / count
    error = math.sqrt(share * (1 - share) / count)
    return share + ERRORS * error < chance + SHARE * (right / count - chance)


@dataclass(frozen=True)
class Fit:
    """How long a linear model is trained, and on what part of its images at a time."""

    epochs: int = EPOCHS
    batches: int = BATCHES  # a batch is this part of the images, at most 1,024


AUTHORS = Fit()
Further = Callable[[int, int, Tensor], bool]


def directions(
    pixels: Tensor,
    labels: Tensor,
    classes: int,
    *,
    seed: int,
    rounds: int = 1,
    fit: Fit = AUTHORS,
    further: Further = lost_in_the_mirror,
) -> Tensor:
    """An orthonormal basis, float32 [3HW,K], of the weights of the linear models of the rounds.

    pixels: uint8 [N,3,H,W]. labels: int64 [N]. rounds: at most so many; K is `classes` a round,
    less in the last where images have no more dimensions. The first round's columns come first.
    further: whether another round is made, of what a model reads off the images left.
    """
    every = torch.arange(len(pixels))
    basis = torch.empty(pixels[0].numel(), 0)
    for done in range(rounds):
        room = len(basis) - basis.shape[1]
        if not room:
            break
        if done:
            read = _read(pixels, labels, classes, basis, seed=seed, clock=done, fit=fit)
            if not further(*read):
                break
        weight = _fitted(pixels, labels, classes, basis, rows=every, seed=seed, clock=done, fit=fit)
        columns = _without(weight.double(), basis.double()).T
        fresh = torch.linalg.qr(columns).Q[:, :room].float()
        # one round's as LAPACK lays it out: in another order products have other last bits
        basis = torch.cat([basis, fresh], 1) if done else fresh
    return basis


def _fitted(
    pixels: Tensor,
    labels: Tensor,
    classes: int,
    basis: Tensor,
    *,
    rows: Tensor,
    seed: int,
    clock: int,
    fit: Fit,
) -> Tensor:
    """Weights [classes,3HW] of a linear model of these rows' images without their components."""
    width = pixels[0].numel()
    generator = stream(seed, "orthogonal", clock)
    bound = 1 / math.sqrt(width)  # PyTorch's start of a linear layer
    weight = bound * (2 * torch.rand(classes, width, generator=generator) - 1)
    weight = _without(weight, basis)
    size = max(1, min(BATCH, len(rows) // fit.batches))
    for epoch in range(fit.epochs):
        rate = RATE * 0.1 ** ((epoch >= fit.epochs // 2) + (epoch >= fit.epochs * 3 // 4))
        for batch in slices(len(rows), size):
            slope = _without(_slope(weight, pixels, labels, rows[batch]), basis)
            weight -= rate / len(rows[batch]) * slope
    return weight


def _slope(weight: Tensor, pixels: Tensor, labels: Tensor, batch: Tensor) -> Tensor:
    """The gradient of the summed cross-entropy of a batch, in blocks, as large images need."""
    total = torch.zeros_like(weight)
    for block in slices(len(batch), row_count(pixels)):
        rows = batch[block]
        x = to_float(pixels[rows]).flatten(1)
        targets = torch.nn.functional.one_hot(labels[rows], len(weight)).float()
        total += ((x @ weight.T).softmax(1) - targets).T @ x
    return total


def _without(vectors: Tensor, basis: Tensor) -> Tensor:
    """Row vectors [n,3HW] without their components along an orthonormal basis [3HW,K]."""
    return vectors - (vectors @ basis) @ basis.T if basis.shape[1] else vectors


def _read(
    pixels: Tensor,
    labels: Tensor,
    classes: int,
    basis: Tensor,
    *,
    seed: int,
    clock: int,
    fit: Fit,
) -> tuple[int, int, Tensor]:
    """What a linear model reads off images that it was not fitted on; see `lost_in_the_mirror`."""
    drawn = torch.randperm(len(labels), generator=stream(seed, "orthogonal-probe"))
    drawn = drawn[balanced(labels[drawn], PROBED)]
    read = rank_in_class(labels[drawn]) % FIFTHS == FIFTHS - 1
    rows, held = drawn[~read], drawn[read]
    weight = _fitted(pixels, labels, classes, basis, rows=rows, seed=seed, clock=clock, fit=fit)
    right = [0, 0]
    for block in slices(len(held), row_count(pixels)):
        batch = pixels[held[block]]
        left = _without(to_float(batch).flatten(1), basis).view(batch.shape)
        for kind, x in enumerate((left, left.flip(-1))):
            told = (x.flatten(1) @ weight.T).argmax(1)
            right[kind] += int((told == labels[held[block]]).sum())
    return right[0], right[1], labels[held]


def project(block: Tensor, basis: Tensor) -> Tensor:
    """Images uint8 [n,3,H,W] without their components along an orthonormal basis [3HW,K]."""
    return to_uint8(_without(to_float(block).flatten(1), basis)).view_as(block)


def orthogonal(images: Images, value: int | None, seed: int, fitted: int | None) -> Step:
    """The projection off the directions of at most `value` rounds, of the first images only."""
    basis = _basis(images, value, seed, fitted)

    def step(block: Tensor, rows: slice) -> Tensor:
        with one_thread():
            return project(block, basis)

    return step


def swap(images: Images, value: int | None, seed: int, fitted: int | None) -> Step:
    """The exchange, among all images, of components in the directions that `orthogonal` has.

    DataError: images of one class only.
    """
    if len(images.labels.unique()) < 2:
        raise DataError(
            "swap: found images of one class, expected two or more, as components are exchanged "
            "between classes; take another preparation, or a set of more classes"
        )
    basis = _basis(images, value, seed, fitted)
    pixels = images.pixels
    # taken before any image changes, since the pixels may be written over
    own = torch.from_numpy(arrays.zeros((len(pixels), basis.shape[1]), np.float32))
    with one_thread():
        for rows in slices(len(pixels), row_count(pixels)):
            own[rows] = to_float(pixels[rows]).flatten(1) @ basis
    giver = torch.randperm(len(pixels), generator=stream(seed, "swap"))

    def step(block: Tensor, rows: slice) -> Tensor:
        with one_thread():
            return exchange(block, own[giver[rows]] - own[rows], basis)

    return step


def exchange(block: Tensor, change: Tensor, basis: Tensor) -> Tensor:
    """Images uint8 [n,3,H,W] whose components [n,K] along an orthonormal basis change by that."""
    return to_uint8(to_float(block).flatten(1) + change @ basis.T).view_as(block)


def _basis(images: Images, value: int | None, seed: int, fitted: int | None) -> Tensor:
    assert value is not None
    pixels, labels = images.pixels[:fitted], images.labels[:fitted]
    with one_thread():
        return directions(pixels, labels, len(images.classes), seed=seed, rounds=value)
