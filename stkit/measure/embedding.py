"""What a layer makes of images, laid out in the plane by t-SNE (ST paper, Fig. 3, 10 and 11).

Classes that lie apart in tight clusters are what fitting a poison's shortcut looks like; ACM is the
same as a number. The paper gives no settings of t-SNE: these are scikit-learn's defaults, begun
from the first two principal components, so that it depends on nothing but features and seed.
Neighbours count in the plane; distances between clusters, and the axes, do not.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stkit.core.checks import whole
from stkit.core.errors import DataError
from stkit.data.images import Images
from stkit.engine.process import settings
from stkit.engine.runtime import Runtime
from stkit.measure import acm
from stkit.measure.features import features
from stkit.measure.subject import Checkpoint, asking, check_finite, module_of, place

PERPLEXITY = 30.0  # scikit-learn's
FEWEST = 4  # images: each needs a few neighbours


@dataclass(frozen=True, repr=False)
class Embedding:
    """Images laid out in the plane: points float32 [N,2] of features [N,D], a row an image."""

    features: Tensor
    points: Tensor

    def __repr__(self) -> str:
        return f"Embedding({len(self.points)} points of {self.features.shape[1]} features)"


def drawn(
    images: Images,
    trained: Checkpoint | None = None,
    *,
    per_class: int | None = None,
    classes: int | None = None,
    seed: int | None = None,
) -> Images:
    """The draw D^s of ACM from these images, in its order.

    trained: what the images are shown to as its training saw them: prepared by its frame, and
    without what it held out, see `Checkpoint.as_trained`; None: as they are. per_class: images of a
    class; None: 100 up to 10 classes, else 50. classes: only so many, the first that have images.
    seed: None: the training's, else 0. DataError: images of other classes or size than its.
    """
    if trained is not None:
        trained.check(images)
        images = trained.as_trained(images)
        seed = trained.seed if seed is None else seed
    rows = acm.draw(images.labels, classes=len(images.classes), seed=seed or 0, per_class=per_class)
    labels = images.labels[rows]
    return images.rows(rows[torch.isin(labels, labels.unique()[:classes])])


def embed(
    model: nn.Module | Checkpoint,
    images: Images,
    *,
    layer: str | int | None = None,
    seed: int = 0,
    runtime: Runtime | None = None,
) -> Embedding:
    """t-SNE of a layer's features of these images, in their order.

    model: in any mode, which is put back. layer: as in `models.features`. seed: of t-SNE. runtime:
    None: where the model is. Time grows faster than the images: a thousand take seconds, and 20,000
    minutes. RecipeError: no such layer. DataError: fewer than 4 images, or features that are not
    finite.
    """
    module = module_of(model)
    with settings(place(module, runtime)), asking(module, images.pixels):
        (made,) = features(module, images.pixels, (layer,))
    check_finite(model, "features", finite=bool(made.isfinite().all()))
    return Embedding(made.cpu(), tsne(made, seed=seed))


def tsne(features: Tensor, *, seed: int) -> Tensor:
    """The plane's points float32 [N,2] of finite features [N,D]: scikit-learn's t-SNE.

    On one thread, which alone gives the same numbers whatever the threads. Perplexity 30, or a
    third of the others where there are fewer. Equal features are all at 0. DataError: fewer than 4.
    RecipeError: a seed of more than 32 bits.
    """
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    whole("seed", seed, 0, 2**32 - 1)  # what scikit-learn takes
    count = len(features)
    if count < FEWEST:
        raise DataError(
            f"found {count} images to lay out, expected {FEWEST} or more; pass a larger --per-class"
        )
    points = features.detach().cpu().float()
    points = F.pad(points, (0, max(0, 2 - points.shape[1])))  # as many as there are axes
    if bool((points == points[0]).all()):
        return torch.zeros(count, 2)
    method = TSNE(perplexity=min(PERPLEXITY, (count - 1) / 3), init="pca", random_state=seed)
    with threadpool_limits(1):
        return torch.from_numpy(method.fit_transform(points.numpy()))
