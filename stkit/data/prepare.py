"""What is done to the published images once, before any training: fixed preparations.

| name | what it does | source |
|---|---|---|
| gray | PIL's luma in all three channels | ISS (Liu et al. 2023) |
| jpeg-Q | JPEG of quality Q and back, chroma halved; Q is 10 | ISS |
| bdr-B | the B highest bits of each channel, the rest 0; B is 2 | ISS |
| gauss | Gaussian blur, sigma 1.5, kernel 5x5, border mirrored | ST paper, A.1 (Table 5) |
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
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from stkit.core import arrays
from stkit.core.rng import stream
from stkit.data.images import Images, to_float, to_uint8
from stkit.recipes.carried import preparation

BLOCK = 1 << 22  # pixel values worked on at a time: 16 MiB as floats
SIGMA, KERNEL = 1.5, 5
EPOCHS, BATCH, BATCHES, RATE = 20, 1024, 48, 0.1

Step = Callable[[Tensor], Tensor]  # uint8 [n,3,H,W] -> the same


def prepare(images: Images, names: tuple[str, ...], *, seed: int = 0) -> Images:
    """The images after each of these preparations, in this order, as new 8-bit images.

    seed: decides where the linear model of `orthogonal` starts. In memory, or in a file where they
    do not fit; the header is the published one's without its digest. RecipeError: unknown name.
    """
    kinds = [preparation(name) for name in names]
    if not kinds:
        return images
    pixels, made = images.pixels, torch.from_numpy(arrays.zeros(images.pixels.shape, np.uint8))
    rows = _block(pixels)
    for kind, value in kinds:
        work = _step(kind, value, pixels, images, seed)
        for old, new in zip(pixels.split(rows), made.split(rows), strict=True):
            new.copy_(work(old))
        pixels = made
    return replace(images, pixels=made, header={**images.header, "digest": ""})


def _block(pixels: Tensor) -> int:
    """How many images are worked on at a time."""
    return max(1, BLOCK // pixels[0].numel())


def _step(kind: str, value: int | None, pixels: Tensor, images: Images, seed: int) -> Step:
    if kind == "gray":
        return _gray
    if kind == "gauss":
        return _blur
    if kind == "orthogonal":
        basis = directions(pixels, images.labels, len(images.classes), seed=seed)
        return partial(project, basis=basis)
    assert value is not None
    return partial(_jpeg if kind == "jpeg" else _bdr, value=value)


def _gray(block: Tensor) -> Tensor:
    """PIL's `convert("L")`: whole numbers, rounded."""
    red, green, blue = block.int().split(1, 1)
    luma = (19595 * red + 38470 * green + 7471 * blue + (1 << 15)) >> 16
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
        new[:] = Image.open(file)
    return torch.from_numpy(out).permute(0, 3, 1, 2)


def _blur(block: Tensor) -> Tensor:
    from torchvision.transforms.functional import gaussian_blur

    return gaussian_blur(block, [KERNEL, KERNEL], [SIGMA, SIGMA])


def directions(pixels: Tensor, labels: Tensor, classes: int, *, seed: int) -> Tensor:
    """Train the linear model on images uint8 [N,3,H,W]: an orthonormal basis of the span of its
    weight vectors, float32 [3HW,classes]."""
    width = pixels[0].numel()
    generator = stream(seed, "orthogonal")
    bound = 1 / math.sqrt(width)  # PyTorch's start of a linear layer
    weight = bound * (2 * torch.rand(classes, width, generator=generator) - 1)
    size = max(1, min(BATCH, len(pixels) // BATCHES))
    targets = torch.nn.functional.one_hot(labels, classes).float()
    for epoch in range(EPOCHS):
        rate = RATE * 0.1 ** ((epoch >= EPOCHS // 2) + (epoch >= EPOCHS * 3 // 4))
        for batch, wanted in zip(pixels.split(size), targets.split(size), strict=True):
            weight -= rate / len(batch) * _slope(weight, batch, wanted)
    return torch.linalg.qr(weight.double().T).Q.float()


def _slope(weight: Tensor, pixels: Tensor, wanted: Tensor) -> Tensor:
    """The gradient of the summed cross-entropy of a batch, in parts, as large images need."""
    total, rows = torch.zeros_like(weight), _block(pixels)
    for part, target in zip(pixels.split(rows), wanted.split(rows), strict=True):
        x = to_float(part).flatten(1)
        total += ((x @ weight.T).softmax(1) - target).T @ x
    return total


def project(block: Tensor, basis: Tensor) -> Tensor:
    """Images uint8 [n,3,H,W] without their components along an orthonormal basis [3HW,K]."""
    x = to_float(block).flatten(1)
    return to_uint8(x - (x @ basis) @ basis.T).view_as(block)
