"""What AutoAugment and TrivialAugment do, on batches, each image with its own operation.

The operations are torchvision's on uint8 tensors, in whole grey levels; PIL's differ (see
docs/differences.md). An operation is one of three things, and each of these is done to the whole
batch at once, so nothing depends on who drew what: a change of place (nearest pixel, black
outside), a table of 256 values for each channel of each image, or a blend with a picture made from
the image. Where an image drew another kind, that step is the identity. At 32 px and a batch of 128
on one CPU core, one operation costs about as much as the colour jitter.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from stkit.engine.augment.colour import luma_of

OPERATIONS = (
    "identity", "shear-x", "shear-y", "translate-x", "translate-y", "rotate", "brightness",
    "contrast", "posterize", "solarize", "autocontrast", "equalize", "invert", "colour",
    "sharpness",
)  # fmt: skip
"""A magnitude is a tangent, pixels, radians, what is added to factor 1, bits, or a level."""
CODE = {name: code for code, name in enumerate(OPERATIONS)}
LEVELS = 256


def operate(images: Tensor, codes: Tensor, magnitudes: Tensor) -> Tensor:
    """Float [N,3,H,W] in [0,1] after S operations [N,S] of these magnitudes [N,S], in their order.

    Images with an operation come out as whole grey levels, the others as they were. No gradient.
    """
    with torch.no_grad():
        levels = (images.float() * 255).round()
        pairs = zip(torch.split(codes, 1, 1), torch.split(magnitudes, 1, 1), strict=True)
        for code, magnitude in pairs:
            code, magnitude = code[:, :, None, None], magnitude[:, :, None, None]
            levels = _placed(levels, code, magnitude)
            levels = _looked_up(levels, code, magnitude)
            levels = _blended(levels, code, magnitude)
        changed = (codes != CODE["identity"]).any(1)[:, None, None, None]
    return torch.where(changed, (levels / 255).to(images.dtype), images)


def _only(name: str, code: Tensor, magnitude: Tensor) -> Tensor:
    """The magnitude of the images that drew this operation, 0 for the others."""
    return torch.where(code == CODE[name], magnitude, 0)


def _placed(levels: Tensor, code: Tensor, magnitude: Tensor) -> Tensor:
    """Shear, translate and rotate: for each pixel the nearest to where it comes from.

    As torchvision's: rotation about the centre, shears that keep the first row or column's edge.
    """
    side = levels.shape[-1]
    angle = _only("rotate", code, magnitude)
    shear_x, shear_y, move_x, move_y = (
        _only(name, code, magnitude) for name in OPERATIONS[1:5]
    )  # fmt: skip
    steps = torch.arange(side, dtype=torch.float32, device=levels.device) - (side - 1) / 2
    x, y = steps, steps[:, None]
    cosine, sine = angle.cos(), angle.sin()
    from_x = cosine * x + (shear_x - sine) * y + (shear_x * (side / 2) - move_x)
    from_y = (sine + shear_y) * x + cosine * y + (shear_y * (side / 2) - move_y)
    column, row = ((p + (side - 1) / 2).round().long() for p in (from_x, from_y))
    inside = (column >= 0) & (column < side) & (row >= 0) & (row < side)
    place = row.clamp(0, side - 1) * side + column.clamp(0, side - 1)
    taken = levels.flatten(2).gather(2, place.flatten(2).expand(-1, levels.shape[1], -1))
    return taken.view_as(levels) * inside


def _looked_up(levels: Tensor, code: Tensor, magnitude: Tensor) -> Tensor:
    """Brightness, contrast, posterize, solarize, autocontrast, equalize and invert."""
    table = torch.arange(LEVELS, dtype=torch.float32, device=levels.device).expand(
        *levels.shape[:2], LEVELS
    )
    code, magnitude = code[:, 0], magnitude[:, 0]
    mean = luma_of(levels).floor().mean((1, 2, 3))[:, None, None]
    target = torch.where(code == CODE["contrast"], mean, 0)
    bits = torch.exp2(8 - magnitude)
    for name, values in (
        ("brightness", _blend(table, magnitude, torch.zeros_like(table))),
        ("contrast", _blend(table, magnitude, target)),
        ("posterize", (table / bits).floor() * bits),
        ("solarize", torch.where(table >= magnitude, 255 - table, table)),
        ("autocontrast", _stretched(levels, table)),
        ("equalize", _equalized(levels, table)),
        ("invert", 255 - table),
    ):
        table = torch.where(code == CODE[name], values, table)
    return table.gather(2, levels.flatten(2).long()).view_as(levels)


def _stretched(levels: Tensor, table: Tensor) -> Tensor:
    """Each channel's darkest level to 0 and its lightest to 255; one level only stays."""
    low, high = (end.flatten(1)[:, :, None] for end in (levels.amin((2, 3)), levels.amax((2, 3))))
    scale = 255 / (high - low)
    stretched = ((table - low) * scale).clamp(0, 255).floor()
    return torch.where(high > low, stretched, table)


def _equalized(levels: Tensor, table: Tensor) -> Tensor:
    """Each channel's histogram made even, by PIL's whole-number rule."""
    flat = levels.flatten(2).long()
    counts = torch.zeros_like(table).scatter_add_(2, flat, torch.ones_like(levels).flatten(2))
    most = counts.gather(2, flat.amax(2, keepdim=True))  # how often the lightest level occurs
    step = ((flat.shape[2] - most) / 255).floor()
    below = F.pad(counts.cumsum(2), (1, -1))
    even = ((below + (step / 2).floor()) / step).floor().clamp(0, 255)
    return torch.where(step > 0, even, table)


def _blended(levels: Tensor, code: Tensor, magnitude: Tensor) -> Tensor:
    """Colour and sharpness: away from the grey picture, or from the smoothed one."""
    sharp = code == CODE["sharpness"]
    either = sharp | (code == CODE["colour"])
    target = torch.where(sharp, _smoothed(levels), luma_of(levels).floor())
    return torch.where(either, _blend(levels, magnitude, target), levels)


def _smoothed(levels: Tensor) -> Tensor:
    """The mean of each pixel and its neighbours, itself five times; the border stays."""
    if levels.shape[-1] <= 2:
        return levels
    total = F.avg_pool2d(levels, 3, 1, divisor_override=1) + 4 * levels[:, :, 1:-1, 1:-1]
    smooth = levels.clone()
    smooth[:, :, 1:-1, 1:-1] = (total / 13).round()
    return smooth


def _blend(levels: Tensor, magnitude: Tensor, target: Tensor) -> Tensor:
    """(1 + magnitude) levels - magnitude target, cut to whole levels in [0,255]."""
    return ((1 + magnitude) * levels + (-magnitude) * target).clamp(0, 255).floor()
