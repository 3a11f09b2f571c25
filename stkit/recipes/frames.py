"""The frames, the ways to train, as values: every number of the ST paper (Table 3, A.2, sec. 4.1).

The first six are the paper's own. Those after them are what the field sets beside it, each `nt`
with one thing more, so that accuracies differ by that alone; their authors train otherwise (Liu et
al. 2023 and Qin et al. 2023 with weight decay 5e-4, the latter for 200 epochs and more;
Sandoval-Segura et al. 2023 with stronger augmentation and CutMix). The ST paper has rows for
cutout, mixup, cutmix, autoaugment, gauss, dropout and weight decays of 1e-4 (`nt`), 1e-3 and 1e-2
(Table 5, on REM).

A frame made of known parts is one entry of `FRAMES` (and a line in `recipes.ABOUT`). Values only:
no torch, no behaviour.
"""

from dataclasses import dataclass, replace
from math import inf
from typing import Any

from stkit.core.checks import choose, given, number
from stkit.core.errors import RecipeError
from stkit.recipes.carried import CG, PLAIN, Parts, listed, read

GAMMAS = {"literal": 2.6e-4, "sum": 2.6e-4, "ratio": 0.10}
"""ACM variant -> its threshold. The paper's 2.6e-4 (sec. 4.1) belongs to Eq. 3-5 and to `sum`."""
RESTORES = ("all", "weights", "zero")
"""What a roll-back brings back besides weights and BatchNorm statistics: momentum as it was, none
(it goes on), zeros. The paper does not say; `all` is what loading a checkpoint does."""


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
    """The schedule of Algorithm 1: Eq. 7 with beta, and ACM against gamma at every check.

    stop: end the run there with the last accepted weights, where Algorithm 1 would roll back and
    go on with slower shallow layers; beta then has no part. No frame of the paper does that.
    """

    beta: float = 0.25  # sec. 4.1
    variant: str = "literal"
    gamma: float | None = None  # None: the variant's own, see GAMMAS
    check_every: int | None = None  # steps; None: once an epoch, as Algorithm 1
    stop: bool = False
    restore: str = "all"  # with the weights also their momentum; or keep it, or set it to zero

    def __post_init__(self) -> None:
        choose("ACM variant", self.variant, GAMMAS)
        choose("restore", self.restore, RESTORES)
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
    """One run of SGD with its own cosine. `epochs` None: 60 at 32x32 up to 10 classes, else 100.

    A step augments `copies` times and goes on with each image's copy of largest loss, perturbs it
    where there is an adversary, then mixes. `carried` says what there is to be named.
    """

    lr: float = 0.1
    augment: tuple[str, ...] = PLAIN
    adversary: Adversary | None = None
    staged: Staged | None = None
    epochs: int | None = None
    momentum: float = 0.9
    weight_decay: float = 1e-4
    prepare: tuple[str, ...] = ()  # of the published images, once, before the first step
    mix: str | None = None
    copies: int = 1
    jitter: float = 1.0  # strength of the colour jitter; 1: SimCLR's, as the paper gives none
    dropout: float = 0.0  # probability, on the input of the last linear layer

    def __post_init__(self) -> None:
        Parts(self.prepare, self.augment, self.mix, self.copies, self.dropout)  # raises
        number("lr", self.lr, 0, 1000)
        number("weight-decay", self.weight_decay, 0, 1)
        number("jitter", self.jitter, 0, 2.5)
        if self.epochs is not None:
            number("epochs", self.epochs, 1, 1_000_000)


@dataclass(frozen=True)
class Frame:
    """A way to train: one phase, or a phase and then a fine-tune phase with a fresh optimizer."""

    train: Phase
    fine_tune: Phase | None = None

    def __post_init__(self) -> None:
        if len({phase.prepare for phase in self.phases}) > 1:
            raise RecipeError("found phases with other preparations, expected the same in both")

    @property
    def phases(self) -> tuple[Phase, ...]:
        return (self.train,) if self.fine_tune is None else (self.train, self.fine_tune)


NATURAL = "nt"
"""Natural training, which the other frames are compared to."""
PAPER: dict[str, Frame] = {
    NATURAL: Frame(Phase()),
    "nt-cg": Frame(Phase(augment=CG)),
    "at": Frame(Phase(adversary=Adversary())),
    "st": Frame(Phase(staged=Staged())),
    "st-cg": Frame(Phase(lr=0.2, augment=CG, staged=Staged())),
    "st-full": Frame(Phase(lr=0.2, augment=CG, staged=Staged()), Phase(lr=0.3, augment=CG)),
}
"""The frames of the ST paper."""
FRAMES: dict[str, Frame] = {
    **PAPER,
    **{
        name: Frame(Phase(**vars(read(name))))  # nt --augment name
        for name in ("gray", "jpeg", "bdr", "gauss", "orthogonal", "cutout", "autoaugment",
                     "mixup", "cutmix", "dropout")
    },
    "ueraser-lite": Frame(Phase(**vars(read("ueraser")))),
    "ueraser-max": Frame(Phase(**vars(read("ueraser-max")))),
    # Of what was tried in small the best on its worst poison, see docs/experiments.md.
    "gray-jpeg": Frame(Phase(**vars(read("gray,jpeg")))),
    "wd-1e-3": Frame(Phase(weight_decay=1e-3)),
    "wd-1e-2": Frame(Phase(weight_decay=1e-2)),
    # The shortcut is learned within the first epoch: 49 steps are an eighth of it (CIFAR-10, 128).
    # Of the variants only `ratio` has a threshold that the first check does not always pass.
    "nt-stop": Frame(Phase(staged=Staged(variant="ratio", check_every=49, stop=True))),
}  # fmt: skip
ABOUT = {
    "nt": "natural training: crop and flip",
    "nt-cg": "natural training with colour jitter and grey",
    "at": "adversarial training: PGD-10 at 4/255",
    "st": "progressive staged training, Algorithm 1",
    "st-cg": "staged training with colour jitter and grey",
    "st-full": "st-cg, then a fine-tune with colour jitter and grey",
    "gray": "natural training on grey images",
    "jpeg": "natural training on images JPEG-compressed at quality 10",
    "gray-jpeg": "natural training on grey images, JPEG-compressed at quality 10",
    "bdr": "natural training on images of 2 bits a channel",
    "gauss": "natural training on blurred images: Gaussian, sigma 1.5",
    "orthogonal": "natural training on images projected off a linear model's weights",
    "cutout": "natural training with a square of half the side blacked out",
    "autoaugment": "natural training with AutoAugment's CIFAR-10 policy",
    "mixup": "natural training with mixup, alpha 1",
    "cutmix": "natural training with CutMix, alpha 1",
    "dropout": "natural training with dropout 0.5 before the classifier",
    "ueraser-lite": "natural training with UEraser's plasma, shuffle and TrivialAugment",
    "ueraser-max": "the same, on the worst of five augmented copies",
    "wd-1e-3": "natural training with weight decay 1e-3",
    "wd-1e-2": "natural training with weight decay 1e-2",
    "nt-stop": "natural training, stopped when ACM is above gamma",
}
"""A line about each frame."""


def frame_with(
    name: str,
    *,
    epochs: int | None = None,
    lr: float | None = None,
    fine_tune_epochs: int | None = None,
    fine_tune_lr: float | None = None,
    adversary: float | None = None,
    augment: str | None = None,
    weight_decay: float | None = None,
    jitter: float | None = None,
    gate: bool = False,
    **staged: Any,
) -> Frame:
    """The frame called `name` with options in place; staged: beta, gamma, variant, check_every,
    restore. gate: the indicator watches the fine-tune phase too.

    augment: a comma list (`parts.read`), in both phases in the place of all that the frame carries
    of its own: augmentation, preparation, mix, copies and dropout.
    RecipeError for an unknown frame, and for an option that this frame does not have.
    """
    frame = FRAMES[choose("frame", name, FRAMES)]
    staged = {k: v for k, v in staged.items() if v is not None}
    phase, tune = frame.train, frame.fine_tune
    stops = phase.staged is not None and phase.staged.stop
    for option, value, has in (
        (" and ".join(staged), staged or None, phase.staged),
        ("beta", staged.get("beta"), None if stops else phase.staged),
        ("adversary", adversary, phase.adversary),
        ("fine-tune-epochs", fine_tune_epochs, tune),
        ("fine-tune-lr", fine_tune_lr, tune),
        ("gate", gate or None, tune),
    ):
        if value is not None and has is None:
            raise RecipeError(f"option {option} does not belong to frame {name!r}; leave it out")
    if staged and phase.staged:
        phase = replace(phase, staged=replace(phase.staged, **staged))
    if adversary is not None and phase.adversary:
        phase = replace(phase, adversary=_scaled(phase.adversary, adversary))
    shared = {"epochs": epochs, "weight_decay": weight_decay}
    phase = given(phase, lr=lr, **shared)
    if tune:
        tune = given(given(tune, **shared), epochs=fine_tune_epochs, lr=fine_tune_lr)
    if augment is not None:
        carried = vars(read(augment))
        phase, tune = replace(phase, **carried), tune and replace(tune, **carried)
    if jitter is not None and "jitter" not in phase.augment:
        raise RecipeError("option jitter is for colour jitter; pass --augment cg with it")
    phase, tune = given(phase, jitter=jitter), tune and given(tune, jitter=jitter)
    if gate and tune:
        tune = replace(tune, staged=phase.staged)
    return Frame(phase, tune)


def called(name: str, augment: str | None) -> str:
    """What a run is called in its file and in reports: the frame, and what it carries instead."""
    return name if augment is None else f"{name}+{','.join(listed(augment))}"


def _scaled(adversary: Adversary, epsilon: float) -> Adversary:
    """Another radius with the step in the same proportion to it."""
    number("adversary", epsilon, 0, 1)
    return replace(
        adversary, epsilon=epsilon, step_size=adversary.step_size * epsilon / adversary.epsilon
    )


def default_epochs(size: int, classes: int) -> int:
    """60 for 32x32 with up to 10 classes, else 100: EM's settings, as the ST paper names none."""
    return 60 if size <= 32 and classes <= 10 else 100
