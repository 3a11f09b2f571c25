"""The recipe of OPS."""

from dataclasses import dataclass
from typing import ClassVar, Self

from stkit.core.checks import brief
from stkit.core.errors import RecipeError
from stkit.recipes.settings import check, setting

PLACE = 40


@dataclass(frozen=True, repr=False)
class OPS:
    """One-pixel shortcut (Wu et al. 2023): the same pixel of a class set to one extreme colour."""

    about: ClassVar = "one-pixel shortcut: one pixel of each class set to an extreme colour"
    trains_surrogate: ClassVar = False

    objective: str = setting(  # code: mean / std; paper: Eq. 2, sum / variance
        "code", "The authors' code, or their paper's Eq. 2.", choices=("code", "paper")
    )
    pixels: int = setting(1, "Pixels an image.", limits=(1, 1 << 16))

    __repr__ = brief

    def __post_init__(self) -> None:
        check(self)

    def resolved(self, size: tuple[int, int], classes: int) -> Self:
        """Itself: nothing is open. RecipeError for more pixels than an image has."""
        if self.pixels > size[0] * size[1]:
            raise RecipeError(
                f"pixels is {self.pixels}, but the images have {size[0] * size[1]}; choose fewer"
            )
        return self


RECIPE = OPS
