"""Colours of batches, each image with its own draw and its own order of operations.

| name | what it does | source |
|---|---|---|
| jitter, random-gray | CG: colour jitter (p 0.8) and grey (p 0.2) | ST paper, A.1 |
| channel-shuffle | the channels in another order, p 0.5 | UEraser (Qin et al. 2023) |

The ST paper gives the jitter no strengths, so these are SimCLR's, 0.4, 0.4, 0.4 and 0.1, unless
four others are asked for: RAD (Laskin et al. 2020), which it cites, has a hue of 0.5. Same
distributions and arithmetic as torchvision's RandomApply([ColorJitter], 0.8) and
RandomGrayscale(0.2) on float tensors. Difference: the hue is computed by another formula, closer to
the exact value in float32 than torchvision's.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from stkit.engine.augment.kernel import Columns, Drawn, Kernel, Uniform, gate
from stkit.recipes.carried import SIMCLR, Jitter

BRIGHTNESS, CONTRAST, SATURATION, HUE = range(4)  # what the column `order` counts


def draw_jitter(uniform: Uniform, size: int, strength: Jitter) -> Columns:
    """Whether, the factors of the first three, the turn of the hue, and which comes when."""
    on, factors, hue, order = torch.split(uniform(9), [1, 3, 1, 4], 1)
    *strengths, turn = strengths_of(strength)
    columns = zip(strengths, factors.split(1, 1), strict=True)
    return {
        "on": on < 0.8,
        "factors": torch.cat([_factor(most, column) for most, column in columns], 1),
        "hue": (turn * (2 * hue - 1)).clamp(-0.5, 0.5),
        "order": order.argsort(1),
    }


def strengths_of(jitter: Jitter) -> tuple[float, float, float, float]:
    """Of brightness, contrast, saturation and hue: the four, or SimCLR's times the one number."""
    if isinstance(jitter, tuple):
        return jitter
    brightness, contrast, saturation, hue = (jitter * strength for strength in SIMCLR)
    return brightness, contrast, saturation, hue


def _factor(most: float, draw: Tensor) -> Tensor:
    """A draw from [0,1) put evenly between max(0, 1 - most) and 1 + most."""
    return 1 + most * (2 * draw - 1) if most <= 1 else (1 + most) * draw


def jitter(images: Tensor, drawn: Drawn) -> Tensor:
    """The four operations in each image's own order, where it is drawn."""
    own = drawn["jitter"]
    return torch.lerp(images, _jittered(images, own), gate(images, own["on"]))


def draw_grey(uniform: Uniform, size: int, strength: Jitter) -> Columns:
    """Whether."""
    return {"on": uniform(1) < 0.2}


def grey(images: Tensor, drawn: Drawn) -> Tensor:
    """The luma in all three channels, where it is drawn."""
    luma = luma_of(images).expand_as(images)
    return torch.lerp(images, luma, gate(images, drawn["random-gray"]["on"]))


def draw_shuffle(uniform: Uniform, size: int, strength: Jitter) -> Columns:
    """Whether, and the order."""
    on, channels = torch.split(uniform(4), [1, 3], 1)
    return {"on": on < 0.5, "channels": channels.argsort(1)}


def shuffle(images: Tensor, drawn: Drawn) -> Tensor:
    """The channels in the order drawn."""
    own = drawn["channel-shuffle"]
    as_they_are = torch.arange(images.shape[1], device=images.device)
    order = torch.where(own["on"] == 1, own["channels"].long(), as_they_are)
    return images.gather(1, order[:, :, None, None].expand_as(images))


KERNELS = {
    "jitter": Kernel({"on": 1, "factors": 3, "hue": 1, "order": 4}, draw_jitter, jitter),
    "random-gray": Kernel({"on": 1}, draw_grey, grey, stream="grey"),
    "channel-shuffle": Kernel({"on": 1, "channels": 3}, draw_shuffle, shuffle),
}


def luma_of(images: Tensor) -> Tensor:
    """[N,3,H,W] -> luma [N,1,H,W] with torchvision's weights."""
    red, green, blue = torch.split(images, 1, 1)
    return torch.add(torch.add(0.2989 * red, green, alpha=0.587), blue, alpha=0.114)


def _jittered(images: Tensor, own: Columns) -> Tensor:
    """The four operations.

    The hue stands at one of four places, so three blends come before it and three after it, and
    those that are not an image's turn have factor 1, which is the identity.
    """
    before, after = _blends(own, images.dtype)
    for factor, mean, grey in before:
        images = _blend(images, factor, mean, grey)
    images = _turn_hue(images, own["hue"].to(images.dtype)[:, :, None, None])
    for factor, mean, grey in after:
        images = _blend(images, factor, mean, grey)
    return images


def _blends(drawn: Columns, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Weights of the three blends before and the three after the hue, each [3, 3, N,1,1,1]."""
    order = drawn["order"].long()
    is_hue = order == HUE
    passed = is_hue.cumsum(1) > 0
    factor = F.pad(drawn["factors"], (0, 1), value=1).gather(1, order).to(dtype)
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
    luma = luma_of(images)
    target = torch.addcmul(mean * luma.mean((2, 3), keepdim=True), grey, luma)
    return torch.addcmul(target, factor, images).clamp(0, 1)


def _turn_hue(images: Tensor, turn: Tensor) -> Tensor:
    """Turn the hue by `turn` (1 is a full circle), value and saturation kept.

    The angle is counted from cyan, in sixths of a circle: red is at 3 or -3, green at -1, blue at
    1. Then |angle| = 1 + (max + red - green - blue) / chroma, negative on green's half, and each
    channel is max - chroma * (a hat of the angle): no branch, no mask, one division. A grey pixel
    has chroma 0 and stays as it is, with finite gradients.
    """
    red, green, blue = torch.split(images, 1, 1)
    top = images.amax(1, keepdim=True)
    chroma = top - images.amin(1, keepdim=True)
    # 1e-12: far below what a pixel can show, and 1/1e-12 still squares to a finite float32
    angle = 1 + ((top - green) + (red - blue)) / chroma.clamp_min(1e-12)
    angle = torch.copysign(angle, blue - green) + 6 * turn
    angle = angle - 6 * torch.round(angle / 6)
    missing = torch.cat((2 - angle.abs(), (angle + 1).abs() - 1, (angle - 1).abs() - 1), 1)
    return top - chroma * missing.clamp(0, 1)
