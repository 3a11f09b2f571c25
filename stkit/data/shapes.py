"""`shapes`: drawn coloured shapes, ten classes, of any size and number, without a download.

A set on which a net must learn form: colour, place, size, turn, stretch and clutter say nothing of
the class. Image i of a split is drawn from the stream of its own number alone, so a smaller set is
the beginning of a larger one, and all arithmetic is on whole numbers, so machines agree.
"""

from collections.abc import Callable
from math import cos, pi, sin

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stkit.core import arrays
from stkit.core.errors import RecipeError
from stkit.core.rng import stream

COUNTS = {"train": 5000, "test": 500}
"""Images of a split, unless told otherwise."""
SIDE, LARGEST = 32, 1024
HALF = 2048
"""Half the side of an image, in the units in which places and sizes are drawn."""
UNIT = 1024
"""The radius of a shape in its own coordinates; also the 1 of a cosine."""
FINE = 2
"""Samples of a pixel along a side; four of a pixel."""
TURNS = 64
TURNED = 5
"""Shapes are turned by at most so many of TURNS to either side, 28 degrees."""
CLUTTER = 3
BACK, GRADIENT, SPOT, CONTRAST, NOISE = (98, 158), 12, 25, (30, 60), 3
"""Grey levels of a channel: the background's, what it rises by from the middle to an edge, what
clutter differs from it by, what the shape does, all up or all down, and the noise of a pixel.
Low, as in photographs without hard light: a poison of eight levels is learned before a form."""
DRAWS = 64
"""Whole numbers of 16 bits that decide on an image, but for its noise."""

Ints = NDArray[np.int32]
Mask = NDArray[np.bool_]
COSINE = [round(UNIT * cos(2 * pi * k / TURNS)) for k in range(TURNS)]
SINE = [round(UNIT * sin(2 * pi * k / TURNS)) for k in range(TURNS)]
NORMALS = [(round(64 * sin(0.4 * pi * k)), round(-64 * cos(0.4 * pi * k))) for k in range(5)]
"""Of the five sides of a star."""


class _Draws:
    """The draws that decide on one image, one after the other."""

    def __init__(self, source: torch.Generator) -> None:
        self.left = torch.randint(1 << 16, (DRAWS,), generator=source).tolist()

    def among(self, low: int, high: int) -> int:
        """A whole number from `low` to `high`."""
        return low + int(self.left.pop()) * (high - low + 1) // (1 << 16)


def _units(length: float) -> int:
    return round(UNIT * length)


def _disc(u: Ints, v: Ints, radius: float, at: tuple[float, float] = (0, 0)) -> Mask:
    return (u - _units(at[0])) ** 2 + (v - _units(at[1])) ** 2 < _units(radius) ** 2


def _triangle(u: Ints, v: Ints) -> Mask:
    return (v < _units(0.5)) & (7 * abs(u) - 4 * v < 4 * UNIT)  # 7/4 for the root of three


def _star(u: Ints, v: Ints) -> Mask:
    """Within four sides at least of a pentagram's five."""
    sides = [(a * u + b * v < 64 * _units(0.38)).astype(np.uint8) for a, b in NORMALS]
    within: Mask = np.sum(sides, 0) >= 4
    return within


def _cross(u: Ints, v: Ints) -> Mask:
    return (np.minimum(abs(u), abs(v)) < _units(0.27)) & (np.maximum(abs(u), abs(v)) < _units(0.95))


def _heart(u: Ints, v: Ints) -> Mask:
    below = (v > _units(-0.05)) & (8 * abs(u) < 7 * (_units(0.95) - v))
    return _disc(abs(u), v, 0.52, (0.42, -0.32)) | below


def _arrow(u: Ints, v: Ints) -> Mask:
    shaft = (abs(v) < _units(0.22)) & (u > -UNIT) & (u < 0)
    return shaft | ((u >= 0) & (5 * abs(v) < 4 * (UNIT - u)))


FORMS: dict[str, Callable[[Ints, Ints], Mask]] = {
    "disc": lambda u, v: _disc(u, v, 0.85),
    "ring": lambda u, v: _disc(u, v, 0.95) & ~_disc(u, v, 0.5),
    "square": lambda u, v: np.maximum(abs(u), abs(v)) < _units(0.75),
    "triangle": _triangle,
    "star": _star,
    "cross": _cross,
    "crescent": lambda u, v: _disc(u, v, 1) & ~_disc(u, v, 0.8, (0.5, 0)),
    "heart": _heart,
    "arrow": _arrow,
    "hourglass": lambda u, v: (abs(v) < _units(0.85)) & (5 * abs(u) < 4 * abs(v) + _units(0.4)),
}
"""The classes: whether points in a shape's own coordinates, v downwards, lie in it."""


def draw(split: str, size: int | None, count: int | None) -> tuple[Tensor, Tensor]:
    """The first `count` images of a split: uint8 [N,3,S,S] and int64 [N], classes in turn.

    RecipeError for a size that is above LARGEST.
    """
    size, count = size or SIDE, count or COUNTS[split]
    if size > LARGEST:
        raise RecipeError(f"size is {size}, expected {LARGEST:,} at most for what is drawn")
    pixels = arrays.zeros((count, 3, size, size), np.uint8)
    for i in range(count):
        pixels[i] = _image(split, i, size)
    return torch.from_numpy(pixels), torch.arange(count) % len(FORMS)


def _image(split: str, i: int, size: int) -> NDArray[np.uint8]:
    """uint8 [3,S,S]: a gradient, clutter on it, a shape on that, and noise over all."""
    source = stream(0, f"shapes/{split}", i)
    draws = _Draws(source)
    among = draws.among
    levels = [among(*BACK) for _ in range(3)]
    x = _samples(size)
    picture = np.empty((3, size, size), np.int32)
    for level, channel in zip(levels, picture, strict=True):
        across, down = among(-GRADIENT, GRADIENT), among(-GRADIENT, GRADIENT)
        channel[...] = level + (across * x[None, :] + down * x[:, None]) // HALF
    fine = _samples(FINE * size)
    for _ in range(CLUTTER):
        u, v = _placed(fine, draws, place=1900, radii=(100, 300), turned=0)
        _paint(picture, _disc(u, v, 1), [level + among(-SPOT, SPOT) for level in levels])
    sign = 2 * among(0, 1) - 1
    u, v = _placed(fine, draws, place=500, radii=(800, 1500), turned=TURNED)
    inside = list(FORMS.values())[i % len(FORMS)](u, v)
    _paint(picture, inside, [level + sign * among(*CONTRAST) for level in levels])
    noise = torch.randint(-NOISE, NOISE + 1, (3, size, size), generator=source).numpy()
    seen: NDArray[np.uint8] = (picture + noise).clip(0, 255).astype(np.uint8)
    return seen


def _samples(count: int) -> Ints:
    """Where so many samples lie along a side: from -HALF to HALF."""
    return ((2 * np.arange(count, dtype=np.int32) + 1) * HALF // count - HALF).astype(np.int32)


def _placed(
    fine: Ints, draws: _Draws, *, place: int, radii: tuple[int, int], turned: int
) -> tuple[Ints, Ints]:
    """Every sample in the coordinates of a shape of a random place, size, stretch and turn."""
    x, y = fine[None, :] - draws.among(-place, place), fine[:, None] - draws.among(-place, place)
    radius, turn = draws.among(*radii), draws.among(-turned, turned)
    wide, high = (radius * draws.among(80, 120) // 100 for _ in range(2))
    c, s = COSINE[turn], SINE[turn]
    u = (c * UNIT // wide * x + s * UNIT // wide * y) >> 10
    v = (c * UNIT // high * y - s * UNIT // high * x) >> 10
    return u, v


def _paint(picture: Ints, inside: Mask, colour: list[int]) -> None:
    """Cover what of each pixel lies inside, by the share of its samples."""
    samples = inside.view(np.uint8)
    rows = samples[::FINE] + samples[1::FINE]
    cover = (rows[:, ::FINE] + rows[:, 1::FINE]).astype(np.int32)
    picture += ((np.array(colour, np.int32)[:, None, None] - picture) * cover) >> 2
