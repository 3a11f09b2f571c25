"""Every default of every method and frame, with its source. Values only: no torch, no behaviour.

A recipe is a frozen dataclass. Adding a frame made of known parts is one entry of `FRAMES`; adding
a poison is one class here and one module in `stkit/poisons/`. Sources: the ST paper (Table 3, A.2,
sec. 4.1), and the SP and OPS authors' published settings, as named beside each field.
"""

from dataclasses import asdict, dataclass, fields, replace
from difflib import get_close_matches
from math import inf
from typing import Any, TypeVar

from stkit.errors import RecipeError

ROUNDINGS = ("floor", "nearest")
GAMMAS = {"literal": 2.6e-4, "sum": 2.6e-4, "ratio": 0.10}
"""ACM variant -> its threshold. The paper's 2.6e-4 (sec. 4.1) belongs to Eq. 3-5 and to `sum`."""


def choose(kind: str, name: str, known: Any) -> str:
    """`name` if it is one of `known`, else a RecipeError that suggests the nearest."""
    if name in known:
        return name
    raise RecipeError(nearest(kind, name, known))


def nearest(kind: str, name: str, known: Any) -> str:
    """What to say of an unknown name: the nearest one, or all of them."""
    near = get_close_matches(name, list(known), 1)
    hint = f"did you mean {near[0]!r}?" if near else f"choose one of {', '.join(known)}"
    return f"unknown {kind} {name!r}; {hint}"


def number(name: str, value: float, low: float, high: float) -> None:
    """A RecipeError unless low <= value <= high (NaN fails too)."""
    if not low <= value <= high:
        raise RecipeError(f"{name} is {value}, expected a number from {low:g} to {high:g}")


DATASETS = {
    "digits": "8x8 handwritten digits of scikit-learn at 32x32, split 80/20; no download",
    "cifar10": "CIFAR-10, downloaded once by torchvision",
    "cifar100": "CIFAR-100, downloaded once by torchvision",
}
MODELS = {
    "resnet18": "ResNet-18 with the 3x3 stem, 11.2 M parameters, 21 layers",
    "small": "a thin ResNet-10 for laptops, 14 layers",
}


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


PLAIN = ("crop", "flip")
CG = (*PLAIN, "jitter", "grey")
AUGMENTS = {"plain": PLAIN, "cg": CG}


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
        choose("model", self.model, MODELS)
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
    batch_size: int = 128
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
        choose("model", self.model, MODELS)
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
           "adversary_step_size": 0.8 / 255, "model_steps": 5000, "lr_decay_every": 2000},
    "224": {"steps": 7, "step_size": 2 / 255, "adversary_steps": 7, "eot": 4,
            "adversary_step_size": 1 / 255, "model_steps": 3000, "lr_decay_every": 1200},
    "fast": {"steps": 5, "step_size": 3.2 / 255, "adversary_steps": 3, "eot": 2,
             "adversary_step_size": 2 / 255, "model_steps": 1000, "lr_decay_every": 400,
             "batch_size": 256},
}  # fmt: skip
"""The authors' settings up to 64 pixels and above, and stkit's own short cut (`--fast`)."""


def rem_for(recipe: REM, size: int) -> REM:
    """The recipe with what it leaves open filled in for images of this size."""
    found = REM_SETTINGS["224" if size > 64 else "32"]
    return replace(recipe, **{k: v for k, v in found.items() if getattr(recipe, k) is None})


METHODS: dict[str, type] = {"sp": SP, "ops": OPS}


@dataclass(frozen=True)
class Adversary:
    """PGD inside the L-infinity ball: AT of the ST paper (sec. 4.1), as in REM's train.py."""

    epsilon: float = 4 / 255
    step_size: float = 0.8 / 255
    steps: int = 10

    def __post_init__(self) -> None:
        number("adversary", self.epsilon, 0, 1)
        number("step_size", self.step_size, 0, 1)
        number("steps", self.steps, 1, 10000)


@dataclass(frozen=True)
class Staged:
    """The schedule of Algorithm 1: Eq. 7 with beta, and ACM against gamma at every check."""

    beta: float = 0.25  # sec. 4.1
    variant: str = "literal"
    gamma: float | None = None  # None: the variant's own, see GAMMAS
    check_every: int | None = None  # steps; None: once an epoch, as Algorithm 1

    def __post_init__(self) -> None:
        choose("ACM variant", self.variant, GAMMAS)
        number("beta", self.beta, 0.01, 1)
        if self.gamma is not None:
            number("gamma", self.gamma, 0, inf)
        if self.check_every is not None:
            number("check-every", self.check_every, 1, inf)

    @property
    def threshold(self) -> float:
        return GAMMAS[self.variant] if self.gamma is None else self.gamma


@dataclass(frozen=True)
class Phase:
    """One run of SGD with its own cosine. `epochs` None: 60 at 32x32 up to 10 classes, else 100."""

    lr: float = 0.1
    augment: tuple[str, ...] = PLAIN
    adversary: Adversary | None = None
    staged: Staged | None = None
    epochs: int | None = None
    momentum: float = 0.9
    weight_decay: float = 1e-4

    def __post_init__(self) -> None:
        number("lr", self.lr, 0, 1000)
        if self.epochs is not None:
            number("epochs", self.epochs, 1, 1_000_000)


@dataclass(frozen=True)
class Frame:
    """A way to train: one phase, or a phase and then a fine-tune phase with a fresh optimizer."""

    train: Phase
    fine_tune: Phase | None = None

    @property
    def phases(self) -> tuple[Phase, ...]:
        return (self.train,) if self.fine_tune is None else (self.train, self.fine_tune)


FRAMES: dict[str, Frame] = {
    "nt": Frame(Phase()),
    "nt-cg": Frame(Phase(augment=CG)),
    "at": Frame(Phase(adversary=Adversary())),
    "st": Frame(Phase(staged=Staged())),
    "st-cg": Frame(Phase(lr=0.2, augment=CG, staged=Staged())),
    "st-full": Frame(Phase(lr=0.2, augment=CG, staged=Staged()), Phase(lr=0.3, augment=CG)),
}
ABOUT = {
    "sp": "synthetic perturbations: linearly separable patches, L2 ball, no model needed",
    "ops": "one-pixel shortcut: one pixel of each class set to an extreme colour",
    "nt": "natural training: crop and flip",
    "nt-cg": "natural training with colour jitter and grey",
    "at": "adversarial training: PGD-10 at 4/255",
    "st": "progressive staged training, Algorithm 1",
    "st-cg": "staged training with colour jitter and grey",
    "st-full": "st-cg, then a fine-tune with colour jitter and grey",
}

R = TypeVar("R")


def given(recipe: R, **options: Any) -> R:
    """`recipe` with every option that is not None put in its place."""
    known = {f.name for f in fields(recipe)}  # type: ignore[arg-type]
    assert known >= options.keys(), options.keys() - known
    return replace(recipe, **{k: v for k, v in options.items() if v is not None})  # type: ignore[type-var]


def frame_with(
    name: str,
    *,
    epochs: int | None = None,
    lr: float | None = None,
    fine_tune_epochs: int | None = None,
    fine_tune_lr: float | None = None,
    adversary: float | None = None,
    **staged: Any,
) -> Frame:
    """The frame called `name` with options in place; staged: beta, gamma, variant, check_every.

    RecipeError for an unknown frame, and for an option that this frame does not have.
    """
    frame = FRAMES[choose("frame", name, FRAMES)]
    staged = {k: v for k, v in staged.items() if v is not None}
    phase, tune = frame.train, frame.fine_tune
    for option, value, has in (
        (" and ".join(staged), staged or None, phase.staged),
        ("adversary", adversary, phase.adversary),
        ("fine-tune-epochs", fine_tune_epochs, tune),
        ("fine-tune-lr", fine_tune_lr, tune),
    ):
        if value is not None and has is None:
            raise RecipeError(f"option {option} does not belong to frame {name!r}; leave it out")
    if staged and phase.staged:
        phase = replace(phase, staged=replace(phase.staged, **staged))
    if adversary is not None and phase.adversary:
        phase = replace(phase, adversary=_scaled(phase.adversary, adversary))
    phase = given(phase, epochs=epochs, lr=lr)
    if tune:
        tune = given(tune, epochs=fine_tune_epochs or epochs, lr=fine_tune_lr)
    return Frame(phase, tune)


def _scaled(adversary: Adversary, epsilon: float) -> Adversary:
    """Another radius with the step in the same proportion to it."""
    number("adversary", epsilon, 0, 1)
    return replace(
        adversary, epsilon=epsilon, step_size=adversary.step_size * epsilon / adversary.epsilon
    )


def default_epochs(size: int, classes: int) -> int:
    """60 for 32x32 with up to 10 classes, else 100: EM's settings, as the ST paper names none."""
    return 60 if size <= 32 and classes <= 10 else 100


def as_dict(recipe: Any) -> dict[str, Any]:
    """The recipe as plain JSON values, for a header."""
    return asdict(recipe)
