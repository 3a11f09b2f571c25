"""Drawing, apart from applying.

Names that came later draw after the older ones, from the same generator, so a frame's crops, flips
and colours do not depend on what else it carries.
"""

import math

import torch
from torch import Tensor

from stkit.core.checks import choose
from stkit.engine.augment import policies
from stkit.engine.augment.draws import LARGEST_PADDED, PAD, Draws
from stkit.recipes.carried import AUGMENTATIONS, CG

STRENGTH, HUE_STRENGTH = 0.4, 0.1
ROUGHNESS, INTENSITY = (0.3, 0.7), (0.5, 1.0)  # of UEraser's plasma


def draw(
    names: tuple[str, ...],
    count: int,
    size: int,
    generator: torch.Generator,
    device: torch.device | str | None = None,
    *,
    strength: float = 1.0,
) -> Draws:
    """Draws for `count` images of size x size; on `device`, or where the generator is.

    strength: of the colour jitter; at 1 brightness, contrast and saturation change by up to 0.4 and
    the hue by 0.1. RecipeError for a name that is not one of `NAMES`.
    """
    for name in names:
        choose("augmentation", name, AUGMENTATIONS)
    change = strength * STRENGTH  # of brightness, contrast, saturation
    u = torch.rand(count, 13, generator=generator, device=generator.device)
    if size > LARGEST_PADDED:
        box = _resized_box(u[:, :2], size, generator)
    else:
        box = torch.cat(((u[:, :2] * (2 * PAD + 1)).floor(), torch.full_like(u[:, :2], size)), 1)
    parts = [
        box,
        u[:, 2:3] < 0.5,  # flip
        u[:, 3:4] < 0.8,  # jitter
        (1 + change * (2 * u[:, 4:7] - 1)).clamp_min(0),  # factors of the three
        (strength * HUE_STRENGTH * (2 * u[:, 7:8] - 1)).clamp(-0.5, 0.5),
        u[:, 8:12].argsort(1),  # order: which operation comes first, second, third, fourth
        u[:, 12:13] < 0.2,  # grey
    ]
    if not set(names) <= set(CG):
        parts += _more(torch.rand(count, 20, generator=generator, device=u.device), size)
    table = torch.cat([part.float() for part in parts], 1)
    return Draws(names, size, table.to(device or generator.device, non_blocking=True))


def _more(u: Tensor, size: int) -> list[Tensor]:
    """The columns of what is neither crop nor flip nor colour, from uniform [N,20]."""
    low, high = ROUGHNESS
    least, most = INTENSITY
    return [
        (u[:, :2] * size).floor(),  # hole: row and column of its centre
        u[:, 2:3] < 0.5,  # shuffle
        u[:, 3:6].argsort(1),  # channels
        u[:, 6:8] < 0.5,  # plasma: brightness, contrast
        low + (high - low) * u[:, 8:10],  # roughness of both
        least + (most - least) * u[:, 10:11],  # intensity of the brightness
        (u[:, 11:13] * 2**24).floor(),  # seeds of both: as many values as float32 counts
        policies.draw_auto(u[:, 13:18], size),
        policies.draw_trivial(u[:, 18:20], size),
    ]


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
