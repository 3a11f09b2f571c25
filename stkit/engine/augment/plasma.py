"""`plasma`, of UEraser (Qin et al. 2023): brightness, then contrast, that vary like a cloud.

Each of the two with p 0.5.

A fractal by midpoint displacement (diamond-square), made anew for each image, channel and use. It
is the one of kornia, which UEraser's authors call: its scaling is unusual (the corners lie in
[0, 1/3], border midpoints are a third too high), and kept, for the strength of the augmentation
depends on it: over 32x32 maps the mean is 0.47, with a standard deviation of 0.12.
Roughness 0.3 to 0.7, intensity 0.5 to 1: UEraser's.

The random numbers of a map are functions of the image's seed and the position (`positions`).
"""

import torch
from torch import Tensor

from stkit.engine.augment import positions
from stkit.engine.augment.kernel import Columns, Drawn, Kernel, Uniform, gate
from stkit.recipes.carried import Jitter

ROUGHNESS, INTENSITY = (0.3, 0.7), (0.5, 1.0)  # UEraser's


def draw(uniform: Uniform, size: int, strength: Jitter) -> Columns:
    """Whether, roughness and seed of both; the intensity of the brightness."""
    on, roughness, intensity, seeds = torch.split(uniform(7), [2, 2, 1, 2], 1)
    low, high = ROUGHNESS
    least, most = INTENSITY
    return {
        "on": on < 0.5,
        "roughness": low + (high - low) * roughness,
        "intensity": least + (most - least) * intensity,
        "seeds": positions.seeds(seeds),
    }


def apply(images: Tensor, drawn: Drawn) -> Tensor:
    """Float [N,3,H,W] in [0,1] -> the same shape."""
    own = drawn["plasma"]
    bright, contrasted = torch.split(own["on"], 1, 1)
    images = torch.lerp(images, brightness(images, own), gate(images, bright))
    return torch.lerp(images, contrast(images, own), gate(images, contrasted))


KERNELS = {"plasma": Kernel({"on": 2, "roughness": 2, "intensity": 1, "seeds": 2}, draw, apply)}


def brightness(images: Tensor, own: Columns) -> Tensor:
    """Float [N,3,H,W] plus (2 map - 1) times the intensity, in [0,1]."""
    field = _map(images, own, 0)
    return (images + (2 * field - 1) * own["intensity"][:, :, None, None]).clamp(0, 1)


def contrast(images: Tensor, own: Columns) -> Tensor:
    """Float [N,3,H,W]: the distance from 0.5 times 4 map, in [0,1]."""
    return ((images - 0.5) * (4 * _map(images, own, 1)) + 0.5).clamp(0, 1)


def _map(images: Tensor, own: Columns, use: int) -> Tensor:
    seed, roughness = (own[name][:, use] for name in ("seeds", "roughness"))
    return fractal(seed, roughness, *images.shape[1:3]).to(images.dtype)


def fractal(seed: Tensor, roughness: Tensor, channels: int, size: int) -> Tensor:
    """Seeds [N] (whole numbers below 2^24), roughness [N] -> maps float32 [N,channels,size,size].

    A map begins as 3x3 and is doubled until it covers the image, each time with noise `roughness`
    times smaller; what is more than size x size is cut off.
    """
    drawn = 0  # numbers of a channel used so far
    side = 3
    grid = _seed(positions.uniform(seed, channels, side, drawn))
    scale = roughness[:, None, None, None]
    factor = scale
    while side < size:
        drawn, side = drawn + side * side, 2 * side - 1
        grid = _doubled(grid, positions.uniform(seed, channels, side, drawn) * scale, 1 - scale)
        scale = scale * factor
    return grid[:, :, :size, :size]


def _seed(noise: Tensor) -> Tensor:
    """The 3x3 map: corners from the noise, the centre their mean, edges the sum of their three
    neighbours; then everything is divided by 3."""
    corners = noise[:, :, ::2, ::2]
    centre = corners.mean((2, 3), keepdim=True)
    rows = corners.sum(3, keepdim=True) + centre  # between the corners of each row
    columns = corners.sum(2, keepdim=True) + centre
    top = torch.cat((corners[:, :, :1, :1], rows[:, :, :1], corners[:, :, :1, 1:]), 3)
    middle = torch.cat((columns[..., :1], centre, columns[..., 1:]), 3)
    bottom = torch.cat((corners[:, :, 1:, :1], rows[:, :, 1:], corners[:, :, 1:, 1:]), 3)
    return torch.cat((top, middle, bottom), 2) / 3


def _doubled(grid: Tensor, noise: Tensor, weight: Tensor) -> Tensor:
    """[N,C,n,n] and noise [N,C,2n-1,2n-1] -> [N,C,2n-1,2n-1]: `weight` times the mean of the four
    neighbours plus noise, first between four points, then between the points and these."""
    out = torch.zeros_like(noise)
    out[:, :, ::2, ::2] = grid
    left, right = grid[..., :-1], grid[..., 1:]
    mean = (left[:, :, :-1] + left[:, :, 1:] + right[:, :, :-1] + right[:, :, 1:]) / 4
    centres = weight * mean + noise[:, :, 1::2, 1::2]
    out[:, :, 1::2, 1::2] = centres
    # A border has its one centre twice, and the sum of four divided by 3.
    across = torch.cat((centres[:, :, :1], centres, centres[:, :, -1:]), 2)
    beside = left + right + across[:, :, :-1] + across[:, :, 1:]
    out[:, :, ::2, 1::2] = weight * _mean(beside, 2) + noise[:, :, ::2, 1::2]
    across = torch.cat((centres[..., :1], centres, centres[..., -1:]), 3)
    beside = grid[:, :, :-1] + grid[:, :, 1:] + across[..., :-1] + across[..., 1:]
    out[:, :, 1::2, ::2] = weight * _mean(beside, 3) + noise[:, :, 1::2, ::2]
    return out


def _mean(total: Tensor, border: int) -> Tensor:
    """A quarter of the sum, but a third of it at both ends of dimension `border`."""
    first, inner, last = torch.split(total, [1, total.shape[border] - 2, 1], border)
    return torch.cat((first / 3, inner / 4, last / 3), border)
