"""How much of the labels a linear classifier reads off noise."""

import torch

from stkit.data.images import Images
from stkit.data.sampling import balanced, place_by_class

SAMPLE = 10_000  # images on which the linear classifier is fitted and scored, at most
SIDE = 32  # larger noise is averaged down to this side for the linear classifier


def linear_separability(noisy: Images, plain: Images) -> float | None:
    """Accuracy of a ridge classifier on the noise alone, fitted on half of each class."""
    if len(noisy) < 4 or len(noisy.labels.unique()) < 2:
        return None
    from sklearn.linear_model import RidgeClassifier

    rows = balanced(noisy.labels, SAMPLE)
    delta = noisy.pixels[rows].float() - plain.pixels[rows].float()
    if delta.shape[-1] > SIDE:
        delta = torch.nn.functional.adaptive_avg_pool2d(delta, SIDE)
    x = (delta / delta.std().clamp_min(1e-9)).flatten(1).double().numpy()
    y = noisy.labels[rows].numpy()
    halves = place_by_class(noisy.labels[rows]).numpy() % 2  # every other one of a class
    fitted = RidgeClassifier().fit(x[halves == 0], y[halves == 0])
    return float(fitted.score(x[halves == 1], y[halves == 1]))
