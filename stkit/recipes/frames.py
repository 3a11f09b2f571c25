"""The frames, the ways to train, as values: every number of the ST paper (Table 3, A.2, sec. 4.1).

The first six are the paper's own. Those after them are what the field sets beside it, each `nt`
with one thing more, so that accuracies differ by that alone; their authors train otherwise (Liu et
al. 2023 and Qin et al. 2023 with weight decay 5e-4, the latter for 200 epochs and more;
Sandoval-Segura et al. 2023 with stronger augmentation and CutMix). The ST paper has rows for
cutout, mixup, cutmix, autoaugment, gauss, dropout and weight decays of 1e-4 (`nt`), 1e-3 and 1e-2
(Table 5, on REM).

A frame made of what is known is one entry of `FRAMES`. What is left open here (None) depends on the
data, or on another setting: `resolve` settles it, and a header records what was settled. Which
settings may be changed, `recipes/options.py` says. Values only: no torch, no behaviour.
"""

from dataclasses import dataclass, field
from typing import Any

from stkit.core.checks import as_dict, brief, number, whole
from stkit.core.errors import RecipeError
from stkit.recipes.carried import CG, PLAIN, Carried, Jitter, check_jitter, read
from stkit.recipes.ladder import AUTO, Ladder
from stkit.recipes.staged import ResolvedStaged, Staged

NATURAL = "nt"
"""The frame that all others are compared with: natural training."""


@dataclass(frozen=True, repr=False)
class Adversary:
    """PGD inside the L-infinity ball: AT of the ST paper (sec. 4.1), as in REM's train.py."""

    epsilon: float = 4 / 255
    step_size: float = 0.8 / 255
    steps: int = 10

    __repr__ = brief

    def __post_init__(self) -> None:
        number("adversary", self.epsilon, 0, 1)
        number("step_size", self.step_size, 0, 1)
        whole("steps", self.steps, 1, 10000)


def pgd20(epsilon: float) -> Adversary:
    """The adversary of robust accuracy: PGD-20, random start, step epsilon / 4."""
    return Adversary(epsilon=epsilon, step_size=epsilon / 4, steps=20)


@dataclass(frozen=True, repr=False)
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
    jitter: Jitter = 1.0  # strength of the colour jitter; 1: SimCLR's, as the paper gives none
    dropout: float = 0.0  # probability, on the input of the last linear layer
    ladder: Ladder | None = None  # what chooses prepare, augment and copies

    __repr__ = brief

    def __post_init__(self) -> None:
        Carried(
            self.prepare, self.augment, self.mix, self.copies, self.dropout, self.ladder
        )  # raises
        number("lr", self.lr, 0, 1000)
        number("weight-decay", self.weight_decay, 0, 1)
        check_jitter(self.jitter)
        if self.epochs is not None:
            whole("epochs", self.epochs, 1, 1_000_000)


@dataclass(frozen=True, repr=False)
class ResolvedPhase(Phase):
    """A phase with nothing left open."""

    staged: ResolvedStaged | None = field(kw_only=True)
    epochs: int = field(kw_only=True)


@dataclass(frozen=True, repr=False)
class Frame:
    """A way to train: one phase, or a phase and then a fine-tune phase with a fresh optimizer.

    name: what a run by it is called in its file and in reports, a line of printable text. about: a
    line for lists and help.
    Frames that train alike are equal, whatever they are called.
    """

    train: Phase
    fine_tune: Phase | None = None
    name: str = field(default="custom", compare=False, kw_only=True)
    about: str = field(default="", compare=False, kw_only=True)

    __repr__ = brief

    def __post_init__(self) -> None:
        if not (isinstance(self.name, str) and self.name and self.name.isprintable()):
            raise RecipeError(f"a frame's name is {self.name!r}, expected a line of printable text")
        if len({(phase.prepare, phase.ladder) for phase in self.phases}) > 1:
            raise RecipeError("found phases with other preparations, expected the same in both")

    @property
    def phases(self) -> tuple[Phase, ...]:
        """One phase, or two."""
        return (self.train,) if self.fine_tune is None else (self.train, self.fine_tune)


def judged_by_purified(frame: Frame) -> bool:
    """Whether a phase's checks look at held-out images and not at ACM."""
    return any(phase.staged is not None and phase.staged.purified for phase in frame.phases)


def default_epochs(size: int, classes: int) -> int:
    """60 for 32x32 with up to 10 classes, else 100: EM's settings, as the ST paper names none."""
    return 60 if size <= 32 and classes <= 10 else 100


def resolve(phase: Phase, *, size: int, classes: int, steps_per_epoch: int) -> ResolvedPhase:
    """The phase on images of this side and so many classes, with every default in its place.

    A check once an epoch is one every `steps_per_epoch` steps.
    """
    epochs = default_epochs(size, classes) if phase.epochs is None else phase.epochs
    staged = None
    if phase.staged is not None:
        often = phase.staged.check_every
        staged = ResolvedStaged(
            **vars(phase.staged)
            | {
                "gamma": phase.staged.threshold,
                "check_every": steps_per_epoch if often is None else often,
            }
        )
    return ResolvedPhase(**vars(phase) | {"epochs": epochs, "staged": staged})


def described(phase: Phase) -> dict[str, Any]:
    """A phase as a header records it; the indicator and the layer that are judged, where they are
    not the usual ones, nothing of ACM where it has no part, and the ladder, where there is one."""
    values = as_dict(phase)
    if phase.ladder is None:
        del values["ladder"]
    if phase.staged is not None:
        unsaid = "variant" if phase.staged.purified else "indicator"
        left_out = (unsaid,) if phase.staged.layer is not None else (unsaid, "layer")
        values["staged"] = {k: v for k, v in values["staged"].items() if k not in left_out}
    return values


def _carrying(name: str, about: str, carried: str | None = None) -> Frame:
    """`nt --augment NAME` as a frame of its own."""
    return Frame(Phase(**vars(read(carried or name))), name=name, about=about)


PAPER: dict[str, Frame] = {
    frame.name: frame
    for frame in (
        Frame(Phase(), name=NATURAL, about="natural training: crop and flip"),
        Frame(
            Phase(augment=CG), name="nt-cg", about="natural training with colour jitter and grey"
        ),
        Frame(
            Phase(adversary=Adversary()), name="at", about="adversarial training: PGD-10 at 4/255"
        ),
        Frame(Phase(staged=Staged()), name="st", about="progressive staged training, Algorithm 1"),
        Frame(
            Phase(lr=0.2, augment=CG, staged=Staged()),
            name="st-cg", about="staged training with colour jitter and grey",
        ),
        Frame(
            Phase(lr=0.2, augment=CG, staged=Staged()), Phase(lr=0.3, augment=CG),
            name="st-full", about="st-cg, then a fine-tune with colour jitter and grey",
        ),
    )
}  # fmt: skip
"""The frames of the ST paper."""
FRAMES: dict[str, Frame] = PAPER | {
    frame.name: frame
    for frame in (
        _carrying("gray", "natural training on grey images"),
        _carrying("jpeg", "natural training on images JPEG-compressed at quality 10"),
        _carrying("bdr", "natural training on images of 2 bits a channel"),
        _carrying("gauss", "natural training on blurred images: Gaussian, sigma 1.5"),
        _carrying(
            "orthogonal",
            "natural training on images projected off a linear model's weights",
        ),
        _carrying("cutout", "natural training with a square of half the side blacked out"),
        _carrying("coin", "natural training with each pixel read up to 2 px beside its place"),
        _carrying("autoaugment", "natural training with AutoAugment's CIFAR-10 policy"),
        _carrying("mixup", "natural training with mixup, alpha 1"),
        _carrying("cutmix", "natural training with CutMix, alpha 1"),
        _carrying("dropout", "natural training with dropout 0.5 before the classifier"),
        _carrying(
            "ueraser-lite", "natural training with UEraser's plasma, shuffle and TrivialAugment",
            "ueraser",
        ),
        _carrying("ueraser-max", "the same, on the worst of five augmented copies"),
        # Of what was tried in small the best on its worst poison, see docs/experiments.md.
        _carrying(
            "gray-jpeg", "natural training on grey images, JPEG-compressed at quality 10",
            "gray,jpeg",
        ),
        Frame(
            Phase(weight_decay=1e-3),
            name="wd-1e-3", about="natural training with weight decay 1e-3",
        ),
        Frame(
            Phase(weight_decay=1e-2),
            name="wd-1e-2", about="natural training with weight decay 1e-2",
        ),
        # The shortcut is learned within the first epoch: 49 steps are an eighth of it (CIFAR-10,
        # 128). Only `ratio` has a threshold that the first check does not always pass.
        Frame(
            Phase(staged=Staged(variant="ratio", check_every=49, stop=True)),
            name="nt-stop", about="natural training, stopped when ACM is above gamma",
        ),
        _carrying(AUTO, "the mildest preparation that no shortcut survives, found by pilots"),
    )
}  # fmt: skip
"""Every frame by its name, the paper's first."""
