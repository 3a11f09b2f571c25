"""What a poison's module offers, and the types in it; see the example in `stkit.poisons`.

A poison without a surrogate has a function `make`; one with a surrogate a class `Crafting`, because
it takes long: it is iterated, saved between two steps, and resumed.

    def make(images: Images, recipe, *, poisoned: Tensor, seed: int) -> Made
    class Crafting: def __init__(self, images: Images, recipe, *, seed: int, runtime: Runtime,
                                 surrogate: nn.Module | None = None)

Where noise is to go on photographs that keep their size, each pixel of it is added to a block of
them, see `photographs`. A module whose images are not clean ones with noise added says what is done
instead, as OPS and CUDA do:

    def on_photograph(pixels: np.ndarray, axes: tuple[Axis, Axis], sample: Sample) -> None

recipe: open or resolved; poisoned: bool [N], the images that are to get noise.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from torch import Tensor

from stkit.data.images import Images
from stkit.data.perturbation import Statistics
from stkit.engine.runtime import Runtime


@dataclass(frozen=True)
class Made:
    """Poisoned images uint8 [N,3,H,W] and the statistics of what was added, for the header.

    packages: those of others whose versions decide the noise.
    """

    pixels: Tensor
    statistics: Statistics
    packages: tuple[str, ...] = ()


@dataclass(frozen=True)
class Crafted:
    """Finished noise: `rows(slice)` gives it in [0,1] units, [n,3,H,W], and what the header says of
    how it came about."""

    rows: Callable[[slice], np.ndarray]
    about: dict[str, Any]


class Record(Protocol):
    """What is told of a step on the way: a small frozen dataclass."""

    def to_json(self) -> dict[str, Any]:
        """Its fields, for a header and a line of progress."""
        ...


class Crafting(Protocol):
    """Noise in the making: iterate `steps()` to the end, then ask for `result()`.

    Between two steps `tensors()` and `head()` are what a `state` file holds, from which `resume`
    goes on; of several ranks all must call these. What is not finite is a DivergenceError, in a
    step and before it would be saved.
    """

    images: Images
    recipe: Any
    seed: int
    runtime: Runtime

    @property
    def done(self) -> bool:
        """Whether no step is left."""
        ...

    @property
    def place(self) -> str:
        """How far it has come, for people."""
        ...

    @property
    def progress(self) -> tuple[int, int]:
        """Units finished, units at most."""
        ...

    def steps(self) -> Iterator[Record | None]:
        """Go on to the end; yields often, now and then a record."""
        ...

    def tensors(self) -> dict[str, Tensor]:
        """What unfinished noise needs to go on."""
        ...

    def head(self) -> dict[str, Any]:
        """The header of the `state` file."""
        ...

    def resume(self, head: dict[str, Any], tensors: dict[str, Tensor]) -> None:
        """Take up a `state` file. ArtifactError if it is another run's."""
        ...

    def result(self) -> Crafted:
        """The finished noise."""
        ...
