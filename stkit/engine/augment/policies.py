"""AutoAugment and TrivialAugment on batches: each image gets the operations that it drew.

Everything is counted in whole grey levels, as torchvision's operations on uint8 images do. An
operation is one of three things, and each of these is done to the whole batch at once, so nothing
depends on who drew what: a change of place (nearest pixel, black outside), a table of 256 values
for each channel of each image, or a blend with a picture made from the image. Where an image drew
another kind, that step is the identity. At 32 px and a batch of 128 on one CPU core, one operation
costs about as much as the colour jitter.

AutoAugment (Cubuk et al. 2019): torchvision's AutoAugment(CIFAR10), which draws once for a whole
batch of tensors; here once an image.

TrivialAugment (Mueller and Hutter 2021), as UEraser (Qin et al. 2023) has it: the operations and
ranges of kornia's policy, without identity and colour. Differences from kornia: one operation an
image, where kornia draws one for the batch; operations as PIL defines them; both signs, and shears
of that size, where kornia's are drawn positive and shears are of hundredths of a degree; 1 to 4
bits, as 0 bits is a black image.
"""

import math
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from stkit.engine.augment.colour import luma_of

OPERATIONS = (
    "identity", "shear-x", "shear-y", "translate-x", "translate-y", "rotate", "brightness",
    "contrast", "posterize", "solarize", "autocontrast", "equalize", "invert", "colour",
    "sharpness",
)  # fmt: skip
CODE = {name: code for code, name in enumerate(OPERATIONS)}
LEVELS = 256
STEPS = {  # strength 0 to 9 -> how much is one step, in the operation's unit
    "shear-x": 0.3 / 9, "shear-y": 0.3 / 9, "translate-x": 150 / 331 / 9,
    "translate-y": 150 / 331 / 9, "rotate": math.radians(30) / 9, "brightness": 0.9 / 9,
    "contrast": 0.9 / 9, "colour": 0.9 / 9, "sharpness": 0.9 / 9,
}  # fmt: skip
"""The signed operations: tangent, share of the side, radians, and what is added to factor 1."""
POLICY = (  # twice an operation, its probability and its strength
    (("invert", 0.1, 0), ("contrast", 0.2, 6)),
    (("rotate", 0.7, 2), ("translate-x", 0.3, 9)),
    (("sharpness", 0.8, 1), ("sharpness", 0.9, 3)),
    (("shear-y", 0.5, 8), ("translate-y", 0.7, 9)),
    (("autocontrast", 0.5, 0), ("equalize", 0.9, 0)),
    (("shear-y", 0.2, 7), ("posterize", 0.3, 7)),
    (("colour", 0.4, 3), ("brightness", 0.6, 7)),
    (("sharpness", 0.3, 9), ("brightness", 0.7, 9)),
    (("equalize", 0.6, 0), ("equalize", 0.5, 0)),
    (("contrast", 0.6, 7), ("sharpness", 0.6, 5)),
    (("colour", 0.7, 7), ("translate-x", 0.5, 8)),
    (("equalize", 0.3, 0), ("autocontrast", 0.4, 0)),
    (("translate-y", 0.4, 3), ("sharpness", 0.2, 6)),
    (("brightness", 0.9, 6), ("colour", 0.2, 8)),
    (("solarize", 0.5, 2), ("invert", 0.0, 0)),
    (("equalize", 0.2, 0), ("autocontrast", 0.6, 0)),
    (("equalize", 0.2, 0), ("equalize", 0.6, 0)),
    (("colour", 0.9, 9), ("equalize", 0.6, 0)),
    (("autocontrast", 0.8, 0), ("solarize", 0.2, 8)),
    (("brightness", 0.1, 3), ("colour", 0.7, 0)),
    (("solarize", 0.4, 5), ("autocontrast", 0.9, 0)),
    (("translate-y", 0.9, 9), ("translate-y", 0.7, 9)),
    (("autocontrast", 0.9, 0), ("solarize", 0.8, 3)),
    (("equalize", 0.8, 0), ("invert", 0.1, 0)),
    (("translate-y", 0.7, 9), ("autocontrast", 0.9, 0)),
)
RANGES = {  # of TrivialAugment, in the units of STEPS; levels, and bits rounded down
    "autocontrast": (0, 0), "equalize": (0, 0), "rotate": (-math.radians(30), math.radians(30)),
    "posterize": (1, 5), "solarize": (0, 255), "contrast": (-0.9, 0.9), "brightness": (-0.9, 0.9),
    "sharpness": (-0.9, 0.9), "shear-x": (-0.3, 0.3), "shear-y": (-0.3, 0.3),
    "translate-x": (-0.5, 0.5), "translate-y": (-0.5, 0.5),
}  # fmt: skip


def draw_auto(u: Tensor, size: int) -> Tensor:
    """Uniform [N,5] -> two operations and their two magnitudes, [N,4].

    A row of the policy, then for each operation whether it is done and its sign.
    """
    row = (u[:, 0] * len(POLICY)).long()
    code, probability, magnitude, signed = _policy(size, u.device)[row].unbind(2)
    code = torch.where(u[:, 1:3] <= probability, code, CODE["identity"])
    negative = (u[:, 3:5] < 0.5) & (signed == 1)
    return torch.cat((code, torch.where(negative, -magnitude, magnitude)), 1)


def draw_trivial(u: Tensor, size: int) -> Tensor:
    """Uniform [N,2] -> an operation and its magnitude, [N,2]."""
    row = _ranges(size, u.device)[(u[:, 0] * len(RANGES)).long()]
    code, low, high = row.split(1, 1)
    magnitude = low + (high - low) * u[:, 1:]
    whole = (code == CODE["posterize"]) | _moves(code)
    return torch.cat((code, torch.where(whole, magnitude.trunc(), magnitude)), 1)


@lru_cache
def _policy(size: int, device: torch.device) -> Tensor:
    """[25,2,4]: code, probability, magnitude, whether it has a sign."""
    rows = [[_entry(*first, size), _entry(*second, size)] for first, second in POLICY]
    return torch.tensor(rows, dtype=torch.float32, device=device)


def _entry(name: str, probability: float, strength: int, size: int) -> list[float]:
    magnitude = strength * STEPS.get(name, 0.0)
    if name == "posterize":
        magnitude = 8 - round(strength * 4 / 9)  # bits
    elif name == "solarize":
        magnitude = 255 - strength * 255 / 9
    elif name.startswith("translate"):
        magnitude = int(magnitude * size)
    return [CODE[name], probability, magnitude, name in STEPS]


@lru_cache
def _ranges(size: int, device: torch.device) -> Tensor:
    """[12,3]: code, least and largest magnitude."""
    rows = [
        [CODE[name], *(end * size if name.startswith("translate") else end for end in ends)]
        for name, ends in RANGES.items()
    ]
    return torch.tensor(rows, dtype=torch.float32, device=device)


def _moves(code: Tensor) -> Tensor:
    return (code == CODE["translate-x"]) | (code == CODE["translate-y"])


def apply(images: Tensor, drawn: Tensor) -> Tensor:
    """Float [N,3,H,W] in [0,1] and S operations, then S magnitudes, [N,2S] -> float [N,3,H,W].

    Images with an operation come out as whole grey levels, the others as they were. No gradient.
    """
    codes, magnitudes = drawn.chunk(2, 1)
    with torch.no_grad():
        levels = (images.float() * 255).round()
        for code, magnitude in zip(codes.split(1, 1), magnitudes.split(1, 1), strict=True):
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
