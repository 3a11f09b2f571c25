"""The recipe of CUDA."""

from dataclasses import dataclass
from typing import ClassVar

from stkit.core.checks import brief
from stkit.core.errors import RecipeError
from stkit.recipes.settings import ROUNDING, ROUNDINGS, SHARE, check, filled, setting

PLACE = 70
LARGE = 64  # with more pixels on a side, the authors' settings for 224 px, as of other poisons


@dataclass(frozen=True, repr=False)
class CUDA:
    """Convolution-based unlearnable datasets (Sadasivan et al. 2023): a blur of its own a class.

    None: kernel 3 and blur 0.3 at 32 px, 9 and 0.06 at 224 px, as in sec. 5.1 of the paper.
    """

    about: ClassVar = (
        "convolution-based: a random filter a class blurs its images, no model, no GPU needed"
    )
    trains_surrogate: ClassVar = False

    kernel: int | None = setting(
        None, "Side of a filter in pixels, odd; 3 at 32 px, 9 at 224 px.", limits=(1, 99)
    )
    blur: float | None = setting(
        None, "Largest weight beside the one that is 1; 0.3 at 32 px, 0.06 at 224 px.",
        unit="fraction", limits=SHARE,
    )  # fmt: skip
    rounding: str = setting("floor", ROUNDING, choices=ROUNDINGS)  # the authors truncate

    __repr__ = brief

    def __post_init__(self) -> None:
        check(self)
        if self.kernel is not None and self.kernel % 2 == 0:
            raise RecipeError(
                f"kernel is {self.kernel}, expected an odd number; pass {self.kernel + 1}"
            )

    def resolved(self, size: tuple[int, int], classes: int) -> "ResolvedCUDA":
        """The filters for images of this size, where nothing is given."""
        kernel, blur = (9, 0.06) if min(size) > LARGE else (3, 0.3)
        return filled(self, ResolvedCUDA, kernel=kernel, blur=blur)


@dataclass(frozen=True, kw_only=True, repr=False)
class ResolvedCUDA(CUDA):
    """CUDA with nothing left open."""

    kernel: int
    blur: float


RECIPE = CUDA
