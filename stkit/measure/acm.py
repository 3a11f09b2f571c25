"""Activation Cluster Measurement: how well a model's features are clustered (ST paper, Eq. 3-5).

Low where classes overlap, high where they are tight and far apart, which is what fitting a poison's
shortcut looks like; staged training rolls back when it exceeds gamma. Three variants (`scores`):
the paper's as written, one with sigma summed, and one that has no unit.

Where the paper leaves room: Eq. 4 writes the set A_i twice, the second is A_j (else L = 0); norms
are not squared; 1e-12 in every denominator gives classes collapsed to points a finite score; a
class without samples is left out of k. There is no code of the authors to differ from.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from stkit import models
from stkit.core import artifact, header
from stkit.core.checks import choose, whole
from stkit.core.errors import DataError
from stkit.core.rng import stream
from stkit.data.images import Images, to_float
from stkit.data.sampling import rank_in_class
from stkit.engine import pgd
from stkit.engine.process import settings
from stkit.engine.runtime import Runtime
from stkit.measure.accuracy import default_batch
from stkit.measure.clusters import Clusters, clusters, true_float32
from stkit.measure.subject import (
    Batches,
    Checkpoint,
    asking,
    check_finite,
    collected,
    home,
    module_of,
    parent,
    place,
)
from stkit.models.structure import number_type
from stkit.recipes.acm import VARIANTS


@dataclass(frozen=True, repr=False)
class Acm:
    """ACM of a model on a draw D^s, in every variant; per_class: samples of its largest class.

    seed: of the draw. layer: whose features, None: the penultimate ones. model: its header's part.
    images: what D^s was drawn from, where that was no DataLoader. threads: of a CPU.
    """

    variant: str
    per_class: int
    scores: dict[str, float]
    clusters: Clusters
    seed: int
    model: dict[str, Any]
    images: Images | None = None
    layer: str | int | None = None
    threads: int | None = None

    @property
    def acm(self) -> float:
        """ACM in the variant that was asked for."""
        return self.scores[self.variant]

    @property
    def classes(self) -> int:
        """The number of classes, those without samples included."""
        return len(self.clusters.counts)

    def __repr__(self) -> str:
        return f"Acm({self.variant} {self.acm:.6g}, {self.classes} classes, {self.per_class} each)"

    def save(self, path: str | Path, *, replace: bool = True) -> dict[str, Any]:
        """Write an acm file, as `stkit acm -o` does; returns its header. Taken where one is, unless
        it may `replace`."""
        recipe: dict[str, Any] = {"variant": self.variant, "per_class": self.per_class}
        if self.layer is not None:
            recipe["layer"] = self.layer
        if self.threads is not None:
            recipe["threads"] = self.threads
        head = header.make(
            "acm", recipe, seed=self.seed,
            inputs=[self.model, *([] if self.images is None else [self.images.provenance])],
            acm=self.acm, variant=self.variant, classes=self.classes, per_class=self.per_class,
            scores=self.scores,
        )  # fmt: skip
        clusters = self.clusters
        tensors = {"L": clusters.L, "sigma": clusters.sigma, "R": clusters.radius}
        return artifact.write(Path(path), tensors, head, replace=replace)


def acm(
    model: nn.Module | Checkpoint,
    data: Images | Batches,
    *,
    variant: str = "literal",
    layer: str | int | None = None,
    per_class: int | None = None,
    seed: int | None = None,
    runtime: Runtime | None = None,
) -> Acm:
    """ACM of a model on a class-balanced draw D^s from the data, as staged training measures it.

    model: any module, in any mode, which is put back. A checkpoint is measured as `stkit acm` does:
    on what its training drew D^s from, which is the data prepared as the frame says, and without
    what was held out if it is the set trained on; a module is measured on the data as they are.
    data: images, or a DataLoader, which is read once, into memory. layer: whose features, as in
    `models.features`: a module's name, a number of `layers`; None: the input of the classifier.
    per_class: images of a class; None: 100 up to 10 classes, else 50. seed: of the draw; None: the
    training's, else 0. runtime: None: where the model is, by this process alone. RecipeError:
    unknown variant or layer, or a model that cannot take the images. DataError: data of another
    shape, fewer than two classes have images, or weights or features that are not finite.

        acm(load_checkpoint("st.safetensors"), load("sp.safetensors"), variant="ratio").acm
    """
    choose("ACM variant", variant, VARIANTS)
    module = module_of(model)
    runtime = place(module, runtime)
    if isinstance(model, Checkpoint):
        seed = model.seed if seed is None else seed
        if isinstance(data, Images):
            model.check(data)
            data = model.as_trained(data)
    seed = 0 if seed is None else seed
    if isinstance(data, Images):
        images, pixels, labels, classes = data, data.pixels, data.labels, len(data.classes)
    else:
        images, (pixels, labels) = None, collected(data)
        classes = 1 + int(labels.max())
    rows = draw(labels, classes=classes, seed=seed, per_class=per_class)
    with settings(runtime), asking(module, pixels):
        measured = measure(
            module, pixels[rows], labels[rows], classes, layer=layer, runtime=runtime
        )
    values = scores(measured)
    check_finite(model, "features", finite=math.isfinite(values[variant]))
    return Acm(
        variant, int(measured.counts.max()), values, measured, seed, parent(model),
        images, layer, runtime.recipe.get("threads"),
    )  # fmt: skip


def default_per_class(classes: int) -> int:
    """100 up to 10 classes, else 50 (ST paper, sec. 4.1: 1000 for CIFAR-10, 5000 for CIFAR-100)."""
    return 100 if classes <= 10 else 50


def draw(labels: Tensor, *, classes: int, seed: int, per_class: int | None = None) -> Tensor:
    """The rows of D^s, ascending: `per_class` of every class (all of a smaller one), by the seed.

    labels: int64 [N]. per_class None: `default_per_class`.
    """
    per_class = default_per_class(classes) if per_class is None else per_class
    whole("per-class", per_class, 1, float("inf"))
    labels = labels.cpu()
    shuffled = torch.randperm(len(labels), generator=stream(seed, "acm"))
    return shuffled[rank_in_class(labels[shuffled]) < per_class].sort().values


def measure(
    model: nn.Module,
    pixels: Tensor,
    labels: Tensor,
    classes: int,
    *,
    layer: str | int | None = None,
    batch_size: int | None = None,
    runtime: Runtime | None = None,
) -> Clusters:
    """`clusters` of a layer's features, see `features`; labels int64 [N], 0 to classes - 1."""
    (some,) = features(model, pixels, (layer,), batch_size=batch_size, runtime=runtime)
    return clusters(some, labels, classes)


@torch.no_grad()
def features(
    model: nn.Module,
    pixels: Tensor,
    layers: Sequence[str | int | None],
    *,
    batch_size: int | None = None,
    runtime: Runtime | None = None,
) -> list[Tensor]:
    """The features [N,D] of each layer (`models.features`), of one pass in eval mode and true
    float32, or the model's own type.

    pixels: uint8 [N,3,H,W], or float in [0,1], on any device, not augmented. The model computes
    where it is, and every module is left in the mode it was in. runtime: of several ranks, each
    computes the features of some batches, and all get the same.
    """
    device, dtype = home(model), number_type(model)
    batch_size = batch_size or min(500, default_batch(pixels.shape[-1]))
    ranks, rank = (runtime.world_size, runtime.rank) if runtime else (1, 0)
    made: list[Tensor] = []
    with pgd.evaluating(model), true_float32(device):
        names = models.named(model, layers, pixels.shape[-1])
        for start in range(rank * batch_size, len(pixels), ranks * batch_size):
            batch = pixels[start : start + batch_size].to(device)
            some = models.several(model, to_float(batch, dtype), names)
            made = made or [each.new_zeros(len(pixels), each.shape[1]) for each in some]
            for each, rows in zip(made, some, strict=True):
                each[start : start + batch_size] = rows
    if runtime and ranks > 1:
        widths = runtime.shared([(each.shape[1], each.dtype) for each in made])
        made = made or [  # rank 0 never is without a batch
            torch.zeros(len(pixels), width, dtype=dtype, device=device) for width, dtype in widths
        ]
        for each in made:
            runtime.sum_(each)  # each row comes from one rank, the others have zeros there
    return made


def scores(measured: Clusters) -> dict[str, float]:
    """ACM in every variant: the mean over ordered pairs of classes of a quotient (Eq. 5).

    The variants are those of `recipes.acm`. DataError: fewer than two classes have samples. NaN
    where a feature was NaN or inf.
    """
    here = measured.counts > 0
    k = int(here.sum())
    if k < 2:
        raise DataError(f"samples of {k} class(es) found, ACM compares at least 2; pass more data")
    L, pairs = measured.L[here][:, here], ~torch.eye(k, dtype=torch.bool)
    sigma, radius, count = measured.sigma[here], measured.radius[here], measured.counts[here]

    def mean(spread: Tensor) -> float:
        quotients = L / (spread[:, None] + spread + 1e-12)
        return quotients[pairs].mean().item()

    return {name: mean(each.spread(sigma, radius, count)) for name, each in VARIANTS.items()}


def score(measured: Clusters, variant: str = "literal") -> float:
    """One of `scores`. RecipeError: unknown variant."""
    return scores(measured)[choose("ACM variant", variant, VARIANTS)]
