"""Batched augmentation on the device, one draw per image.

The names, in the order in which they are applied, are `recipes.carried.AUGMENTATIONS`; what stands
behind each, with its source, is in the modules of this folder: `geometry` (crop, flip, cutout),
`coin`, `colour` (jitter, random-gray, channel-shuffle), `policies` (autoaugment, trivial),
`plasma`.
`kernel` says how to add one.

Drawing is apart from applying: `draw` makes one small table, `apply` is a function of images and
table that never waits for the device, so that it can be captured in a CUDA graph, whatever the
names. Gradients pass through all (REM's expectation over transformations) but autoaugment and
trivial, which count in whole grey levels: where they act, the gradient is 0.

Each name draws from a random stream of its own, `augment/NAME` where frames draw. So frames share
their crops, flips and colours whatever else they carry, and a new name moves no other's draws.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from pkgutil import iter_modules
from typing import Any

import torch
from torch import Tensor

from stkit.core.checks import choose
from stkit.core.errors import ArtifactError
from stkit.core.rng import stream
from stkit.engine.augment.kernel import Columns, Drawn, Kernel
from stkit.recipes.carried import AUGMENTATIONS, Jitter

__all__ = ["KERNELS", "STREAMS", "Draws", "apply", "augment", "draw", "same_streams"]


def _kernels() -> Iterator[tuple[str, Kernel]]:
    """Every kernel of this folder's modules, under its name."""
    for module in iter_modules(__path__):
        yield from getattr(import_module(f"{__name__}.{module.name}"), "KERNELS", {}).items()


_UNORDERED = dict(_kernels())
assert _UNORDERED.keys() == set(AUGMENTATIONS), _UNORDERED.keys() ^ set(AUGMENTATIONS)
KERNELS: dict[str, Kernel] = {name: _UNORDERED[name] for name in AUGMENTATIONS}
"""Name -> kernel, in the order in which they are applied."""


STREAMS = "augment/NAME"
"""How draws are made, for the header of unfinished work: with others it cannot go on."""


def same_streams(progress: Mapping[str, Any]) -> None:
    """ArtifactError unless unfinished work was begun with the draws of this stkit."""
    if progress.get("draws") != STREAMS:
        raise ArtifactError(
            "the unfinished work was begun by a stkit that drew its augmentation from other "
            "streams; pass --force to start again"
        )


@dataclass(frozen=True)
class Draws:
    """One random draw for each image: names, and a float32 table [N, columns] with all of them.

    Rows may be taken (`replace(draws, table=draws.table[rows])`), or copied into the table of a
    captured step.
    """

    names: tuple[str, ...]
    table: Tensor

    @property
    def drawn(self) -> Drawn:
        """Name -> column -> [N, width]: views of the table. Flags are 0 or 1."""
        names = [name for name in KERNELS if name in self.names]
        widths = [width for name in names for width in KERNELS[name].columns.values()]
        views = iter(torch.split(self.table, widths, 1))
        return {name: {column: next(views) for column in KERNELS[name].columns} for name in names}

    def __getitem__(self, name: str) -> Columns:
        """The columns of that name."""
        return self.drawn[name]


def draw(
    names: tuple[str, ...],
    count: int,
    size: int,
    *,
    seed: int,
    clock: int = 0,
    purpose: str = "augment",
    device: torch.device | str = "cpu",
    strength: Jitter = 1.0,
) -> Draws:
    """Draws for `count` images of size x size, on `device`.

    seed, clock, purpose: each name draws from `rng.stream(seed, "PURPOSE/NAME", clock)`, or as its
    kernel's `stream` says. strength: of the colour jitter; at 1 brightness, contrast and saturation
    change by up to 0.4 and the hue by 0.1, and four numbers are these themselves. RecipeError for a
    name that is none of `KERNELS`.
    """
    for name in names:
        choose("augmentation", name, KERNELS)
    columns = [torch.empty(count, 0, dtype=torch.float32, device=device)]
    for name, kernel in KERNELS.items():
        if name not in names:
            continue
        generator = stream(seed, f"{purpose}/{kernel.stream or name}", clock, device)

        def uniform(width: int, generator: torch.Generator = generator) -> Tensor:
            return torch.rand(count, width, generator=generator, dtype=torch.float32, device=device)

        made = kernel.draw(uniform, size, strength)
        assert {key: value.shape[1] for key, value in made.items()} == kernel.columns, name
        columns += [made[key].float() for key in kernel.columns]
    return Draws(names, torch.cat(columns, 1))


def apply(images: Tensor, draws: Draws) -> Tensor:
    """Float [N,3,H,W] in [0,1] -> the same shape, augmented; no synchronisation.

    Crop and flip are linear and take any range. An image that the draw leaves out keeps its bits.
    """
    assert images.shape[2] == images.shape[3] and len(images) == len(draws.table)
    drawn = draws.drawn
    for act in dict.fromkeys(KERNELS[name].apply for name in drawn):
        images = act(images, drawn)
    return images


def augment(images: Tensor, names: tuple[str, ...], *, seed: int, clock: int = 0) -> Tensor:
    """Draw and apply: float [N,3,H,W] in [0,1] -> the same shape."""
    count, size = len(images), images.shape[-1]
    return apply(images, draw(names, count, size, seed=seed, clock=clock, device=images.device))
