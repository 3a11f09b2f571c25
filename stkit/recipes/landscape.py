"""Where around a model's weights its loss is measured, and on what. No torch; see `measure`."""

from dataclasses import dataclass

from stkit.core.errors import RecipeError
from stkit.recipes.settings import COUNT, check, setting


@dataclass(frozen=True)
class Plane:
    """A square grid of places (alpha, beta) around the weights, which are its centre."""

    points: int = setting(
        21, "Places along each side of the plane, an odd number.", limits=(3, 1001)
    )
    span: float = setting(
        1.0, "How far the plane reaches to each side, in norms of a filter.", limits=(1e-6, 1e6)
    )
    # so many that 21 x 21 places of the small net take a minute on two cores
    limit: int = setting(1000, "Images of SOURCE, as many of each class.", limits=COUNT)
    seed: int = setting(0, "Of the two directions and of the images.", limits=(0, 2**32 - 1))

    def __post_init__(self) -> None:
        check(self)
        if self.points % 2 == 0:
            raise RecipeError(
                f"points is {self.points}, expected an odd number, so that the weights themselves "
                f"are one of the places; pass {self.points + 1}"
            )

    @property
    def places(self) -> list[float]:
        """Along one side, ascending; the middle one is 0 exactly."""
        last = self.points - 1
        return [self.span * (2 * i - last) / last for i in range(self.points)]

    @property
    def middle(self) -> int:
        """The number of the place that is 0."""
        return self.points // 2
