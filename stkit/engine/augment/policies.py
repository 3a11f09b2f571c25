"""AutoAugment and TrivialAugment on batches: each image gets the `operations` that it drew.

| name | what it does | source |
|---|---|---|
| autoaugment | two operations of the CIFAR-10 policy, at any image size | Cubuk et al. 2019 |
| trivial | one operation of TrivialAugment | Mueller, Hutter 2021; UEraser |

AutoAugment (Cubuk et al. 2019): torchvision's AutoAugment(CIFAR10), which draws once for a whole
batch of tensors; here once an image.

TrivialAugment (Mueller and Hutter 2021), as UEraser (Qin et al. 2023) has it: the operations and
ranges of kornia's policy, without identity and colour. Differences from kornia: one operation an
image, where kornia draws one for the batch; operations as torchvision has them for tensors, not as
PIL does; both signs, and shears of that size, where kornia's are drawn positive and shears are of
hundredths of a degree; 1 to 4 bits, as 0 bits is a black image.
"""

import math
from functools import lru_cache

import torch
from torch import Tensor

from stkit.engine.augment.kernel import Columns, Drawn, Kernel, Uniform
from stkit.engine.augment.operations import CODE, operate
from stkit.recipes.carried import Jitter

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


def draw_auto(uniform: Uniform, size: int, strength: Jitter) -> Columns:
    """Two operations: a row of the policy, then for each whether it is done and its sign."""
    u = uniform(5)
    row = (u[:, 0] * len(POLICY)).long()
    code, probability, magnitude, signed = policy(size, u.device)[row].unbind(2)
    code = torch.where(u[:, 1:3] <= probability, code, CODE["identity"])
    negative = (u[:, 3:5] < 0.5) & (signed == 1)
    return {"codes": code, "magnitudes": torch.where(negative, -magnitude, magnitude)}


def draw_trivial(uniform: Uniform, size: int, strength: Jitter) -> Columns:
    """One operation."""
    u = uniform(2)
    row = _ranges(size, u.device)[(u[:, 0] * len(RANGES)).long()]
    code, low, high, whole = torch.split(row, 1, 1)
    magnitude = low + (high - low) * u[:, 1:]
    return {
        "codes": code,
        "magnitudes": torch.where(whole == 1, magnitude.trunc(), magnitude),
    }


def autoaugment(images: Tensor, drawn: Drawn) -> Tensor:
    """The two operations."""
    own = drawn["autoaugment"]
    return operate(images, own["codes"], own["magnitudes"])


def trivial(images: Tensor, drawn: Drawn) -> Tensor:
    """The one operation."""
    own = drawn["trivial"]
    return operate(images, own["codes"], own["magnitudes"])


KERNELS = {
    "autoaugment": Kernel({"codes": 2, "magnitudes": 2}, draw_auto, autoaugment),
    "trivial": Kernel({"codes": 1, "magnitudes": 1}, draw_trivial, trivial),
}


@lru_cache
def policy(size: int, device: torch.device) -> Tensor:
    """[25,2,4]: code, probability, magnitude, whether it has a sign."""
    rows = [[_operation(*first, size), _operation(*second, size)] for first, second in POLICY]
    return torch.tensor(rows, dtype=torch.float32, device=device)


def _operation(name: str, probability: float, strength: int, size: int) -> list[float]:
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
    """[12,4]: code, least and largest magnitude, whether only whole ones count."""
    rows = []
    for name, (low, high) in RANGES.items():
        moves = name.startswith("translate")
        side = size if moves else 1
        rows.append([CODE[name], low * side, high * side, moves or name == "posterize"])
    return torch.tensor(rows, dtype=torch.float32, device=device)
