"""Colour jitter and grey on batches, each image with its own draw and its own order."""

import torch
import torch.nn.functional as F
from torch import Tensor

from stkit.engine.augment.draws import CONTRAST, HUE, SATURATION, Draws


def luma_of(images: Tensor) -> Tensor:
    """[N,3,H,W] -> luma [N,1,H,W] with torchvision's weights."""
    red, green, blue = images.split(1, 1)
    return torch.add(torch.add(0.2989 * red, green, alpha=0.587), blue, alpha=0.114)


def jitter(images: Tensor, draws: Draws) -> Tensor:
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
    red, green, blue = images.split(1, 1)
    top = images.amax(1, keepdim=True)
    chroma = top - images.amin(1, keepdim=True)
    # 1e-12: far below what a pixel can show, and 1/1e-12 still squares to a finite float32
    angle = 1 + ((top - green) + (red - blue)) / chroma.clamp_min(1e-12)
    angle = torch.copysign(angle, blue - green) + 6 * turn
    angle = angle - 6 * torch.round(angle / 6)
    missing = torch.cat((2 - angle.abs(), (angle + 1).abs() - 1, (angle - 1).abs() - 1), 1)
    return top - chroma * missing.clamp(0, 1)
