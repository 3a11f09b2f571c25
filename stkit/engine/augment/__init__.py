"""Batched augmentation on the device, one draw per image.

| name | what it does | source |
|---|---|---|
| crop, flip | shift by up to 4 px (above 64 px a random resized crop), mirror | everywhere |
| jitter, grey | CG: colour jitter (p 0.8) and grey (p 0.2) | ST paper, A.1 |
| cutout | a black square of half the side, wherever its centre falls | DeVries, Taylor 2017 |
| autoaugment | two operations of the CIFAR-10 policy, at any image size | Cubuk et al. 2019 |
| plasma | fractal brightness, then fractal contrast, each with p 0.5 | UEraser (Qin et al. 2023) |
| channel-shuffle | the channels in another order, p 0.5 | UEraser |
| trivial | one operation of TrivialAugment | Mueller, Hutter 2021; UEraser |

The ST paper gives the jitter no strengths, so these are SimCLR's, 0.4, 0.4, 0.4 and 0.1. Drawing is
apart from applying: `draw` makes one small table on the generator's device, `apply` is a function
of images and table that never waits for the device, so that it can be captured in a CUDA graph,
whatever the names. Gradients pass through all (REM's expectation over transformations) but
autoaugment and trivial, which count in whole grey levels: where they act, the gradient is 0.

Same distributions and arithmetic as torchvision's RandomCrop(padding=4), RandomHorizontalFlip,
RandomApply([ColorJitter], 0.8), RandomGrayscale(0.2) on float tensors and AutoAugment(CIFAR10) on
uint8 tensors, each image with its own draw. Differences: the hue is computed by another formula,
closer to the exact value in float32 than torchvision's; above 64 px the crop is RandomResizedCrop
with positions in float32, which moves a pixel by some 1e-5. Where `plasma` and `trivial` differ
from what UEraser's authors run stands in `plasma.py` and `policies.py`.
"""

import torch
from torch import Tensor

from stkit.engine.augment import colour, geometry, plasma, policies
from stkit.engine.augment.drawing import draw
from stkit.engine.augment.draws import COLUMNS, LARGEST_PADDED, Draws
from stkit.recipes.carried import AUGMENTATIONS

__all__ = ["COLUMNS", "NAMES", "Draws", "apply", "augment", "draw"]

NAMES = AUGMENTATIONS
"""Every augmentation, in the order in which `apply` takes them."""


def apply(images: Tensor, draws: Draws) -> Tensor:
    """Float [N,3,H,W] in [0,1] -> the same shape, augmented; no synchronisation.

    Crop and flip are linear and take any range. An image that the draw leaves out keeps its bits.
    """
    assert images.shape[2:] == (draws.size, draws.size) and len(images) == len(draws.table)
    if "crop" in draws.names and draws.size > LARGEST_PADDED:
        images = geometry.resized_crop(images, draws)
    elif "crop" in draws.names or "flip" in draws.names:
        images = geometry.padded_crop(images, draws)
    if "autoaugment" in draws.names:
        images = policies.apply(images, draws["auto"])
    if "jitter" in draws.names:
        # lerp, unlike where, is vectorised on CPUs, and at 0 and 1 it is exactly one of the two
        images = torch.lerp(images, colour.jitter(images, draws), _gate(images, draws["jitter"]))
    if "grey" in draws.names:
        luma = colour.luma_of(images).expand_as(images)
        images = torch.lerp(images, luma, _gate(images, draws["grey"]))
    if "plasma" in draws.names:
        bright, contrast = draws["plasma"].split(1, 1)
        images = torch.lerp(images, plasma.brightness(images, draws), _gate(images, bright))
        images = torch.lerp(images, plasma.contrast(images, draws), _gate(images, contrast))
    if "channel-shuffle" in draws.names:
        order = torch.where(draws["shuffle"] == 1, draws["channels"].long(), _in_order(images))
        images = images.gather(1, order[:, :, None, None].expand_as(images))
    if "trivial" in draws.names:
        images = policies.apply(images, draws["trivial"])
    if "cutout" in draws.names:
        images = geometry.cutout(images, draws)
    return images


def augment(images: Tensor, names: tuple[str, ...], generator: torch.Generator) -> Tensor:
    """Draw and apply: float [N,3,H,W] in [0,1] -> the same shape."""
    return apply(images, draw(names, len(images), images.shape[-1], generator, images.device))


def _gate(images: Tensor, column: Tensor) -> Tensor:
    return column.to(images.dtype)[:, :, None, None]


def _in_order(images: Tensor) -> Tensor:
    return torch.arange(images.shape[1], device=images.device)
