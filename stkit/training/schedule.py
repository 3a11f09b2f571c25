"""What progressive staged training decides, as plain numbers: no torch (ST paper, Alg. 1, Eq. 6-7).

`StagedTraining` measures and obeys; here it is only said which learning rate a layer gets and
whether a check is accepted. `tau` is the whole state: the vector H of Algorithm 1 is a function of
it. `Check` and `Epoch` are what is recorded of a training, and how a header writes them down.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, TypedDict, cast

from stkit.core.checks import brief
from stkit.core.errors import RecipeError
from stkit.recipes import purifiers
from stkit.recipes.staged import Staged


class Held(TypedDict, total=False):
    """What was measured of the weights, by the names of the fields of `Epoch`: on test images, on
    those held out, and on these washed, by purifier."""

    accuracy: float
    holdout_accuracy: float
    purified_accuracy: Mapping[str, float]
    retained_share: float


Scores = Mapping[str, float] | Held
"""What a check is judged by: ACM by the names of its variants, or accuracies."""


class Verdict(Enum):
    """What becomes of the steps since the last accepted check; the value is what files say."""

    KEEP = "keep"
    """They are accepted."""
    ROLL_BACK = "roll back"
    """The last accepted state comes back, and the next stage begins."""
    STOP = "stop"
    """The same, and the training ends there."""


@dataclass(frozen=True, repr=False)
class Check:
    """One check: after which step, what was measured, tau and each layer's scale after it.

    acm: every variant; empty where purified images were judged by. These are the rest: accuracy on
    the held-out images, on the same as each purifier leaves them, and the share that is retained.
    """

    step: int
    acm: Mapping[str, float]
    tau: int
    verdict: Verdict
    lr_scales: tuple[float, ...]
    holdout_accuracy: float | None = None
    purified_accuracy: Mapping[str, float] | None = None
    retained_share: float | None = None

    __repr__ = brief

    @classmethod
    def of(
        cls,
        scores: Scores,
        *,
        purified: bool,
        step: int,
        tau: int,
        verdict: Verdict,
        lr_scales: tuple[float, ...],
    ) -> "Check":
        """A check by what it measured: ACM, or `Held` of purified images."""
        if not purified:
            return cls(step, dict(cast(Mapping[str, float], scores)), tau, verdict, lr_scales)
        held = cast(Held, scores)
        return cls(
            step, {}, tau, verdict, lr_scales, held["holdout_accuracy"],
            held["purified_accuracy"], held.get("retained_share"),
        )  # fmt: skip

    def to_json(self) -> dict[str, Any]:
        """The check as a header records it: what was not measured is left out."""
        measured = {
            "acm": dict(self.acm) or None, "holdout_accuracy": self.holdout_accuracy,
            "purified_accuracy": self.purified_accuracy and dict(self.purified_accuracy),
            "retained_share": self.retained_share,
        }  # fmt: skip
        return {
            "step": self.step, **{k: value for k, value in measured.items() if value is not None},
            "tau": self.tau, "verdict": self.verdict.value, "lr_scales": list(self.lr_scales),
        }  # fmt: skip

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Check":
        """A check out of a header whose numbers are numbers (`header.numbers`)."""
        return cls(
            value["step"], value.get("acm", {}), value["tau"], Verdict(value["verdict"]),
            tuple(value["lr_scales"]), value.get("holdout_accuracy"),
            value.get("purified_accuracy"), value.get("retained_share"),
        )  # fmt: skip


class Recorded(TypedDict, total=False):
    """What `--record` asked for, by layer: ACM in every variant, the mean absolute gradient."""

    acm: Mapping[str, Mapping[str, float]]
    gradients: Mapping[str, float]


@dataclass(frozen=True, kw_only=True, repr=False)
class Epoch:
    """One epoch's record; epoch and phase count from 1, accuracies are shares of 1.

    accuracy to retained_share, recorded: before a roll-back at its end. rolled_back: whether there
    was one. final: the same accuracies after it, where it ended the training. purified_accuracy,
    retained_share: see `recipes.purifiers`.
    """

    epoch: int
    phase: int
    lr: float
    loss: float
    train_accuracy: float
    accuracy: float | None = None
    holdout_accuracy: float | None = None
    purified_accuracy: Mapping[str, float] | None = None
    retained_share: float | None = None
    checks: tuple[Check, ...] = ()
    rolled_back: bool = False
    final: Held | None = None
    recorded: Recorded | None = None

    __repr__ = brief

    @property
    def last(self) -> Held:
        """Accuracies of the weights that the epoch left."""
        return self.final or self.held

    @property
    def held(self) -> Held:
        """Accuracies before a roll-back, those that were measured."""
        held = Held()
        if self.accuracy is not None:
            held["accuracy"] = self.accuracy
        if self.holdout_accuracy is not None:
            held["holdout_accuracy"] = self.holdout_accuracy
        if self.purified_accuracy is not None:
            held["purified_accuracy"] = dict(self.purified_accuracy)
        if self.retained_share is not None:
            held["retained_share"] = self.retained_share
        return held

    def to_json(self) -> dict[str, Any]:
        """The epoch as a header records it: what does not apply is left out."""
        record: dict[str, Any] = {
            "epoch": self.epoch, "phase": self.phase, "lr": self.lr, "loss": self.loss,
            "train_accuracy": self.train_accuracy,
        }  # fmt: skip
        record |= self.held
        if self.checks:
            record["checks"] = [check.to_json() for check in self.checks]
        if self.rolled_back:
            record["rolled_back"] = True
        if self.final is not None:
            record["final"] = dict(self.final)
        if self.recorded is not None:
            record["recorded"] = dict(self.recorded)
        return record

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Epoch":
        """An epoch out of a header whose numbers are numbers (`header.numbers`)."""
        checks = tuple(Check.from_json(check) for check in value.get("checks", ()))
        return cls(**{**value, "checks": checks})


def cosine(lr: float, epoch: int, epochs: int) -> float:
    """The learning rate of `epoch` 1..epochs, set once an epoch: lr/2 (1 + cos(pi (e-1)/E))."""
    return lr / 2 * (1 + math.cos(math.pi * (epoch - 1) / epochs))


def last_stage(beta: float) -> int:
    """The largest tau: 1/beta - 1 as an integer (Alg. 1 compares with a float, unsafe for 1/3)."""
    return round(1 / beta) - 1


def lr_scales(tau: int, layers: int, beta: float) -> tuple[float, ...]:
    """Eq. 7: the factor alpha_i of each layer i = 1..layers, counted from the input.

    alpha_i = sigmoid(i / (beta tau) - layers); tau = 0 is all ones (Algorithm 1, the limit).
    """
    if tau == 0:
        return (1.0,) * layers
    return tuple(_sigmoid(i / (beta * tau) - layers) for i in range(1, layers + 1))


def _sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x)) if x >= 0 else math.exp(x) / (1 + math.exp(x))


def judged(
    settings: Staged, scores: Scores, *, classes: int, count: int
) -> tuple[float | None, float]:
    """The score that decides, and its limit; None where nothing was learned that could be judged.

    classes, count: of the held-out images, whose chance and noise decide that; what lacks less than
    the noise passes. RecipeError where the scores lack what is judged.
    """
    values = cast(Mapping[str, float], scores)
    name = "holdout_accuracy" if settings.purified else settings.variant
    if name not in values:
        raise RecipeError(
            f"measure gives {', '.join(values) or 'nothing'}, expected {name} to judge by"
        )
    if not settings.purified:
        return values[name], settings.threshold
    accuracy, share = values[name], values.get("retained_share")
    if share is None:  # accuracy 0
        return None, 0.0
    limit = purifiers.limit(share, accuracy, classes, count, settings.threshold)
    return (None, 0.0) if limit is None else (share, limit)


def judge(
    tau: int,
    score: float | None,
    limit: float,
    beta: float,
    *,
    falls: bool = False,
    stop: bool = False,
) -> Verdict:
    """KEEP, or ROLL_BACK when the score is beyond its limit, or NaN or inf, and a stage is left.

    Algorithm 1: ACM rises beyond gamma. falls: the score does so below its limit, as the retained
    share. At the limit it passes, and where it is None: nothing could be judged. stop: instead of a
    roll-back, and whatever the stage, STOP: the run ends with what was kept.
    """
    if score is None:
        return Verdict.KEEP
    if math.isfinite(score) and (score >= limit if falls else score <= limit):
        return Verdict.KEEP
    if stop:
        return Verdict.STOP
    return Verdict.KEEP if tau >= last_stage(beta) else Verdict.ROLL_BACK
