"""What passes between the reader of a layout and the rest: what was asked, and what was found."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from stkit.core.checks import choose, number
from stkit.recipes.poisons import ROUNDINGS, budget


@dataclass(frozen=True)
class Options:
    """What the user says of a file; None lets the file speak for itself.

    epsilon: in [0,1]; the noise may be no larger (SP: the root mean square of an image's noise);
    without one a cap is put on what is plausible. labels: the `.npy` file with the labels of SP
    noise or NTGA images. seed: of the draw among several noises a class.
    """

    scope: str | None = None
    sign: str | None = None
    rounding: str | None = None
    epsilon: float | None = None
    labels: Path | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        for name, value, known in (
            ("scope", self.scope, ("sample", "class")),
            ("sign", self.sign, ("both", "positive")),
            ("rounding", self.rounding, ROUNDINGS),
        ):
            if value is not None:
                choose(name, value, known)
        if self.epsilon is not None:
            budget(self.epsilon)
        number("seed", self.seed, 0, 2**32 - 1)


@dataclass
class Found:
    """Published images uint8 [n,3,H,W] and of which clean rows (None: all, in their order)."""

    pixels: Tensor
    recipe: dict[str, Any]
    notes: list[str] = field(default_factory=list)
    rows: Tensor | None = None
