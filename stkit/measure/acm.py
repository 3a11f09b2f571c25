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
from stkit.data.images import Images
from stkit.data.sampling import rank_in_class
from stkit.engine.process import settings
from stkit.engine.runtime import Runtime
from stkit.measure.clusters import Clusters, clusters
from stkit.measure.features import features
from stkit.measure.subject import (
    Batches,
    Checkpoint,
    asking,
    check_finite,
    collected,
    module_of,
    parent,
    place,
)
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
    return _measured(
        model, data, [layer], variant=variant, per_class=per_class, seed=seed, runtime=runtime
    )[0]


def acm_by_layer(
    model: nn.Module | Checkpoint,
    data: Images | Batches,
    *,
    variant: str = "literal",
    per_class: int | None = None,
    seed: int | None = None,
    runtime: Runtime | None = None,
) -> list[Acm]:
    """`acm` of each layer of `layers`, counted from the input, then of the penultimate features.

    Of one pass over D^s. Left out are layers computed without a module whose output there is.

        [each.scores["ratio"] for each in acm_by_layer(model, images)]
    """
    return _measured(
        model, data, None, variant=variant, per_class=per_class, seed=seed, runtime=runtime
    )


def _measured(
    model: nn.Module | Checkpoint,
    data: Images | Batches,
    layers: Sequence[str | int | None] | None,
    *,
    variant: str,
    per_class: int | None,
    seed: int | None,
    runtime: Runtime | None,
) -> list[Acm]:
    """ACM of these layers, of all where they are None."""
    choose("ACM variant", variant, VARIANTS)
    module = module_of(model)
    runtime = place(module, runtime)
    drawn = probe(model, data, per_class=per_class, seed=seed)
    with settings(runtime), asking(module, drawn.pixels):
        if layers is None:
            names = models.layer_names(module, drawn.pixels.shape[-1])
            layers = [*(n for n, name in enumerate(names, 1) if name is not None), None]
        each = features(module, drawn.pixels, layers, runtime=runtime)
        made = [clusters(some, drawn.labels, drawn.classes) for some in each]
    values = [scores(measured) for measured in made]
    check_finite(model, "features", finite=all(math.isfinite(value[variant]) for value in values))
    about = drawn.seed, parent(model), drawn.images
    threads = runtime.recipe.get("threads")
    return [
        Acm(variant, int(m.counts.max()), value, m, *about, layer, threads)
        for m, value, layer in zip(made, values, layers, strict=True)
    ]


@dataclass(frozen=True)
class Probe:
    """D^s: its images and labels, of how many classes; drawn from what images, by which seed."""

    pixels: Tensor
    labels: Tensor
    classes: int
    images: Images | None
    seed: int


def probe(
    model: nn.Module | Checkpoint,
    data: Images | Batches,
    *,
    per_class: int | None,
    seed: int | None,
) -> Probe:
    """The draw D^s on which `acm` measures a model, and its errors of data."""
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
    return Probe(pixels[rows], labels[rows], classes, images, seed)


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
