"""The recipe of REM."""

from dataclasses import dataclass
from typing import Any, ClassVar

from stkit.core.checks import brief
from stkit.recipes.carried import AUGMENTS
from stkit.recipes.catalogue import model_name
from stkit.recipes.settings import (
    COUNT,
    EPSILON,
    LR,
    MODEL,
    MOMENTUM,
    ROUNDING,
    ROUNDINGS,
    SHARE,
    budget,
    check,
    filled,
    setting,
)

PLACE = 20


@dataclass(frozen=True, repr=False)
class REM:
    """Robust error-minimizing noise (Fu et al. 2022). None: the authors' setting for the image
    size, see REM_SETTINGS. Steps and sizes named adversary_* are those of the inner attack."""

    about: ClassVar = (
        "robust error-minimizing noise: the same under attack and augmentation; hours on a CPU"
    )
    trains_surrogate: ClassVar = True

    epsilon: float = setting(  # noise is kept as int8, as theirs is
        8 / 255, EPSILON, unit="budget", limits=(0, 127 / 255)
    )
    step_size: float | None = setting(
        None, "Size of a step of the noise; 1.6/255, at 224 px 2/255.", unit="budget", limits=SHARE
    )
    steps: int | None = setting(None, "Steps of the noise; 10, at 224 px 7.", limits=(1, 10_000))
    eot: int | None = setting(  # a gradient is summed over them
        None, "Draws of the augmentation a step; 5, at 224 px 4.", limits=(1, 1000)
    )
    adversary: float = setting(4 / 255, "Radius of the inner attack.", unit="budget", limits=SHARE)
    adversary_step_size: float | None = setting(
        None, "Its step; 0.8/255, at 224 px 1/255.", unit="budget", limits=SHARE
    )
    adversary_steps: int | None = setting(None, "Its steps; 10, at 224 px 7.", limits=(1, 10_000))
    model_steps: int | None = setting(
        None, "SGD steps of the surrogate; 5000, at 224 px 3000.", limits=COUNT
    )
    lr_decay_every: int | None = setting(
        None, "Steps after which lr falls to a tenth; 2000, 224 px 1200.", limits=COUNT
    )
    batch_size: int | None = setting(None, "Images a batch; 128.", limits=COUNT)
    fast: bool = setting(
        False, "A short cut with fewer draws and steps: weaker noise, labelled so."
    )
    augment: str = setting(  # plain: crop and flip; cg: jitter and grey as well (ST paper, Eq. 8)
        "plain", "cg: jitter and grey in the draws as well (REM-T).", choices=tuple(AUGMENTS)
    )
    rounding: str = setting("nearest", ROUNDING, choices=ROUNDINGS)  # the authors round
    model: str = setting("resnet18", MODEL, metavar="MODEL")
    lr: float = setting(0.1, LR, limits=(0, 1000))
    momentum: float = setting(0.9, MOMENTUM, limits=SHARE)
    weight_decay: float = setting(5e-4, "The surrogate's.", limits=SHARE)

    __repr__ = brief

    def __post_init__(self) -> None:
        check(self)
        model_name(self.model)
        budget(self.epsilon)

    def resolved(self, size: tuple[int, int], classes: int) -> "ResolvedREM":
        """The authors' settings for images of this size, where none is given."""
        row = "fast" if self.fast else "224" if size[0] > 64 else "32"
        return filled(self, ResolvedREM, **REM_SETTINGS[row])


@dataclass(frozen=True, kw_only=True, repr=False)
class ResolvedREM(REM):
    """REM with nothing left open."""

    step_size: float
    steps: int
    eot: int
    adversary_step_size: float
    adversary_steps: int
    model_steps: int
    lr_decay_every: int
    batch_size: int

    def passes(self, count: int) -> float:
        """Images through the surrogate, those of the attacks included."""
        batches = self.model_steps + count / self.batch_size
        return batches * self.batch_size * self.steps * self.eot * (self.adversary_steps + 1)


REM_SETTINGS: dict[str, dict[str, Any]] = {
    "32": {"steps": 10, "step_size": 1.6 / 255, "adversary_steps": 10, "eot": 5,
           "adversary_step_size": 0.8 / 255, "model_steps": 5000, "lr_decay_every": 2000,
           "batch_size": 128},
    "224": {"steps": 7, "step_size": 2 / 255, "adversary_steps": 7, "eot": 4,
            "adversary_step_size": 1 / 255, "model_steps": 3000, "lr_decay_every": 1200,
            "batch_size": 128},
    "fast": {"steps": 5, "step_size": 3.2 / 255, "adversary_steps": 3, "eot": 2,
             "adversary_step_size": 2 / 255, "model_steps": 1000, "lr_decay_every": 400,
             "batch_size": 256},
}  # fmt: skip
"""The authors' settings up to 64 pixels and above, and stkit's own short cut (`--fast`)."""


RECIPE = REM
