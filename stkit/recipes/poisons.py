"""Every default of every poison, with its source, and the names there are. Values only: no torch.

A recipe is a frozen dataclass. To add a poison: one class here, with its entry in `METHODS`, and
one module of that name in `stkit/poisons/`. A field left open (None) takes the authors' setting for
the images at hand: `resolve` gives the recipe with nothing left open, as another type.
Sources: the ST paper (sec. 4.1) and the authors' published settings, as named beside each field.
"""

from dataclasses import dataclass
from math import inf
from typing import Any, ClassVar, Self, TypeVar

from stkit.core.checks import brief, number
from stkit.core.errors import RecipeError
from stkit.recipes.carried import AUGMENTS
from stkit.recipes.catalogue import MODELS, TIMM, model_name
from stkit.recipes.settings import Recipe, check, filled, setting, settings

ROUNDINGS = ("floor", "nearest")
ROUNDS = 10  # of EM, a guess for estimates: it ends when its error is small enough
COUNT, SHARE = (1, inf), (0, 1)  # limits
R = TypeVar("R")


def resolve(recipe: Recipe[R], size: tuple[int, int], classes: int) -> R:
    """The recipe with nothing left open, for images of this height and width and so many classes.

    RecipeError when it does not fit them.
    """
    return recipe.resolved(size, classes)


def budget(epsilon: float) -> None:
    """A RecipeError unless 0 < epsilon <= 1."""
    number("epsilon", epsilon, 0, 1)
    if epsilon == 0:
        raise RecipeError("epsilon is 0, which makes no noise; pass more, for instance 8/255")


EPSILON, ROUNDING = "Per-pixel budget.", "How noise becomes grey levels, once."
MODEL = f"The surrogate: {', '.join(MODELS)}, or {TIMM}NAME."
LR, MOMENTUM = "The surrogate's learning rate.", "The surrogate's momentum."


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
        rounds = min(ROUNDS, self.max_rounds)
        return rounds * (self.steps * count + self.model_steps * self.batch_size)


EM_SETTINGS: dict[str, dict[str, Any]] = {
    "cifar10": {"model_steps": 10, "batch_size": 512, "stop_error": 0.01, "weight_decay": 5e-4},
    "cifar100": {"model_steps": 20, "batch_size": 512, "stop_error": 0.01, "weight_decay": 5e-5},
    "224": {"model_steps": 100, "batch_size": 32, "stop_error": 0.1, "weight_decay": 5e-5},
}
"""The authors' settings: up to 10 classes, more classes, more than 64 pixels."""


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


METHODS: dict[str, type[Recipe[Any]]] = {"em": EM, "rem": REM, "sp": SP, "ops": OPS}
LONG = tuple(name for name, recipe in METHODS.items() if recipe.trains_surrogate)
"""Methods that train a surrogate: they take a device, and can be stopped and gone on with."""


def variants() -> list[str]:
    """Every poison by its name in tables, in the order of their rows: em-sample, ..., rem-fast."""
    names = []
    for method, recipe in METHODS.items():
        about = settings(recipe)
        scopes = about["scope"].choices if "scope" in about else ()
        own = [f"{method}-{scope}" for scope in scopes] or [method]
        names += own + [f"{name}-fast" for name in own if "fast" in about]
    return names
