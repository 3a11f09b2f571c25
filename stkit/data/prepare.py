"""Fixed preparations of the images that are trained on, made once, before any training.

| name | what it does | source |
|---|---|---|
| gray | PIL's luma in all three channels | ISS (Liu et al. 2023) |
| jpeg-Q | JPEG of quality Q and back, chroma halved; Q is 10 | ISS |
| bdr-B | the B highest bits of each channel, the rest 0; B is 2 | ISS |
| gauss | Gaussian blur, sigma 1.5, kernel 5x5, border mirrored | ST paper, A.1 (Table 5) |
| equalize | PIL's equalize: every channel uses all of its range evenly | - |
| orthogonal | projected off the weights of a linear model | Sandoval-Segura et al. 2023 |

ISS and the benchmark after it (APBench) do this in every epoch before crop and flip; since nothing
in it is random, once gives the same. A "Gaussian" of theirs, sigma 0.1 in a 3x3 kernel, changes no
8-bit image and is not here. ISS squeezes by one of these alone; here a list is done in its order.

**Test images are left as they are**, as in ISS's code (unless `ISS_both_train_test` is set, which
is off), in APBench, and with the authors of the projection (their `--project-test` is read and
never used). The ST paper counts its filter among the training augmentations.

The projection follows the authors' code: a linear layer without bias on pixels in [0,1], SGD with
rate 0.1, divided by ten after half and after three quarters of 20 epochs, batches of 1,024 in the
file's order; then every image loses its components along the layer's K weight vectors, by QR.
Differences: theirs goes on with floats of any range, ours are 8-bit images again, clipped; and
below 48 batches of 1,024 a batch is a 48th of the images, as CIFAR-10 has 48 (and a rest): with
one or two steps an epoch the layer would hardly leave its random start.
"""

import io
import math
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from stkit.core import arrays
from stkit.core.errors import DataError
from stkit.core.rng import stream
from stkit.data.images import Images, to_float, to_uint8
from stkit.data.threads import one_thread
from stkit.recipes.carried import preparation

BLOCK = 1 << 22  # pixel values worked on at a time: 16 MiB as floats
SIGMA, KERNEL = 1.5, 5
EPOCHS, BATCH, BATCHES, RATE = 20, 1024, 48, 0.1

Step = Callable[[Tensor], Tensor]  # uint8 [n,3,H,W] -> the same
Kind = Callable[[Images, int | None, int], Step]
"""A preparation of a whole set, given the number in its name (jpeg-50) and the seed."""


def prepare(
    images: Images,
    names: tuple[str, ...],
    *,
    seed: int = 0,
    block: int = BLOCK,
    memory: int | None = None,
) -> Images:
    """The images after each of these preparations, in this order, as new 8-bit images.

    names: of `carried.PREPARATIONS`, such as "gray" or "jpeg-50". seed: decides where the linear
    model of `orthogonal` starts. block: pixel values worked on at a time. memory: bytes of it, see
    `arrays.fits`; the new pixels lie in a file where they do not fit. The header is that of
    `images` without its digest. RecipeError: an unknown name, a number out of its range.
    DataError: images that are too small.
    """
    kinds = [preparation(name) for name in names]
    if not kinds:
        return images
    shape = tuple(images.pixels.shape)
    made = torch.from_numpy(arrays.zeros(shape, np.uint8, memory))
    for kind, value in kinds:
        step = KINDS[kind](images, value, seed)
        for rows in _slices(len(made), _rows(made, block)):
            made[rows] = step(images.pixels[rows])
        images = replace(images, pixels=made, header={**images.header, "digest": ""})
    return images


def _rows(pixels: Tensor, block: int = BLOCK) -> int:
    """The number of images that have about so many pixel values together."""
    return max(1, block // pixels[0].numel())


def _slices(count: int, rows: int) -> Iterator[slice]:
    """Slices of so many consecutive rows each that cover `count`; the last may be shorter."""
    return (slice(start, min(start + rows, count)) for start in range(0, count, rows))


def _gray(block: Tensor) -> Tensor:
    """PIL's `convert("L")`: whole numbers, rounded."""
    red, green, blue = (block[:, channel, None].int() for channel in range(3))
    luma: Tensor = (19595 * red + 38470 * green + 7471 * blue + (1 << 15)) >> 16
    return luma.to(torch.uint8).expand_as(block)


def _bdr(block: Tensor, value: int) -> Tensor:
    """PIL's posterize to so many bits."""
    return block & (256 - (1 << (8 - value)))


def _jpeg(block: Tensor, value: int) -> Tensor:
    """Each image through PIL's `save` at this quality and `open`.

    One after another: at 32 px, 4,600 a second, threads measured no gain, at 224 px a third.
    """
    rows = np.ascontiguousarray(block.permute(0, 2, 3, 1).numpy())
    out = np.empty_like(rows)
    for old, new in zip(rows, out, strict=True):
        file = io.BytesIO()
        Image.fromarray(old).save(file, "JPEG", quality=value)
        new[:] = Image.open(file, formats=("JPEG",))
    return torch.from_numpy(out).permute(0, 3, 1, 2)


def _equalize(block: Tensor) -> Tensor:
    """PIL's `equalize`, by torchvision: whole numbers only, six times as fast at 32 px.

    It holds a table of 256 numbers a channel, so of small images fewer are done at a time.
    """
    from torchvision.transforms.v2.functional import equalize

    some = _slices(len(block), max(1, BLOCK // (3 * 256)))
    return torch.cat([equalize(block[rows]) for rows in some])


def _blur(block: Tensor) -> Tensor:
    from torchvision.transforms.functional import gaussian_blur

    blurred: Tensor = gaussian_blur(block, [KERNEL, KERNEL], [SIGMA, SIGMA])
    return blurred


def _gauss(images: Images, value: int | None, seed: int) -> Step:
    """The blur of images that are large enough for their border to be mirrored."""
    height, width = images.pixels.shape[-2:]
    least = KERNEL // 2 + 1
    if min(height, width) < least:
        raise DataError(
            f"gauss: found images of {width}x{height}, expected {least}x{least} or more; take "
            "another preparation, or larger images: stkit data SOURCE --size N -o FILE"
        )
    return _blur


def directions(
    pixels: Tensor,
    labels: Tensor,
    classes: int,
    *,
    seed: int,
    epochs: int = EPOCHS,
    batches: int = BATCHES,
) -> Tensor:
    """An orthonormal basis, float32 [3HW,classes], of the weights of a linear model, trained here.

    pixels: uint8 [N,3,H,W]. labels: int64 [N]. epochs: of its training. batches: a batch is this
    part of the images, at most 1,024.
    """
    width = pixels[0].numel()
    generator = stream(seed, "orthogonal")
    bound = 1 / math.sqrt(width)  # PyTorch's start of a linear layer
    weight = bound * (2 * torch.rand(classes, width, generator=generator) - 1)
    size = max(1, min(BATCH, len(pixels) // batches))
    targets = torch.nn.functional.one_hot(labels, classes).float()
    for epoch in range(epochs):
        rate = RATE * 0.1 ** ((epoch >= epochs // 2) + (epoch >= epochs * 3 // 4))
        for rows in _slices(len(pixels), size):
            slope = _slope(weight, pixels[rows], targets[rows])
            weight -= rate / len(pixels[rows]) * slope
    basis: Tensor = torch.linalg.qr(weight.double().T).Q.float()
    return basis


def _slope(weight: Tensor, pixels: Tensor, targets: Tensor) -> Tensor:
    """The gradient of the summed cross-entropy of a batch, in blocks, as large images need."""
    total = torch.zeros_like(weight)
    for rows in _slices(len(pixels), _rows(pixels)):
        x = to_float(pixels[rows]).flatten(1)
        total += ((x @ weight.T).softmax(1) - targets[rows]).T @ x
    return total


def project(block: Tensor, basis: Tensor) -> Tensor:
    """Images uint8 [n,3,H,W] without their components along an orthonormal basis [3HW,K]."""
    x = to_float(block).flatten(1)
    return to_uint8(x - (x @ basis) @ basis.T).view_as(block)


def _orthogonal(images: Images, value: int | None, seed: int) -> Step:
    with one_thread():
        basis = directions(images.pixels, images.labels, len(images.classes), seed=seed)

    def step(block: Tensor) -> Tensor:
        with one_thread():
            return project(block, basis)

    return step


def _fixed(step: Step) -> Kind:
    """A preparation without a number."""
    return lambda images, value, seed: step


def _numbered(kernel: Callable[[Tensor, int], Tensor]) -> Kind:
    """A preparation with a number in its name, or that number's default."""

    def kind(images: Images, value: int | None, seed: int) -> Step:
        assert value is not None
        return lambda block: kernel(block, value)

    return kind


KINDS: dict[str, Kind] = {
    "gray": _fixed(_gray),
    "jpeg": _numbered(_jpeg),
    "bdr": _numbered(_bdr),
    "gauss": _gauss,
    "equalize": _fixed(_equalize),
    "orthogonal": _orthogonal,
}
"""The kernel of each of `carried.PREPARATIONS`; a new one has its row there, and one here."""
