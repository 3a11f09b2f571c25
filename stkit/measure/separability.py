"""How much of the labels a linear classifier reads off noise."""

import torch

from stkit.data.images import Images
from stkit.data.perturbation import matching
from stkit.data.sampling import balanced, place_by_class

SAMPLE = 10_000  # images on which the linear classifier is fitted and scored, at most
SIDE = 32  # larger noise is averaged down to this side for the linear classifier


def separability(poisoned: Images, clean: Images) -> float | None:
    """Accuracy of a linear (ridge) classifier on the noise alone: 1 is a perfect shortcut.

    Rows are matched by `index`. Fitted on one half of each class and scored on the other, of 10,000
    images at most; None for fewer than four images or two classes. DataError when the two do not
    belong together.
    """
    if not torch.equal(poisoned.index, clean.index):
        clean = clean.rows(matching(poisoned, clean))
    if len(poisoned) < 4 or len(set(poisoned.labels.tolist())) < 2:
        return None
    from sklearn.linear_model import RidgeClassifier

    rows = balanced(poisoned.labels, SAMPLE)
    delta = poisoned.pixels[rows].float() - clean.pixels[rows].float()
    if delta.shape[-1] > SIDE:
        delta = torch.nn.functional.adaptive_avg_pool2d(delta, SIDE)
    x = (delta / delta.std().clamp_min(1e-9)).flatten(1).double().numpy()
    y = poisoned.labels[rows].numpy()
    halves = place_by_class(poisoned.labels[rows]).numpy() % 2  # every other one of a class
    fitted = RidgeClassifier().fit(x[halves == 0], y[halves == 0])
    return float(fitted.score(x[halves == 1], y[halves == 1]))
