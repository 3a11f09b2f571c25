"""CUDA, convolution-based unlearnable datasets (Sadasivan et al., CVPR 2023): blurs, not noise.

Each class has a random filter: weights uniform from 0 to `blur`, and at one random place, which
need not be the centre, a 1. The images of the class are convolved with it, the three channels
alike, and divided by their largest value. No model is needed; no norm bounds what changes.

After the authors' code (final_filter_unlearnable.py) for CIFAR-10 and CIFAR-100: the filters are
those that it draws under the same seed, zeros pad the images, levels are truncated. Theirs
convolves in float32 on a GPU, this in float64: of the values of 10,000 images of CIFAR-10, 0.01 %
are one level off a float32 convolution on a CPU. Their code for 224 px is not public; size and
weights of its filters are the paper's (sec. 5.1), and the padding is taken to keep the size. What
is new: any size and number of classes, the images of a `poison_rate` by stkit's draw, and black
images stay black (theirs divides 0 by 0).
"""

import numpy as np
import torch
from torch import Tensor

from stkit.core import arrays
from stkit.data import perturbation
from stkit.data.images import Images
from stkit.poisons.interface import Made
from stkit.poisons.photographs import Axis, Sample, bands
from stkit.recipes.poisons import resolve
from stkit.recipes.poisons.cuda import CUDA, ResolvedCUDA

PIECE = 1 << 17  # pixel values at a time, see `perturbation.pieces`: three such lie in the cache


def make(images: Images, recipe: CUDA, *, poisoned: Tensor, seed: int) -> Made:
    """See `interface`; NumPy draws the filters."""
    height, width = images.pixels.shape[-2:]
    recipe = resolve(recipe, (height, width), len(images.classes))
    weights = filters(len(images.classes), recipe, seed)
    clean, labels = images.pixels.numpy(), images.labels.numpy()
    chosen = poisoned.numpy()[:, None, None, None]
    noisy = arrays.zeros(clean.shape, np.uint8)

    def work(rows: slice) -> None:
        # The authors compute in float32: what is as near to a level as that can tell is taken so.
        shares = blurred(clean[rows], weights[labels[rows]]).astype(np.float32)
        levels = perturbation.grey_levels(shares, recipe.rounding)
        noisy[rows] = np.where(chosen[rows], levels, clean[rows])

    perturbation.each(work, len(clean), clean[0].size, piece=PIECE)
    pixels = torch.from_numpy(noisy)
    return Made(pixels, perturbation.statistics(images.pixels, pixels, int(poisoned.sum())))


def on_photograph(pixels: np.ndarray, axes: tuple[Axis, Axis], sample: Sample) -> None:
    """The filter with its weights as far apart as pixels of the training size lie in a photograph.

    What is left of it at that size is the filter itself. Over the largest value there, too.
    """
    recipe = sample.header["recipe"]
    settings = CUDA(kernel=recipe["kernel"], blur=recipe["blur"], rounding=recipe["rounding"])
    full = resolve(settings, sample.clean.shape[-2:], sample.classes)
    weights = filters(sample.classes, full, sample.header["seed"])[sample.label]
    peak = convolved(sample.clean[None], weights[None]).max()
    if not peak:
        return
    weights, before = weights / peak, pixels.copy()
    height, width = pixels.shape[:2]
    steps = np.arange(full.kernel) - full.kernel // 2
    down, across = (np.rint(steps * axis.scale).astype(int).tolist() for axis in axes)
    for band in bands(pixels):
        total = np.zeros(pixels[band].shape, np.float32)
        for row, y in enumerate(down):
            above = band.start + y
            top, low = max(0, above), min(height, above + len(total))
            for column, x in enumerate(across):
                if low > top and abs(x) < width:
                    inside = total[top - above : low - above, max(0, -x) : width + min(0, -x)]
                    source = before[top:low, max(0, x) : width + min(0, x)]
                    inside += source * np.float32(weights[row, column])
        pixels[band] = perturbation.grey_levels(total.clip(0, 1), full.rounding)


def filters(classes: int, recipe: ResolvedCUDA, seed: int) -> np.ndarray:
    """A filter for each class, float64 [K,kernel,kernel], rounded to float32 as the authors' are.

    Equal to theirs after np.random.seed(seed), which draws three a class and uses the first.
    """
    side, draws = recipe.kernel, np.random.RandomState(seed)
    drawn = np.empty((classes, side, side), np.float32)
    for weights in drawn:
        weights[:] = draws.uniform(0, recipe.blur, (3, 1, side, side))[0, 0]
        row, column = draws.randint(side), draws.randint(side)
        weights[row, column] = 1
    return drawn.astype(np.float64)


def blurred(pixels: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Images uint8 [n,3,H,W], each by its filter [n,k,k], over its largest value: float64."""
    total = convolved(pixels, weights)
    peak = total.max((1, 2, 3), keepdims=True)
    result: np.ndarray = np.divide(total, peak, out=total, where=peak > 0)
    return result


def convolved(pixels: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Images uint8 [n,3,H,W], each by its filter [n,k,k]: float64."""
    side, (height, width) = weights.shape[-1], pixels.shape[-2:]
    edge = (side // 2, side // 2)
    padded = np.pad(pixels.astype(np.float64), ((0, 0), (0, 0), edge, edge))
    total, term = np.zeros(pixels.shape), np.empty(pixels.shape)
    for row in range(side):
        for column in range(side):
            shifted = padded[..., row : row + height, column : column + width]
            total += np.multiply(shifted, weights[:, row, column, None, None, None], out=term)
    return total
