"""Fixed preparations of the images that are trained on, made once, before any training.

| name | what it does | source |
|---|---|---|
| gray | PIL's luma in all three channels | ISS (Liu et al. 2023) |
| jpeg-Q | JPEG of quality Q and back, chroma halved; Q is 10 | ISS |
| bdr-B | the B highest bits of each channel, the rest 0; B is 2 | ISS |
| gauss-S | Gaussian blur, sigma S/10, 5x5, border mirrored; S is 15 | ST paper, A.1 (Table 5) |
| equalize | PIL's equalize: every channel uses all of its range evenly | - |
| mirror | left and right exchanged; a purifier, see `recipes.purifiers` | - |
| orthogonal-N | off the weights of a linear model, N rounds; N is 1 | Sandoval-Segura et al. 2023 |
| swap-N | what lies along these weights is exchanged among images; N is 1 | ours: `projection` |

ISS and the benchmark after it (APBench) do this in every epoch before crop and flip; since nothing
in it is random, once gives the same. A "Gaussian" of theirs, sigma 0.1 in a 3x3 kernel, changes no
8-bit image and is not here. ISS squeezes by one of these alone; here a list is done in its order.

**Test images are left as they are**, as in ISS's code (unless `ISS_both_train_test` is set, which
is off), in APBench, and with the authors of the projection (their `--project-test` is read and
never used). The ST paper counts its filter among the training augmentations.
"""

import io
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from stkit.core import arrays
from stkit.core.errors import DataError
from stkit.data.blocks import BLOCK, Step, row_count, slices
from stkit.data.images import Images
from stkit.data.projection import orthogonal, swap
from stkit.recipes.carried import preparation

KERNEL = 5

Kind = Callable[[Images, int | None, int, int | None], Step]
"""A preparation of a whole set, given the number in its name (jpeg-50), the seed, and how many of
the first images a model may be fitted on (None: all)."""


def prepare(
    images: Images,
    names: tuple[str, ...],
    *,
    seed: int = 0,
    fitted: int | None = None,
    block: int = BLOCK,
    memory: int | None = None,
) -> Images:
    """The images after each of these preparations, in this order, as new 8-bit images.

    names: of `carried.PREPARATIONS`, such as "gray" or "jpeg-50". seed: decides where the linear
    models of `orthogonal` start, and which images `swap` pairs. fitted: they are trained on so many
    of the first images; None: on all. block: pixel values worked on at a time. memory: bytes of it,
    see `arrays.fits`; the new pixels lie in a file where they do not fit. The header is that of
    `images` without its digest. RecipeError: an unknown name, a number out of its range.
    DataError: images that are too small, or of one class where two are needed.
    """
    kinds = [preparation(name) for name in names]
    if not kinds:
        return images
    shape = tuple(images.pixels.shape)
    made = torch.from_numpy(arrays.zeros(shape, np.uint8, memory))
    for kind, value in kinds:
        step = KINDS[kind](images, value, seed, fitted)
        for rows in slices(len(made), row_count(made, block)):
            made[rows] = step(images.pixels[rows], rows)
        images = replace(images, pixels=made, header={**images.header, "digest": ""})
    return images


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

    some = slices(len(block), max(1, BLOCK // (3 * 256)))
    return torch.cat([equalize(block[rows]) for rows in some])


def _blur(block: Tensor, sigma: float) -> Tensor:
    from torchvision.transforms.functional import gaussian_blur

    blurred: Tensor = gaussian_blur(block, [KERNEL, KERNEL], [sigma, sigma])
    return blurred


def _gauss(images: Images, value: int | None, seed: int, fitted: int | None) -> Step:
    """The blur of images that are large enough for their border to be mirrored."""
    height, width = images.pixels.shape[-2:]
    least = KERNEL // 2 + 1
    if min(height, width) < least:
        raise DataError(
            f"gauss: found images of {width}x{height}, expected {least}x{least} or more; take "
            "another preparation, or larger images: stkit data SOURCE --size N -o FILE"
        )
    assert value is not None
    sigma = value / 10
    return lambda block, rows: _blur(block, sigma)


def _fixed(kernel: Callable[[Tensor], Tensor]) -> Kind:
    """A preparation without a number."""
    return lambda images, value, seed, fitted: lambda block, rows: kernel(block)


def _numbered(kernel: Callable[[Tensor, int], Tensor]) -> Kind:
    """A preparation with a number in its name, or that number's default."""

    def kind(images: Images, value: int | None, seed: int, fitted: int | None) -> Step:
        assert value is not None
        return lambda block, rows: kernel(block, value)

    return kind


KINDS: dict[str, Kind] = {
    "gray": _fixed(_gray),
    "jpeg": _numbered(_jpeg),
    "bdr": _numbered(_bdr),
    "gauss": _gauss,
    "equalize": _fixed(_equalize),
    "mirror": _fixed(lambda block: block.flip(-1)),
    "orthogonal": orthogonal,
    "swap": swap,
}
"""The kernel of each of `carried.PREPARATIONS`; a new one has its row there, and one here."""
