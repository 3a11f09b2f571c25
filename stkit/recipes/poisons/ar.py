"""The recipe of AR."""

from dataclasses import dataclass
from math import sqrt
from typing import ClassVar, Self

from stkit.core.checks import brief
from stkit.recipes.settings import ROUNDING, ROUNDINGS, budget, check, setting

PLACE = 60


@dataclass(frozen=True, repr=False)
class AR:
    """Autoregressive perturbations (Sandoval-Segura et al. 2022): a random process a class."""

    about: ClassVar = "autoregressive noise: a random process a class, an L2 ball, no model needed"
    trains_surrogate: ClassVar = False

    epsilon: float = setting(
        1 / sqrt(3 * 32 * 32),
        "Per-pixel budget; the default is the authors' L2 norm of 1 at 32 px.",
        unit="budget",
    )
    bound: str = setting(  # the paper's ball is l2; the authors' script has both
        "l2", "The ball of epsilon; l2 has radius epsilon * sqrt(3HW).", choices=("l2", "linf")
    )
    rounding: str = setting("nearest", ROUNDING, choices=ROUNDINGS)  # as the authors write PNG

    __repr__ = brief

    def __post_init__(self) -> None:
        budget(self.epsilon)
        check(self)

    def resolved(self, size: tuple[int, int], classes: int) -> Self:
        """Itself: nothing is open."""
        return self


RECIPE = AR
