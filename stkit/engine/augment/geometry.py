"""Crop, flip and cutout on batches: the crop zero-padded up to 64 px, above a resized one."""

import torch
import torch.nn.functional as F
from torch import Tensor

from stkit.engine.augment.draws import PAD, Draws


def _columns(draws: Draws, device: torch.device) -> Tensor:
    """Which column of its crop each output column shows, float [N,W]: in order, or flipped."""
    steps = torch.arange(draws.size, dtype=torch.float32, device=device)
    steps = steps.expand(len(draws.table), -1)
    return torch.lerp(steps, steps.flip(1), draws["flip"]) if "flip" in draws.names else steps


def padded_crop(images: Tensor, draws: Draws) -> Tensor:
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


def resized_crop(images: Tensor, draws: Draws) -> Tensor:
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


def cutout(images: Tensor, draws: Draws) -> Tensor:
    """A square of half the side (16 px of 32: ST paper A.1) set to 0 (DeVries and Taylor 2017).

    Its centre is any pixel, so it may lie partly outside, as in the authors' code; they normalise
    the images first, so that their 0 is the mean colour, while ISS and APBench have black, as here.
    """
    half = draws.size // 4
    steps = torch.arange(draws.size, device=images.device)
    row, column = (
        (steps >= centre - half) & (steps < centre + half) for centre in draws["hole"].split(1, 1)
    )
    return images * ~(row[:, None, :, None] & column[:, None, None, :])
