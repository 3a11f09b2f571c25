"""Activation Cluster Measurement: how well a model's features are clustered (ST paper, Eq. 3-5).

Low where classes overlap, high where they are tight and far apart, which is what fitting a poison's
shortcut looks like; staged training rolls back when it exceeds gamma. Three variants (`scores`):
the paper's as written, one with sigma summed, and one that has no unit.

Where the paper leaves room: Eq. 4 writes the set A_i twice, the second is A_j (else L = 0); norms
are not squared; 1e-12 in every denominator gives classes collapsed to points a finite score; a
class without samples is left out of k. There is no code of the authors to differ from.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from stkit import models
from stkit.core.checks import choose, number
from stkit.core.errors import DataError
from stkit.core.rng import stream
from stkit.data.images import Images, to_float
from stkit.data.sampling import rank_in_class
from stkit.engine import pgd
from stkit.engine.runtime import Runtime
from stkit.measure.accuracy import default_batch
from stkit.measure.clusters import Clusters, clusters, true_float32
from stkit.recipes.frames import GAMMAS

__all__ = [
    "Acm", "Clusters", "acm", "clusters", "default_per_class", "draw", "measure",
    "score", "scores",
]  # fmt: skip


@dataclass(frozen=True)
class Acm:
    """ACM of a model on a draw D^s, in every variant; per_class: samples of its largest class."""

    variant: str
    per_class: int
    scores: dict[str, float]
    clusters: Clusters

    @property
    def acm(self) -> float:
        return self.scores[self.variant]


def acm(
    model: nn.Module,
    images: Images,
    *,
    variant: str = "literal",
    per_class: int | None = None,
    seed: int = 0,
    device: torch.device | str | None = None,
    batch_size: int | None = None,
    runtime: Runtime | None = None,
) -> Acm:
    """ACM of the model on a class-balanced draw from the images, as staged training measures it.

    device: where to compute, the model is moved there; None: where it is. per_class, seed: see
    `draw`. runtime: see `measure`. RecipeError: unknown variant. DataError: fewer than two classes
    have images.
    """
    choose("ACM variant", variant, GAMMAS)
    if batch_size is not None:
        number("batch-size", batch_size, 1, float("inf"))
    if device is not None:
        model.to(device)
    classes = len(images.classes)
    rows = draw(images.labels, classes=classes, seed=seed, per_class=per_class)
    found = measure(
        model, images.pixels[rows], images.labels[rows], classes,
        batch_size=batch_size, runtime=runtime,
    )  # fmt: skip
    return Acm(variant, int(found.counts.max()), scores(found), found)


def default_per_class(classes: int) -> int:
    """100 up to 10 classes, else 50 (ST paper, sec. 4.1: 1000 for CIFAR-10, 5000 for CIFAR-100)."""
    return 100 if classes <= 10 else 50


def draw(labels: Tensor, *, classes: int, seed: int, per_class: int | None = None) -> Tensor:
    """The rows of D^s, ascending: `per_class` of every class (all of a smaller one), by the seed.

    labels: int64 [N]. per_class None: `default_per_class`.
    """
    per_class = default_per_class(classes) if per_class is None else per_class
    number("per-class", per_class, 1, float("inf"))
    labels = labels.cpu()
    shuffled = torch.randperm(len(labels), generator=stream(seed, "acm"))
    return shuffled[rank_in_class(labels[shuffled]) < per_class].sort().values


@torch.no_grad()
def measure(
    model: nn.Module,
    pixels: Tensor,
    labels: Tensor,
    classes: int,
    *,
    batch_size: int | None = None,
    runtime: Runtime | None = None,
) -> Clusters:
    """`clusters` of the model's penultimate activation, in eval mode and true float32.

    pixels: uint8 [N,3,H,W] on any device, not augmented. labels: int64 [N]. The model computes
    where it is, and every module is left in the mode it was in. runtime: of several ranks, each
    computes the features of some batches, and all get the same clusters.
    """
    device = next(model.parameters()).device
    batch_size = batch_size or min(500, default_batch(pixels.shape[-1]))
    ranks, rank = (runtime.world_size, runtime.rank) if runtime else (1, 0)
    found: Tensor | None = None
    with pgd.evaluating(model), true_float32(device):
        for start in range(rank * batch_size, len(pixels), ranks * batch_size):
            batch = pixels[start : start + batch_size].to(device)
            features = models.features(model, to_float(batch))
            if found is None:
                found = features.new_zeros(len(pixels), features.shape[1])
            found[start : start + batch_size] = features
    if runtime and ranks > 1:
        width, dtype = runtime.shared(None if found is None else (found.shape[1], found.dtype))
        if found is None:  # rank 0 never is without a batch
            found = torch.zeros(len(pixels), width, dtype=dtype, device=device)
        runtime.sum_(found)  # each row comes from one rank, the others have zeros there
    assert found is not None
    return clusters(found, labels, classes)


def scores(found: Clusters) -> dict[str, float]:
    """ACM in every variant: the mean over ordered pairs of classes of a quotient (Eq. 5).

    literal: L(i,j) / (R(i) sigma(i) + R(j) sigma(j)), in 1 / the features' unit. sum: the same with
    sigma summed, not averaged, over a class. ratio: L(i,j) / (sigma(i) + sigma(j)), without a unit.
    DataError: fewer than two classes have samples. NaN where a feature was NaN or inf.
    """
    here = found.counts > 0
    k = int(here.sum())
    if k < 2:
        raise DataError(f"samples of {k} class(es) found, ACM compares at least 2; pass more data")
    L, sigma, radius = found.L[here][:, here], found.sigma[here], found.radius[here]
    pairs = ~torch.eye(k, dtype=torch.bool)

    def mean(spread: Tensor) -> float:
        quotients = L / (spread[:, None] + spread + 1e-12)
        return quotients[pairs].mean().item()

    summed = sigma * found.counts[here]
    return {"literal": mean(radius * sigma), "sum": mean(radius * summed), "ratio": mean(sigma)}


def score(found: Clusters, variant: str = "literal") -> float:
    """One of `scores`. RecipeError: unknown variant."""
    return scores(found)[choose("ACM variant", variant, GAMMAS)]
