"""The noise of a data set, for the formats that hold it rather than the images."""

from collections.abc import Iterator

import torch
from torch import Tensor

from stkit.core.errors import DataError
from stkit.data.images import Images
from stkit.data.perturbation import matching


def slices(pixels: Tensor) -> Iterator[slice]:
    """Slices that cover the rows, of which each is small beside the whole."""
    return (slice(start, start + 1024) for start in range(0, len(pixels), 1024))


def paired(images: Images, clean: Images | None) -> tuple[Images, Tensor]:
    """The images in the order of `index`, and the clean pixels of each, uint8 [N,3,H,W].

    DataError where an image has no clean one, or another label.
    """
    assert clean is not None, "`export.check` refuses noise without a clean set"
    images = images.rows(images.index.argsort(stable=True))
    rows = matching(images, clean)
    if not torch.equal(images.labels, clean.labels[rows]):
        raise DataError(
            "labels differ from the clean set's; pass the set the images were made from"
        )
    return images, clean.pixels[rows]


def one_a_class(images: Images, plain: Tensor) -> Tensor | None:
    """Noise int16 [K,3,H,W], grey levels, that added by class and clipped gives the images exactly.

    None where there is none, or no fewer classes than images. A pixel at 255 says that the noise is
    at least the difference, one at 0 at most, any other that it is the difference.
    """
    count = len(images.classes)
    if count >= len(images):
        return None
    noise = torch.zeros(count, *plain.shape[1:], dtype=torch.int16)
    for label in sorted(set(images.labels.tolist())):
        rows = (images.labels == label).nonzero().flatten()
        noisy = images.pixels[rows]
        delta = noisy.short() - plain[rows]
        least = torch.where(noisy > 0, delta, -256).amax(0)
        most = torch.where(noisy < 255, delta, 256).amin(0)
        if (least > most).any():
            return None
        noise[label] = torch.where(least == -256, most, least)
    return noise
