"""What `check` finds, and what it says of it in a sentence. Numbers and decisions: no torch."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import sqrt

from stkit.measure.comparison import Comparison
from stkit.measure.separability import Probed
from stkit.recipes.check import HALF, Trial
from stkit.recipes.purifiers import NOISE, learned


@dataclass(frozen=True, repr=False)
class Checked:
    """What a protection does to a short natural training; accuracies on clean images, in [0,1].

    images: looked at, of which so many are trained_on and held_out. size: their side in pixels,
    reduced: from larger or longer ones, as no size was asked for. trial: how the trainings were.
    comparison, ssim: what was done to the images; ssim is the mean over those that were changed.
    probed, probed_clean: what the published and the clean images give away. clean, poisoned:
    accuracy on held-out clean images of the net that was trained on the clean images, and on the
    published ones. prepared: the same on the published ones after each of what was tried.
    """

    images: int
    trained_on: int
    held_out: int
    classes: int
    size: int
    reduced: bool
    trial: Trial
    comparison: Comparison
    ssim: float
    probed: Probed
    probed_clean: Probed
    clean: float
    poisoned: float
    prepared: Mapping[str, float]

    def __repr__(self) -> str:
        return f"Checked(clean {self.clean:.3f}, published {self.poisoned:.3f})"

    @property
    def loss(self) -> float:
        """What natural training loses by the change; below 0 where it gains."""
        return self.clean - self.poisoned

    @property
    def best(self) -> str | None:
        """What undoes most of it, of what was tried; of equal ones the first."""
        return max(self.prepared, key=lambda each: self.prepared[each], default=None)

    @property
    def given_back(self) -> float | None:
        """How much of the loss that gives back; more than the loss where it also helps clean
        images, None where nothing was tried."""
        return None if self.best is None else self.prepared[self.best] - self.poisoned

    @property
    def noise(self) -> float:
        """A difference up to this counting alone explains: three standard deviations of it."""
        return _noise(self.clean, self.poisoned, self.held_out)

    @property
    def verdict(self) -> str:
        """Whether it protects, in a sentence: what natural training loses, and what gives it back.

        A difference counts as one where it is larger than three standard deviations of counting.
        How much another seed changes is not in them.
        """
        told, chance = _percent(self.clean), 1 / self.classes
        if not learned(self.clean, self.classes, self.held_out):
            return (
                f"Nothing can be told: even of the clean images so short a training learns nothing "
                f"({told} of {self.held_out} held-out images right, guessing has "
                f"{_percent(chance)}); check more images, or pass more --epochs."
            )
        noise = self.noise
        if self.loss <= noise:
            return (
                f"In so short a training no protection is seen: {told} on clean images, "
                f"{_percent(self.poisoned)} on published ones, a difference "
                f"{'within' if self.loss >= -noise else 'beyond'} the noise of counting "
                f"({_points(noise)}){'' if self.loss >= -noise else ', but of the other sign'}."
            )
        return (
            f"Natural training on these images loses {_points(self.loss)} ({told} to "
            f"{_percent(self.poisoned)}, guessing has {_percent(chance)}){self._undone()}."
        )

    def _undone(self) -> str:
        """What of the loss comes back, and what that makes of the protection."""
        much = self.loss >= HALF * (self.clean - 1 / self.classes)
        does = "stops" if much else "hinders, but does not stop,"
        if self.best is None or self.given_back is None:
            return f": it {does} who does not look; who does was not tried"
        tried = "what was tried" if len(self.prepared) > 1 else f"`{self.best}`"
        if self.given_back <= _noise(self.poisoned, self.prepared[self.best], self.held_out):
            return (
                f"; {tried} gives nothing of it back that counting could tell: it "
                f"{does.rstrip(',')} these trainers; `stkit train --frame auto` tries more"
            )
        back = min(self.given_back, self.loss)
        if back < HALF * self.loss:
            return (
                f"; a trainer who prepares them with `{self.best}` gets only {_rounded(back)} of "
                f"them back: it {does} who does not look, and {tried} undoes less than half of it; "
                "other ways were not tried"
            )
        share = "all" if back == self.loss else str(_rounded(back))
        return (
            f"; a trainer who prepares them with `{self.best}` gets {share} of them back: it "
            f"{does} who does not look, not who does"
        )


def _noise(first: float, second: float, count: int) -> float:
    """The difference of two accuracies that counting alone explains."""
    return NOISE * sqrt((first * (1 - first) + second * (1 - second)) / count)


def _rounded(share: float) -> int:
    return round(100 * share)


def _percent(share: float) -> str:
    return f"{_rounded(share)} %"


def _points(share: float) -> str:
    points = _rounded(share)
    return f"{points} point{'' if abs(points) == 1 else 's'}"
