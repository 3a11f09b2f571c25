"""Whether a training learned a shortcut, told without clean data: what washed images leave of it.

Held-out images as published are washed by purifiers that no training saw. What was learned of
objects survives any of them; a shortcut survives those that leave it alone. So accuracy on the
washed images, the smallest over purifiers, is set beside accuracy on the same images unwashed: the
*retained share*. Purifiers are to differ in kind: a shortcut that all of them spare is not seen.

Values and decisions only; `training/purified.py` measures. The rule is our own, no paper's. It was
found in 39 trainings of the small net on 10,000 images of CIFAR-10, clean and with four poisons, as
JPEG and grey with JPEG judge: every share below 0.6 went with a loss of 6 to 43 points, every one
above 0.64 with 3 at most. What grey takes of clean images depends on the set, though: after five
epochs nets keep 0.79 on CIFAR-10, 0.43 on CIFAR-100. So 0.4 of it is allowed for. The others take
0.16 there at most, and the blur sees a one-pixel shortcut that grey hardly touches.
"""

from collections.abc import Iterable, Mapping
from math import sqrt

from stkit.core.errors import RecipeError
from stkit.recipes.carried import listed, preparation

PURIFIERS = ("jpeg-10", "gauss-8", "gray,jpeg-10", "bdr-3")  # space twice; colour; tone
"""Each a comma list of preparations, as `--augment` spells them."""
MIRROR = "mirror"
"""Judges pilots too, which train without flip, where a mirror makes no other class."""
MIRRORED = 0.45
"""Of what a probe reads above chance, the part that it must read off mirrored images, on the rung
where that is most (`training.ladder.survives`), for these to judge: of CIFAR-10 and what poisons it
0.9, of drawings with SP's noise 0.6, of digits 0.3."""
GRAY = 0.4
"""What grey may take of clean images."""
TOLL = {"gray,jpeg-10": GRAY}
"""What a purifier may take, as it does of clean images: accuracy counts as if it were over the
rest. The others may take nothing of their own."""
SHARE = 0.65
"""How much must be left of what is above chance; with ten classes 0.7 of the accuracy, about."""
NOISE = 3.0
"""Standard deviations of a guesser's accuracy, within which nothing has been learned."""


def names(purifier: str) -> tuple[str, ...]:
    """The preparations of a purifier, as `data.prepare` takes them."""
    return tuple(listed(purifier))


def same(purifier: str, prepare: Iterable[str]) -> bool:
    """Whether these are the purifier's own preparations, in any order and spelling."""
    return {*map(preparation, names(purifier))} == {*map(preparation, prepare)}


def retained_share(
    holdout_accuracy: float,
    purified_accuracy: Mapping[str, float],
    judges: Iterable[str],
    toll: Mapping[str, float] = TOLL,
) -> float | None:
    """The smallest accuracy on washed images over that on unwashed ones; None where that is 0, or
    nobody judges.

    purified_accuracy: by purifier, counted as over what is left of 1 by its toll. judges: those
    that count.
    """
    counted = [purified_accuracy[each] / (1 - toll.get(each, 0)) for each in judges]
    return min(counted) / holdout_accuracy if counted and holdout_accuracy else None


def least_share(holdout_accuracy: float, classes: int, share: float = SHARE) -> float:
    """The retained share with which a training passes: s + (1 - s) c / h, with chance c.

    Then of what the accuracy h has above chance, s is left: c + s (h - c). share: s.
    """
    return share + (1 - share) / (classes * holdout_accuracy)


def learned(holdout_accuracy: float, classes: int, count: int) -> bool:
    """Whether an accuracy on `count` images is above chance by more than the noise of counting."""
    chance = 1 / classes
    return holdout_accuracy > chance + NOISE * sqrt(chance * (1 - chance) / count)


def limit(
    share: float, holdout_accuracy: float, classes: int, count: int, least: float = SHARE
) -> float | None:
    """The retained share with which a training passes, less the noise of counting it; None where
    nothing was learned, so that nothing can be judged. least: as `least_share` takes it."""
    if not learned(holdout_accuracy, classes, count):
        return None
    passing = least_share(holdout_accuracy, classes, least)
    return passing - noise(share, holdout_accuracy, count)


def passes(share: float | None, holdout_accuracy: float, classes: int, count: int) -> bool:
    """Whether enough is retained; what cannot be judged passes."""
    at_least = None if share is None else limit(share, holdout_accuracy, classes, count)
    return share is None or at_least is None or share >= at_least


def noise(share: float, holdout_accuracy: float, count: int) -> float:
    """The standard deviation of a retained share, by the number of images it is counted on."""
    washed = min(1.0, share * holdout_accuracy)
    return sqrt(washed * (1 - washed) / count) / holdout_accuracy


def least_holdout(classes: int) -> int:
    """How many held-out images it takes to judge by."""
    return max(100, 10 * classes)


def check_holdout(holdout: int, classes: int) -> None:
    """RecipeError where too few images are held out to judge by."""
    least = least_holdout(classes)
    if holdout < least:
        raise RecipeError(
            f"holdout is {holdout}, expected {least} images or more to judge by with {classes} "
            f"classes; pass --holdout {least}"
        )
