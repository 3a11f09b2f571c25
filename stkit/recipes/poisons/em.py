"""The recipe of EM."""

from dataclasses import dataclass
from math import inf
from typing import Any, ClassVar

from stkit.core.checks import brief
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

PLACE = 10
GUESSED_ROUNDS = 10  # for estimates: it ends when its error is small enough


@dataclass(frozen=True, repr=False)
class EM:
    """Error-minimizing noise (Huang et al. 2021). None: the authors' setting for the data set,
    see EM_SETTINGS; `steps` is 20 sample-wise and 1 class-wise, `step_size` epsilon / 10."""

    about: ClassVar = (
        "error-minimizing noise: a surrogate and the noise help each other, L-infinity ball"
    )
    trains_surrogate: ClassVar = True

    scope: str = setting(
        "sample", "One noise an image, or one a class.", choices=("sample", "class")
    )
    epsilon: float = setting(8 / 255, EPSILON, unit="budget")
    step_size: float | None = setting(
        None, "Size of a step of the noise; epsilon / 10.", unit="budget", limits=SHARE
    )
    steps: int | None = setting(None, "Steps of the noise; 20, class-wise 1.", limits=(1, 10_000))
    model_steps: int | None = setting(
        None, "SGD steps of the surrogate a round; 10, CIFAR-100 20, 224 px 100.", limits=COUNT
    )
    batch_size: int | None = setting(None, "Images a batch; 512, at 224 px 32.", limits=COUNT)
    stop_error: float | None = setting(  # a round whose error is no larger is the last
        None, "The error that ends it; 0.01, at 224 px 0.1.", unit="fraction", limits=SHARE
    )
    weight_decay: float | None = setting(
        None, "The surrogate's; 5e-4, CIFAR-100 and 224 px 5e-5.", limits=SHARE
    )
    max_rounds: int = setting(  # the authors have no limit, and runs that never end
        50, "Rounds at most; the best one is kept.", limits=COUNT
    )
    sign: str = setting(
        "both", "positive drops the negative half, as the authors' loader.",
        choices=("both", "positive"),
    )  # fmt: skip
    rounding: str = setting("floor", ROUNDING, choices=ROUNDINGS)  # the authors truncate
    model: str = setting("resnet18", MODEL, metavar="MODEL")
    lr: float = setting(0.1, LR, limits=(0, 1000))
    momentum: float = setting(0.9, MOMENTUM, limits=SHARE)
    clip: float = setting(5.0, "Largest L2 norm of the surrogate's gradient.", limits=(0, inf))

    __repr__ = brief

    def __post_init__(self) -> None:
        check(self)
        model_name(self.model)
        budget(self.epsilon)

    def resolved(self, size: tuple[int, int], classes: int) -> "ResolvedEM":
        """The authors' settings for images of this size and so many classes, where none is given.

        Class-wise, their scripts have 10 steps of the surrogate for CIFAR-100 too.
        """
        row = "224" if size[0] > 64 else "cifar10" if classes <= 10 else "cifar100"
        table = dict(EM_SETTINGS[row])
        if self.scope == "class" and row != "224":
            table["model_steps"] = 10
        steps = 20 if self.scope == "sample" else 1
        return filled(self, ResolvedEM, steps=steps, step_size=self.epsilon / 10, **table)


@dataclass(frozen=True, kw_only=True, repr=False)
class ResolvedEM(EM):
    """EM with nothing left open."""

    step_size: float
    steps: int
    model_steps: int
    batch_size: int
    stop_error: float
    weight_decay: float

    def passes(self, count: int) -> float:
        """Images through the surrogate in the rounds that EM is guessed to need."""
        rounds = min(GUESSED_ROUNDS, self.max_rounds)
        return rounds * (self.steps * count + self.model_steps * self.batch_size)


EM_SETTINGS: dict[str, dict[str, Any]] = {
    "cifar10": {"model_steps": 10, "batch_size": 512, "stop_error": 0.01, "weight_decay": 5e-4},
    "cifar100": {"model_steps": 20, "batch_size": 512, "stop_error": 0.01, "weight_decay": 5e-5},
    "224": {"model_steps": 100, "batch_size": 32, "stop_error": 0.1, "weight_decay": 5e-5},
}
"""The authors' settings: up to 10 classes, more classes, more than 64 pixels."""


RECIPE = EM
