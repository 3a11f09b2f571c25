"""Batched augmentation on the device: crop, flip, colour jitter and grey, one draw per image.

CG is the ST paper's colour jitter (p 0.8) and grey (p 0.2); it gives no strengths, so these are
SimCLR's, 0.4, 0.4, 0.4 and 0.1. Drawing is apart from applying: `draw` makes one small table on the
generator's device, `apply` is a function of images and table that never waits for the device, so
that it can be captured in a CUDA graph, and that gradients pass through (REM's expectation over
transformations).

Same distributions and arithmetic as torchvision's RandomCrop(padding=4), RandomHorizontalFlip,
RandomApply([ColorJitter], 0.8), RandomGrayscale(0.2) on float tensors, each image with its own
draw. Differences: the hue is computed by another formula, closer to the exact value in float32 than
torchvision's; above 64 px the crop is RandomResizedCrop with positions in float32, which moves a
pixel by some 1e-5.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from stkit.recipes import choose

NAMES = ("crop", "flip", "jitter", "grey")
"""Every augmentation, in the order in which `apply` takes them."""
PAD = 4
LARGEST_PADDED = 64  # px; larger images get a random resized crop instead of a padded one
STRENGTH, HUE_STRENGTH = 0.4, 0.1
BRIGHTNESS, CONTRAST, SATURATION, HUE = range(4)  # what the columns `order` count
COLUMNS = {
    "top": slice(0, 1), "left": slice(1, 2), "height": slice(2, 3), "width": slice(3, 4),
    "flip": slice(4, 5), "jitter": slice(5, 6), "factors": slice(6, 9), "hue": slice(9, 10),
    "order": slice(10, 14), "grey": slice(14, 15),
}  # fmt: skip


@dataclass(frozen=True)
class Draws:
    """One random draw for each image: names, the side in pixels, and float32 table [N, 15].

    All columns are drawn whatever the names, so frames share their crops. Rows may be taken
    (`replace(draws, table=draws.table[rows])`), or copied into a captured step's table.
    """

    names: tuple[str, ...]
    size: int
    table: Tensor

    def __getitem__(self, column: str) -> Tensor:
        """The columns of that name, [N, 1 to 4]; flip, jitter and grey are 0 or 1."""
        return self.table[:, COLUMNS[column]]


def draw(
    names: tuple[str, ...],
    count: int,
    size: int,
    generator: torch.Generator,
    device: torch.device | str | None = None,
) -> Draws:
    """Draws for `count` images of size x size; on `device`, or where the generator is.

    RecipeError for a name that is not one of `NAMES`.
    """
    for name in names:
        choose("augmentation", name, NAMES)
    u = torch.rand(count, 13, generator=generator, device=generator.device)
    if size > LARGEST_PADDED:
        box = _resized_box(u[:, :2], size, generator)
    else:
        box = torch.cat(((u[:, :2] * (2 * PAD + 1)).floor(), torch.full_like(u[:, :2], size)), 1)
    parts = (
        box,
        u[:, 2:3] < 0.5,  # flip
        u[:, 3:4] < 0.8,  # jitter
        1 + STRENGTH * (2 * u[:, 4:7] - 1),  # factors of brightness, contrast, saturation
        HUE_STRENGTH * (2 * u[:, 7:8] - 1),
        u[:, 8:12].argsort(1),  # order: which operation comes first, second, third, fourth
        u[:, 12:13] < 0.2,  # grey
    )
    table = torch.cat([part.float() for part in parts], 1)
    return Draws(names, size, table.to(device or generator.device, non_blocking=True))


def apply(images: Tensor, draws: Draws) -> Tensor:
    """Float [N,3,H,W] in [0,1] -> the same shape, augmented; differentiable, no synchronisation.

    Crop and flip are linear and take any range. An image that the draw leaves out keeps its bits.
    """
    assert images.shape[2:] == (draws.size, draws.size) and len(images) == len(draws.table)
    if "crop" in draws.names and draws.size > LARGEST_PADDED:
        images = _resized_crop(images, draws)
    elif "crop" in draws.names or "flip" in draws.names:
        images = _padded_crop(images, draws)
    if "jitter" in draws.names:
        gate = draws["jitter"].to(images.dtype)[:, :, None, None]
        # lerp, unlike where, is vectorised on CPUs, and at 0 and 1 it is exactly one of the two
        images = torch.lerp(images, _jitter(images, draws), gate)
    if "grey" in draws.names:
        gate = draws["grey"].to(images.dtype)[:, :, None, None]
        images = torch.lerp(images, _grey(images).expand_as(images), gate)
    return images


def augment(images: Tensor, names: tuple[str, ...], generator: torch.Generator) -> Tensor:
    """Draw and apply: float [N,3,H,W] in [0,1] -> the same shape."""
    return apply(images, draw(names, len(images), images.shape[-1], generator, images.device))


def _resized_box(place: Tensor, size: int, generator: torch.Generator) -> Tensor:
    """top, left, height, width [N,4] of RandomResizedCrop: scale 0.08 to 1, ratio 3/4 to 4/3.

    As torchvision's: the first of ten tries that fits, else the whole (square) image.
    """
    u = torch.rand(len(place), 10, 2, generator=generator, device=place.device)
    area = size * size * (0.08 + 0.92 * u[:, :, 0])
    ratio = torch.exp(math.log(4 / 3) * (2 * u[:, :, 1] - 1))
    sides = torch.stack(((area / ratio).sqrt(), (area * ratio).sqrt()), 2).round()
    fits = ((sides > 0) & (sides <= size)).all(2)
    first = fits.int().argmax(1, keepdim=True)
    chosen = sides.gather(1, first[:, :, None].expand(-1, -1, 2)).squeeze(1)
    chosen = torch.where(fits.any(1, keepdim=True), chosen, size)
    return torch.cat(((place * (size - chosen + 1)).floor(), chosen), 1)


def _columns(draws: Draws, device: torch.device) -> Tensor:
    """Which column of its crop each output column shows, float [N,W]: in order, or flipped."""
    steps = torch.arange(draws.size, dtype=torch.float32, device=device)
    steps = steps.expand(len(draws.table), -1)
    return torch.lerp(steps, steps.flip(1), draws["flip"]) if "flip" in draws.names else steps


def _padded_crop(images: Tensor, draws: Draws) -> Tensor:
    """Crop and flip in one gather; it reads each padded pixel at most once, so backward is exact.

    One flat gather measured fastest: three to four times the speed of advanced indexing on a CPU,
    and six times backward.
    """
    size, columns = draws.size, _columns(draws, images.device).long()
    rows = torch.arange(size, device=images.device).expand_as(columns)
    pad = 0
    if "crop" in draws.names:
        pad = PAD
        rows, columns = rows + draws["top"].long(), columns + draws["left"].long()
    canvas = F.pad(images, (pad,) * 4)
    index = rows[:, :, None] * canvas.shape[-1] + columns[:, None, :]
    taken = canvas.flatten(2).gather(2, index.flatten(1)[:, None].expand(-1, 3, -1))
    return taken.view_as(images)


def _resized_crop(images: Tensor, draws: Draws) -> Tensor:
    """Bilinear crop and flip as two products with interpolation matrices.

    A crop is never larger than its image, so antialiasing, which torchvision has on, has nothing
    to do. Matrices, for their backward adds in a fixed order; that of grid_sample does not on GPUs.
    """
    steps = torch.arange(draws.size, dtype=images.dtype, device=images.device)
    rows = _taps(steps.expand(len(images), -1), draws["height"], draws["top"], steps)
    columns = _taps(_columns(draws, images.device), draws["width"], draws["left"], steps)
    with torch.autocast(images.device.type, enabled=False):
        return rows[:, None] @ (images @ columns.transpose(1, 2)[:, None])


def _taps(shown: Tensor, extent: Tensor, offset: Tensor, steps: Tensor) -> Tensor:
    """Weights [N, out, in]: output step i lies at (i + 0.5) extent / size - 0.5 inside its crop."""
    inside = (shown + 0.5) * (extent / len(steps)) - 0.5
    position = torch.minimum(inside.clamp_min(0), extent - 1) + offset
    return (1 - (position[:, :, None] - steps).abs()).clamp_min(0).to(steps.dtype)


def _grey(images: Tensor) -> Tensor:
    """[N,3,H,W] -> luma [N,1,H,W] with torchvision's weights."""
    red, green, blue = images.split(1, 1)
    return torch.add(torch.add(0.2989 * red, green, alpha=0.587), blue, alpha=0.114)


def _jitter(images: Tensor, draws: Draws) -> Tensor:
    """The four operations in each image's own order.

    The hue stands at one of four places, so three blends come before it and three after it, and
    those that are not an image's turn have factor 1, which is the identity.
    """
    before, after = _blends(draws, images.dtype)
    for factor, mean, grey in before:
        images = _blend(images, factor, mean, grey)
    images = _turn_hue(images, draws["hue"].to(images.dtype)[:, :, None, None])
    for factor, mean, grey in after:
        images = _blend(images, factor, mean, grey)
    return images


def _blends(draws: Draws, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Weights of the three blends before and the three after the hue, each [3, 3, N,1,1,1]."""
    order = draws["order"].long()
    is_hue = order == HUE
    passed = is_hue.cumsum(1) > 0
    factor = F.pad(draws["factors"], (0, 1), value=1).gather(1, order).to(dtype)
    halves = []
    for active, places in ((~passed, slice(0, 3)), (passed & ~is_hue, slice(1, 4))):
        own = torch.where(active, factor, 1)[:, places]
        kind = order[:, places]
        mean, grey = (1 - own) * (kind == CONTRAST), (1 - own) * (kind == SATURATION)
        halves.append(torch.stack((own, mean, grey)).permute(2, 0, 1)[..., None, None, None])
    return halves[0], halves[1]


def _blend(images: Tensor, factor: Tensor, mean: Tensor, grey: Tensor) -> Tensor:
    """factor * images + (1 - factor) * target, in [0,1].

    The target is black (brightness), the image's mean luma (contrast) or each pixel's luma
    (saturation): `mean` and `grey` are 1 - factor where it is theirs, else 0.
    """
    luma = _grey(images)
    target = torch.addcmul(mean * luma.mean((2, 3), keepdim=True), grey, luma)
    return torch.addcmul(target, factor, images).clamp(0, 1)


def _turn_hue(images: Tensor, turn: Tensor) -> Tensor:
    """Turn the hue by `turn` (1 is a full circle), value and saturation kept.

    The angle is counted from cyan, in sixths of a circle: red is at 3 or -3, green at -1, blue at
    1. Then |angle| = 1 + (max + red - green - blue) / chroma, negative on green's half, and each
    channel is max - chroma * (a hat of the angle): no branch, no mask, one division. A grey pixel
    has chroma 0 and stays as it is, with finite gradients.
    """
    red, green, blue = images.split(1, 1)
    top = images.amax(1, keepdim=True)
    chroma = top - images.amin(1, keepdim=True)
    # 1e-12: far below what a pixel can show, and 1/1e-12 still squares to a finite float32
    angle = 1 + ((top - green) + (red - blue)) / chroma.clamp_min(1e-12)
    angle = torch.copysign(angle, blue - green) + 6 * turn
    angle = angle - 6 * torch.round(angle / 6)
    missing = torch.cat((2 - angle.abs(), (angle + 1).abs() - 1, (angle - 1).abs() - 1), 1)
    return top - chroma * missing.clamp(0, 1)
