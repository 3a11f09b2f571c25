"""AR, autoregressive perturbations (Sandoval-Segura et al., NeurIPS 2022): a process a class.

A process is eight coefficients a channel: each value of its noise is their sum with the eight
values above and to the left of it, in a window of 3x3. The start, two rows and two columns, is
Gaussian and an image's own, so that no two images carry the same noise; a convolution with the
coefficients, and -1 in the corner, tells the class all the same. No model is needed.

After the authors' code (autoregressive.py, autoregressive_param_finder.py and
create_ar_poisons_3channel.py). Coefficients are normal, divided by their sum, and kept where three
noises stay small and the last of them answers the filters of the processes kept before; an image's
noise is made 4 rows and columns too large, cropped at the top and the left, scaled to one norm,
added, and rounded to nearest. Nothing of theirs is seeded, and their processes come as files, 10 of
them and 100: ours are drawn from the seed by the same search. It differs in this: the answer asked
for falls where too few give it, so that any number of classes has its processes after seconds
(theirs tries up to a million candidates, and stops there); images larger than 32x32 ask the noise
to stay small at their own size, too; sums are float64, a diagonal of all images at a time.
"""

import numpy as np
import torch
from numpy.lib.stride_tricks import as_strided, sliding_window_view
from torch import Tensor

from stkit.core.rng import stream
from stkit.data import perturbation
from stkit.data.images import Images
from stkit.poisons.interface import Made
from stkit.recipes.poisons.ar import AR

WINDOW = [(row, column) for row in range(3) for column in range(3)][:8]  # what a value is made of
CROP = 4  # rows at the top and columns at the left that no image shows
SIDE, TRIALS, LARGEST = 32, 3, 50.0  # of a search: the noise's side, noises, L2 norm at most
RESPONSE = 10.0  # what a process answers the filters of others at least, as the authors ask
PATIENCE, LESS = 20, 0.9  # after so many that fail in a row, that share of it does
BLOCK = 256  # candidates drawn at a time
IMAGES = 64  # whose starts are drawn at a time


def make(images: Images, recipe: AR, *, poisoned: Tensor, seed: int) -> Made:
    """See `interface`; processes from `stream(seed, "ar-process")`, starts from
    `stream(seed, "ar")`."""
    height, width = images.pixels.shape[-2:]
    processes = search(len(images.classes), (height, width), seed)
    labels = images.labels.numpy()

    def levels(rows: slice) -> np.ndarray:
        edges = starts(rows, (height, width), seed)
        noise = run(processes[labels[rows]], edges, (height, width))
        return perturbation.grey_levels(scaled(noise, recipe), recipe.rounding)

    pixels = perturbation.add(images.pixels, poisoned, levels)
    return Made(pixels, perturbation.statistics(images.pixels, pixels, int(poisoned.sum())))


def starts(rows: slice, size: tuple[int, int], seed: int) -> np.ndarray:
    """The starts of these images, see `gaussian`; the same whatever others are asked for."""
    blocks = range(rows.start // IMAGES, (rows.stop - 1) // IMAGES + 1)
    drawn = [gaussian(IMAGES, size, stream(seed, "ar", block)) for block in blocks]
    first = rows.start - blocks.start * IMAGES
    return np.concatenate(drawn)[first : first + rows.stop - rows.start]


def gaussian(count: int, size: tuple[int, int], generator: torch.Generator) -> np.ndarray:
    """Starts for images of this size, float64 [count,3,E]: two rows, then two columns, by rows."""
    height, width = size[0] + CROP, size[1] + CROP
    edges = 2 * width + 2 * (height - 2)
    return torch.randn(count, 3, edges, generator=generator).double().numpy()


def run(processes: np.ndarray, edges: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The noise of each process from its start, cropped: float64 [n,C,H,W].

    processes: float64 [n,C,8], one channel or three; edges: float64 [n,C,E], see `gaussian`.
    """
    height, width, signals = size[0] + CROP, size[1] + CROP, edges.shape[0] * edges.shape[1]
    weights, start = processes.reshape(signals, 8).T.copy(), edges.reshape(signals, -1).T
    # Row i of diagonal d is the value at (i, d - i): what it is made of lies on earlier diagonals.
    diagonals = np.zeros((height + width - 1, height, signals))
    along, down, across = diagonals.strides
    values = as_strided(diagonals, (height, width, signals), (along + down, along, across))
    values[:2] = start[: 2 * width].reshape(2, width, signals)
    values[2:, :2] = start[2 * width :].reshape(height - 2, 2, signals)
    for d in range(4, len(diagonals)):
        first, last = max(2, d - width + 1), min(height, d - 1)
        total = diagonals[d, first:last]
        term = np.empty_like(total)
        for weight, (row, column) in zip(weights, WINDOW, strict=True):
            before = diagonals[d - 4 + row + column, first - 2 + row : last - 2 + row]
            total += np.multiply(before, weight, out=term)
    shown = values[CROP:, CROP:].reshape(*size, *edges.shape[:2])
    return np.ascontiguousarray(shown.transpose(2, 3, 0, 1))


def scaled(noise: np.ndarray, recipe: AR) -> np.ndarray:
    """Each noise [n,3,H,W] at the norm that epsilon and bound name."""
    if recipe.bound == "linf":
        share = recipe.epsilon / np.abs(noise).max((1, 2, 3))
    else:
        share = recipe.epsilon * np.sqrt(noise[0].size) / norms(noise)
    result: np.ndarray = noise * share[:, None, None, None]
    return result


def norms(noise: np.ndarray) -> np.ndarray:
    """The L2 norm of each noise [n,3,H,W]."""
    squares = np.square(noise).reshape(len(noise), noise[0].size)
    result: np.ndarray = np.sqrt(squares.sum(1))
    return result


def search(classes: int, size: tuple[int, int], seed: int) -> np.ndarray:
    """A process for each class, float64 [K,3,8], for images of this size.

    As they are drawn, one that answers the filters of all before it is kept.
    """
    kept = np.empty((classes, 3, 8))
    count, asked, failed, block = 0, RESPONSE, 0, 0
    while count < classes:
        for process, noise in candidates(seed, block, size):
            if count < classes and responses(kept[:count], noise).min(initial=np.inf) >= asked:
                kept[count], count, failed = process, count + 1, 0
            elif (failed := failed + 1) == PATIENCE:
                asked, failed = asked * LESS, 0
        block += 1
    return kept


def candidates(seed: int, block: int, size: tuple[int, int]) -> list[tuple[np.ndarray, np.ndarray]]:
    """The processes of a block whose noise stays small, each with the last of its noises.

    Small at 32x32, as the authors ask, and at the images' size where that is larger.
    """
    generator = stream(seed, "ar-process", block)
    processes = torch.randn(BLOCK, 3, 8, generator=generator).double().numpy()
    processes /= processes.sum(2, keepdims=True)
    usual, larger = (SIDE, SIDE), size[0] * size[1] > SIDE * SIDE
    # The first leaves a few of them for the larger one; the authors look at the last one's answers.
    for each in [usual, *[size] * larger, *[usual] * (TRIALS - 1)]:
        edges = gaussian(len(processes), each, generator)
        left = small(processes, edges, each)
        processes, edges = processes[left], edges[left]
        if not len(left):
            return []
    return list(zip(processes, run(processes, edges, usual), strict=True))


def small(processes: np.ndarray, edges: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The rows of the processes whose noise stays small, from these starts: int64 [n].

    A channel at a time, because most diverge in the first.
    """
    largest = (LARGEST / SIDE) ** 2 * size[0] * size[1]
    left, squares = np.arange(len(processes)), np.zeros(len(processes))
    for channel in range(3):
        one = slice(channel, channel + 1)
        with np.errstate(all="ignore"):
            squares[left] += norms(run(processes[left, one], edges[left, one], size)) ** 2
        left = left[squares[left] <= largest]
        if not len(left):
            break
    return left


def responses(processes: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """How much a noise [3,H,W], at norm 1, answers the filter of each process [n,3,8]: [n].

    The sum of what is positive in its convolution with the coefficients and -1 in the corner: 0
    for the process that it comes from.
    """
    filters = np.concatenate([processes, np.full((len(processes), 3, 1), -1.0)], 2)
    windows = sliding_window_view(noise / norms(noise[None]), (3, 3), axis=(1, 2))
    answers = np.tensordot(filters.reshape(-1, 3, 3, 3), windows, ((1, 2, 3), (0, 3, 4)))
    result: np.ndarray = answers.clip(0).sum((1, 2))
    return result
