"""The schedule of staged training, Algorithm 1 of the ST paper, as a value. No torch."""

import math
from dataclasses import dataclass, field
from math import inf

from stkit.core.checks import brief, choose, number, whole
from stkit.core.errors import RecipeError
from stkit.recipes.acm import VARIANTS
from stkit.recipes.purifiers import SHARE

RESTORES = ("all", "weights", "zero")
"""What a roll-back brings back besides weights and BatchNorm statistics: momentum as it was, none
(it goes on), zeros. The paper does not say; `all` is what loading a checkpoint does."""

ACM, PURIFIED = "acm", "purified"
INDICATORS = (ACM, PURIFIED)
"""What a check judges by: ACM of D^s, as the paper does, or the accuracy that held-out images keep
when a purifier has washed them, see `recipes.purifiers`."""


@dataclass(frozen=True, repr=False)
class Staged:
    """The schedule of Algorithm 1: Eq. 7 with beta, and the indicator against gamma at every check.

    ACM passes up to gamma; of the share of accuracy that purified images keep, gamma is the least
    that passes, of what is above chance. variant and layer are of ACM alone.
    stop: end the run there with the last accepted weights, where Algorithm 1 would roll back and
    go on with slower shallow layers; beta then has no part. No frame of the paper does that.
    layer: whose ACM is judged, as `models.features` has it; None: the penultimate one's.
    """

    beta: float = 0.25  # sec. 4.1; 1/n, see Eq. 7
    variant: str = "literal"
    gamma: float | None = None  # None: the variant's own, see VARIANTS; of the other, SHARE
    check_every: int | None = None  # steps; None: once an epoch, as Algorithm 1
    stop: bool = False
    restore: str = "all"  # with the weights also their momentum; or keep it, or set it to zero
    layer: str | int | None = None
    indicator: str = ACM

    __repr__ = brief

    def __post_init__(self) -> None:
        choose("indicator", self.indicator, INDICATORS)
        choose("ACM variant", self.variant, VARIANTS)
        if self.purified and (self.layer is not None or self.variant != Staged.variant):
            raise RecipeError(
                f"found an ACM to judge by ({self.variant}, layer {self.layer}) with the indicator "
                f"{PURIFIED!r}, which has none; leave variant and layer out"
            )
        choose("restore", self.restore, RESTORES)
        if not isinstance(self.layer, str | None):
            whole("acm-layer", self.layer, 1, inf)
        number("beta", self.beta, 0.01, 1)
        if abs(1 / self.beta - round(1 / self.beta)) > 0.01:  # 0.333 is taken for a third
            low, high = math.floor(1 / self.beta), math.ceil(1 / self.beta)
            raise RecipeError(
                f"beta is {self.beta:g}, expected one by a whole number of stages; "
                f"pass 1/{low} or 1/{high}"
            )
        if self.gamma is not None:
            number("gamma", self.gamma, 0, 1 if self.purified else inf)
        if self.check_every is not None:
            whole("check-every", self.check_every, 1, inf)

    @property
    def purified(self) -> bool:
        """Whether purified images are judged by, and not ACM."""
        return self.indicator == PURIFIED

    @property
    def threshold(self) -> float:
        """What the indicator is judged by."""
        if self.gamma is not None:
            return self.gamma
        return SHARE if self.purified else VARIANTS[self.variant].gamma


@dataclass(frozen=True, repr=False)
class ResolvedStaged(Staged):
    """A schedule with nothing left open."""

    gamma: float = field(kw_only=True)
    check_every: int = field(kw_only=True)  # steps
