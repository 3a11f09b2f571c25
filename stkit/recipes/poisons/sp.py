"""The recipe of SP."""

from dataclasses import dataclass
from typing import ClassVar

from stkit.core.checks import brief
from stkit.core.errors import RecipeError
from stkit.recipes.settings import EPSILON, ROUNDING, ROUNDINGS, budget, check, filled, setting

PLACE = 30


@dataclass(frozen=True, repr=False)
class SP:
    """Synthetic perturbations (Yu et al. 2022): one random linear blob a class, in patches.

    patch None: 8 at 32 px and 32 at 224 px, as the authors and APBench. In general the larger of
    two: a quarter of the short side but at most 8, and a seventh of it.
    """

    about: ClassVar = (
        "synthetic perturbations: linearly separable patches, L2 ball, no model needed"
    )
    trains_surrogate: ClassVar = False

    epsilon: float = setting(8 / 255, EPSILON, unit="budget")  # ST paper 4.1; the authors' 6/255
    bound: str = setting(  # the authors' ball is l2
        "l2", "The ball of epsilon; l2 has radius epsilon * sqrt(3HW).", choices=("l2", "linf")
    )
    patch: int | None = setting(
        None, "Side of a patch in pixels; 8 at 32 px, 32 at 224 px.", limits=(1, 4096)
    )
    rounding: str = setting("floor", ROUNDING, choices=ROUNDINGS)  # the authors truncate

    __repr__ = brief

    def __post_init__(self) -> None:
        budget(self.epsilon)
        check(self)

    def resolved(self, size: tuple[int, int], classes: int) -> "ResolvedSP":
        """The patch for images of this size. RecipeError when the one given does not fit them."""
        height, width = size
        short = min(size)
        if self.patch is not None and self.patch > short:
            raise RecipeError(
                f"patch is {self.patch}, but the images are {width}x{height}; "
                f"choose one from 1 to {short}"
            )
        return filled(self, ResolvedSP, patch=max(1, min(8, short // 4), short // 7))


@dataclass(frozen=True, kw_only=True, repr=False)
class ResolvedSP(SP):
    """SP with nothing left open."""

    patch: int


RECIPE = SP
