"""SP, synthetic perturbations (Yu et al. 2022, "Availability Attacks Create Shortcuts").

Random points that a linear classifier separates, one blob a class, are drawn by scikit-learn, laid
out as a coarse grid of coloured patches, scaled to one norm, and added: no model is needed.

As the authors' code, and bit-equal to it for 32x32 and the sample count it uses. What is new: any
size (theirs is 32x32), any number of classes, a sample count that is always enough (they double it
for SVHN only), and `bound="linf"`, which scales each sample until its largest value is epsilon: a
weaker poison (its root mean square is about 0.57 epsilon), but one inside the L-infinity ball.
"""

import math

import numpy as np
from torch import Tensor

from stkit.core.errors import DataError, RecipeError
from stkit.data import perturbation
from stkit.data.images import Images
from stkit.data.sampling import assign
from stkit.poisons.interface import Made
from stkit.recipes.poisons import resolve
from stkit.recipes.poisons.sp import SP, ResolvedSP


def make(images: Images, recipe: SP, *, poisoned: Tensor, seed: int) -> Made:
    """See `interface`; scikit-learn draws the noise."""
    height, width = images.pixels.shape[-2:]
    labels, classes = images.labels.numpy(), len(images.classes)
    if len(np.unique(labels)) < 2:
        raise DataError(
            "found images of one class only, expected two or more, which the noise of sp is to "
            "separate; pass a set of more classes"
        )
    recipe = resolve(recipe, (height, width), classes)
    patches = noise(labels, classes, (height, width), recipe=recipe, seed=seed)
    # The authors add float32 noise to float64 images: the noise is taken at its word.
    levels = perturbation.grey_levels(patches.astype(np.float64), recipe.rounding)
    levels = levels.transpose(0, 3, 1, 2)

    def spread(rows: slice) -> np.ndarray:
        wide = levels[rows].repeat(recipe.patch, 3)[..., :width]
        return wide.repeat(recipe.patch, 2)[:, :, :height]

    pixels = perturbation.add(images.pixels, poisoned, spread)
    statistics = perturbation.statistics(images.pixels, pixels, int(poisoned.sum()))
    return Made(pixels, statistics, packages=("scikit-learn", "numpy"))


def noise(
    labels: np.ndarray, classes: int, size: tuple[int, int], *, recipe: ResolvedSP, seed: int
) -> np.ndarray:
    """Each image's noise, one colour a patch: [N,rows,columns,3] in [0,1] units.

    labels: int64 [N]; the j-th image of a class takes the j-th synthetic point of that class.
    float32 for `l2`, as the authors; float64 for `linf`, so that epsilon is met exactly.
    """
    height, width = size
    patch = recipe.patch
    grid = (math.ceil(height / patch), math.ceil(width / patch), 3)
    points, blobs = synthetic(labels, classes, math.prod(grid), seed)
    points = points[assign(labels, blobs)].reshape(-1, *grid)
    if recipe.bound == "linf":
        peaks = np.abs(points).max((1, 2, 3), keepdims=True)
        inside: np.ndarray = (points / peaks).astype(np.float64) * recipe.epsilon
        return inside
    radius = np.sqrt(recipe.epsilon**2 * (3 * height * width))
    # float32 because the authors' NumPy took a scalar as the array's type, unlike NumPy 2.
    scaled: np.ndarray = points / norms(points, patch, size) * np.float32(radius)
    return scaled


def synthetic(
    labels: np.ndarray, classes: int, features: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """At least as many points of every class as it has images: float32 [n,F], classes int [n].

    Equal to the authors' np.random.seed(seed) and make_classification. RecipeError when the
    features are too few to give every class a corner of the cube of its own.
    """
    from sklearn.datasets import make_classification  # slow to import

    if 2**features < classes:
        raise RecipeError(
            f"SP has {features} features for {classes} classes, expected "
            f"{math.ceil(math.log2(classes))} or more; pass a smaller --patch or larger images"
        )
    points, blobs = make_classification(
        n_samples=sample_count(np.bincount(labels, minlength=classes).tolist()),
        n_features=features, n_informative=features, n_redundant=0, n_repeated=0,
        n_classes=classes, n_clusters_per_class=1, class_sep=10.0, flip_y=0.0, random_state=seed,
    )  # fmt: skip
    return points.astype(np.float32), blobs


def sample_count(sizes: list[int]) -> int:
    """How many points to draw for classes of these sizes: N, else 2N, else K times the largest.

    scikit-learn gives each class n // K points, and one more to the first n % K classes.
    """
    total, classes = sum(sizes), len(sizes)
    for n in (total, 2 * total):
        if all(size <= n // classes + (c < n % classes) for c, size in enumerate(sizes)):
            return n
    return classes * max(sizes)


def norms(points: np.ndarray, patch: int, size: tuple[int, int]) -> np.ndarray:
    """The L2 norm of each sample as an image, float32 [n,1,1,1], from cells [n,rows,columns,3].

    Summed over the whole image, colour fastest, because a float32 sum depends on the order and the
    result is to be equal to the authors' to the last bit.
    """
    height, width = size
    norm = np.empty(len(points), np.float32)

    def work(rows: slice) -> None:
        wide = points[rows].repeat(patch, 2).repeat(patch, 1)[:, :height, :width]
        norm[rows] = np.linalg.norm(wide.reshape(len(wide), -1), axis=1)

    perturbation.each(work, len(points), 3 * height * width)
    return norm[:, None, None, None]
