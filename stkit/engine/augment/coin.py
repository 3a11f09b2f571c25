"""`coin` (Li et al., AAAI 2025): every pixel is read a little beside itself, anew for each image.

A random linear map of the image: it undoes poisons that filter the images of a class (CUDA), whose
filters no compression or projection takes away. Each pixel moves by up to 2 px, up or down and left
or right, drawn apart for each of the two and the same for its channels, and is interpolated
bilinearly between its four neighbours; the borders wrap around. So does the authors' code (severity
4, after crop and flip), but that it then cuts to 8 bits, and that SciPy's `wrap`, with which it
reads over a border, takes the first and the last pixel for the same one; ours stand side by side.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from stkit.engine.augment import positions
from stkit.engine.augment.kernel import Columns, Drawn, Kernel, Uniform
from stkit.recipes.carried import Jitter

REACH = 2  # px; the authors' alpha


def draw(uniform: Uniform, size: int, strength: Jitter) -> Columns:
    """The seed of all displacements."""
    return {"seed": positions.seeds(uniform(1))}


def apply(images: Tensor, drawn: Drawn) -> Tensor:
    """Float [N,3,H,W] -> the same shape."""
    moves = positions.uniform(drawn["coin"]["seed"][:, 0], 2, images.shape[-1])
    return displaced(images, REACH * (2 * moves - 1))


def displaced(images: Tensor, moves: Tensor) -> Tensor:
    """Each pixel of [N,C,S,S] as it is `moves` float32 [N,2,S,S] px down and right of it, at most
    REACH.

    grid_sample, which is six times as fast on a CPU as shifted images weighted pixel by pixel. On
    GPUs its backward adds in no fixed order; no frame, and no poison, passes gradients through it.
    """
    exact = torch.promote_types(images.dtype, torch.float32)
    side = images.shape[-1]
    wrapped = torch.arange(-REACH, side + REACH, device=images.device) % side
    canvas = images.index_select(2, wrapped).index_select(3, wrapped).to(exact)
    steps = torch.arange(REACH, REACH + side, device=images.device)
    down, right = moves.to(exact).unbind(1)
    places = torch.stack((steps + right, steps[:, None] + down), -1)
    corners = 2 * places / (canvas.shape[-1] - 1) - 1  # from -1 to 1
    with torch.autocast(images.device.type, enabled=False):
        return F.grid_sample(canvas, corners, align_corners=True).to(images.dtype)


KERNELS = {"coin": Kernel({"seed": 1}, draw, apply)}
