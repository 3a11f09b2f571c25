"""Every default of every method and frame, with its source. Values only: no torch, no behaviour.

A recipe is a frozen dataclass. Adding a frame made of known parts is one entry of `FRAMES`; adding
a poison is one class here and one module in `stkit/poisons/`. Sources: the ST paper (Table 3, A.2,
sec. 4.1), and the SP and OPS authors' published settings, as named beside each field.
"""

from dataclasses import asdict, dataclass, fields, replace
from difflib import get_close_matches
from typing import Any, TypeVar

from stkit.errors import RecipeError

ROUNDINGS = ("floor", "nearest")
GAMMAS = {"literal": 2.6e-4, "sum": 2.6e-4, "ratio": 0.10}
"""ACM variant -> its threshold. The paper's 2.6e-4 (sec. 4.1) belongs to Eq. 3-5 and to `sum`."""


def choose(kind: str, name: str, known: Any) -> str:
    """`name` if it is one of `known`, else a RecipeError that suggests the nearest."""
    names = list(known)
    if name in names:
        return name
    near = get_close_matches(name, names, 1)
    hint = f"did you mean {near[0]!r}?" if near else f"choose one of {', '.join(names)}"
    raise RecipeError(f"unknown {kind} {name!r}; {hint}")


def number(name: str, value: float, low: float, high: float) -> None:
    """A RecipeError unless low <= value <= high (NaN fails too)."""
    if not low <= value <= high:
        raise RecipeError(f"{name} is {value}, expected a number from {low:g} to {high:g}")


@dataclass(frozen=True)
class SP:
    """Synthetic perturbations (Yu et al. 2022): one random linear blob a class, in patches."""

    epsilon: float = 8 / 255  # ST paper 4.1; the authors' own default is 6/255
    bound: str = "l2"  # the authors' ball: L2 radius epsilon * sqrt(3HW)
    patch: int | None = None  # None: 8 at 32 px, 32 at 224 px, in between a seventh of the side
    rounding: str = "floor"  # the authors truncate

    def __post_init__(self) -> None:
        number("epsilon", self.epsilon, 0, 1)
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
            number("gamma", self.gamma, 0, float("inf"))
        if self.check_every is not None:
            number("check-every", self.check_every, 1, float("inf"))

    @property
    def threshold(self) -> float:
        return GAMMAS[self.variant] if self.gamma is None else self.gamma


@dataclass(frozen=True)
class Phase:
    """One run of SGD with its own cosine. `epochs` None: 60 at 32x32 up to 10 classes, else 100."""

    lr: float = 0.1
    augment: tuple[str, ...] = ("crop", "flip")
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


CG = ("crop", "flip", "jitter", "grey")
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
