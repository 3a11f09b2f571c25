"""Every default of every poison, with its source, and the names there are. Values only: no torch.

A recipe is a frozen dataclass. To add a poison: one class here and one module in `stkit/poisons/`.
Sources: the ST paper (sec. 4.1) and the authors' published settings, as named beside each field.
"""

from dataclasses import dataclass, replace
from math import inf
from typing import Any

from stkit.core.checks import choose, number
from stkit.core.errors import RecipeError
from stkit.recipes.carried import AUGMENTS
from stkit.recipes.catalogue import model_name

ROUNDINGS = ("floor", "nearest")


def _within(recipe: Any, **limits: tuple[float, float]) -> None:
    """A RecipeError unless each of these fields, where it is given, lies within its limits."""
    for name, (low, high) in limits.items():
        if getattr(recipe, name) is not None:
            number(name.replace("_", "-"), getattr(recipe, name), low, high)


def budget(epsilon: float) -> None:
    """A RecipeError unless 0 < epsilon <= 1."""
    number("epsilon", epsilon, 0, 1)
    if epsilon == 0:
        raise RecipeError("epsilon is 0, which makes no noise; pass more, for instance 8/255")


@dataclass(frozen=True)
class SP:
    """Synthetic perturbations (Yu et al. 2022): one random linear blob a class, in patches."""

    epsilon: float = 8 / 255  # ST paper 4.1; the authors' own default is 6/255
    bound: str = "l2"  # the authors' ball: L2 radius epsilon * sqrt(3HW)
    patch: int | None = None  # None: 8 at 32 px, 32 at 224 px: max(min(8, side // 4), side // 7)
    rounding: str = "floor"  # the authors truncate

    def __post_init__(self) -> None:
        budget(self.epsilon)
        choose("bound", self.bound, ("l2", "linf"))
        choose("rounding", self.rounding, ROUNDINGS)
        if self.patch is not None:
            number("patch", self.patch, 1, 4096)


@dataclass(frozen=True)
class OPS:
    """One-pixel shortcut (Wu et al. 2023): the same pixel of a class set to one extreme colour."""

    objective: str = "code"  # mean/std as the authors' code; "paper": Eq. 2, sum/variance
    pixels: int = 1

    def __post_init__(self) -> None:
        choose("objective", self.objective, ("code", "paper"))
        number("pixels", self.pixels, 1, 1 << 16)


@dataclass(frozen=True)
class EM:
    """Error-minimizing noise (Huang et al. 2021). None: the authors' setting for the data set,
    see EM_SETTINGS; `steps` is 20 sample-wise and 1 class-wise, `step_size` epsilon / 10."""

    scope: str = "sample"
    epsilon: float = 8 / 255
    step_size: float | None = None
    steps: int | None = None
    model_steps: int | None = None  # SGD steps on the surrogate a round
    batch_size: int | None = None
    stop_error: float | None = None  # a round whose error is no larger is the last
    weight_decay: float | None = None
    max_rounds: int = 50  # the authors have no limit, and runs that never end
    sign: str = "both"  # "positive": the authors' loader, which drops the negative half
    rounding: str = "floor"  # the authors truncate
    model: str = "resnet18"
    lr: float = 0.1
    momentum: float = 0.9
    clip: float = 5.0  # L2 norm of the surrogate's gradient

    def __post_init__(self) -> None:
        choose("scope", self.scope, ("sample", "class"))
        choose("sign", self.sign, ("both", "positive"))
        choose("rounding", self.rounding, ROUNDINGS)
        model_name(self.model)
        budget(self.epsilon)
        _within(
            self,
            step_size=(0, 1), steps=(1, 10_000), model_steps=(1, inf), batch_size=(1, inf),
            stop_error=(0, 1), weight_decay=(0, 1), max_rounds=(1, inf), lr=(0, 1000),
            momentum=(0, 1), clip=(0, inf),
        )  # fmt: skip


EM_SETTINGS: dict[str, dict[str, Any]] = {
    "cifar10": {"model_steps": 10, "batch_size": 512, "stop_error": 0.01, "weight_decay": 5e-4},
    "cifar100": {"model_steps": 20, "batch_size": 512, "stop_error": 0.01, "weight_decay": 5e-5},
    "224": {"model_steps": 100, "batch_size": 32, "stop_error": 0.1, "weight_decay": 5e-5},
}
"""The authors' settings: up to 10 classes, more classes, more than 64 pixels."""


def em_for(recipe: EM, size: int, classes: int) -> EM:
    """The recipe with what it leaves open filled in for images of this size and so many classes."""
    row = "224" if size > 64 else "cifar10" if classes <= 10 else "cifar100"
    found = dict(EM_SETTINGS[row])
    if recipe.scope == "class" and row != "224":
        found["model_steps"] = 10  # class-wise, the authors' scripts have 10 for CIFAR-100 too
    found["steps"] = 20 if recipe.scope == "sample" else 1
    found["step_size"] = recipe.epsilon / 10
    return replace(recipe, **{k: v for k, v in found.items() if getattr(recipe, k) is None})


@dataclass(frozen=True)
class REM:
    """Robust error-minimizing noise (Fu et al. 2022). None: the authors' setting for the image
    size, see REM_SETTINGS. Steps and sizes named adversary_* are those of the inner attack."""

    epsilon: float = 8 / 255
    step_size: float | None = None
    steps: int | None = None
    eot: int | None = None  # draws of the augmentation over which a gradient is summed
    adversary: float = 4 / 255
    adversary_step_size: float | None = None
    adversary_steps: int | None = None
    model_steps: int | None = None  # SGD steps of the surrogate
    lr_decay_every: int | None = None  # steps; the rate falls to a tenth
    batch_size: int | None = None
    fast: bool = False  # stkit's short cut: fewer draws and steps, weaker noise
    augment: str = "plain"  # crop and flip; "cg": jitter and grey as well (ST paper, Eq. 8: REM-T)
    rounding: str = "nearest"  # the authors round
    model: str = "resnet18"
    lr: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 5e-4

    def __post_init__(self) -> None:
        choose("augment", self.augment, AUGMENTS)
        number("epsilon", self.epsilon, 0, 127 / 255)  # noise is kept as int8, as theirs is
        choose("rounding", self.rounding, ROUNDINGS)
        model_name(self.model)
        budget(self.epsilon)
        _within(
            self,
            step_size=(0, 1), steps=(1, 10_000), eot=(1, 1000), adversary=(0, 1),
            adversary_step_size=(0, 1), adversary_steps=(1, 10_000), model_steps=(1, inf),
            lr_decay_every=(1, inf), batch_size=(1, inf), lr=(0, 1000), momentum=(0, 1),
            weight_decay=(0, 1),
        )  # fmt: skip


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


def rem_for(recipe: REM, size: int) -> REM:
    """The recipe with what it leaves open filled in for images of this size."""
    found = REM_SETTINGS["fast" if recipe.fast else "224" if size > 64 else "32"]
    return replace(recipe, **{k: v for k, v in found.items() if getattr(recipe, k) is None})


METHODS: dict[str, type] = {"em": EM, "rem": REM, "sp": SP, "ops": OPS}
LONG = ("em", "rem")
"""Methods that train a surrogate: they take a device, and can be stopped and gone on with."""


ABOUT = {
    "em": "error-minimizing noise: a surrogate and the noise help each other, L-infinity ball",
    "rem": "robust error-minimizing noise: the same under attack and augmentation; hours on a CPU",
    "sp": "synthetic perturbations: linearly separable patches, L2 ball, no model needed",
    "ops": "one-pixel shortcut: one pixel of each class set to an extreme colour",
}
