"""Whether a training learned a shortcut, told without clean data: what washed images leave of it.

Held-out images as published are washed by purifiers that no training saw. What was learned of
objects survives any of them; a shortcut survives those that leave it alone. So accuracy on the
washed images, the smallest over purifiers, is set beside accuracy on the same images unwashed: the
*retained share*. Purifiers are to differ in kind: a shortcut that all of them spare is not seen.

Values and decisions only; `training/purified.py` measures. The rule is our own, no paper's: in 39
trainings of the small net on 10,000 images of CIFAR-10, clean and with four poisons, every share
below 0.6 went with a loss of 6 to 43 points, every one above 0.64 with 3 at most; clean images kept
0.71 and more.
"""

from collections.abc import Iterable, Mapping, Sequence
from math import sqrt

from stkit.core.errors import RecipeError
from stkit.recipes.carried import listed, preparation

PURIFIERS = ("jpeg-10", "gray,jpeg-10", "bdr-2")  # spatial; colour, and spatial; tone
"""Each a comma list of preparations, as `--augment` spells them."""
SHARE = 0.55
"""How much must be left of what is above chance; with ten classes 0.6 of the accuracy, about."""
NOISE = 3.0
"""Standard deviations of a guesser's accuracy, within which nothing has been learned."""


def names(purifier: str) -> tuple[str, ...]:
    """The preparations of a purifier, as `data.prepare` takes them."""
    return tuple(listed(purifier))


def same(purifier: str, prepare: Iterable[str]) -> bool:
    """Whether these are the purifier's own preparations, in any order and spelling."""
    return {*map(preparation, names(purifier))} == {*map(preparation, prepare)}


def judging(prepare: Iterable[str], purifiers: Sequence[str] = PURIFIERS) -> tuple[str, ...]:
    """The purifiers that judge a training on images prepared in this way: all but its own."""
    own = tuple(prepare)
    return tuple(purifier for purifier in purifiers if not same(purifier, own))


def retained_share(
    holdout_accuracy: float, purified_accuracy: Mapping[str, float], judges: Iterable[str]
) -> float | None:
    """The smallest accuracy on washed images over that on unwashed ones; None where that is 0.

    purified_accuracy: by purifier. judges: those that count.
    """
    if holdout_accuracy == 0:
        return None
    return min(purified_accuracy[purifier] for purifier in judges) / holdout_accuracy


def least_share(holdout_accuracy: float, classes: int, share: float = SHARE) -> float:
    """The retained share with which a training passes: s + (1 - s) c / h, with chance c.

    Then of what the accuracy h has above chance, s is left: c + s (h - c). share: s.
    """
    return share + (1 - share) / (classes * holdout_accuracy)


def learned(holdout_accuracy: float, classes: int, count: int) -> bool:
    """Whether an accuracy on `count` images is above chance by more than the noise of counting."""
    chance = 1 / classes
    return holdout_accuracy > chance + NOISE * sqrt(chance * (1 - chance) / count)


def passes(share: float | None, holdout_accuracy: float, classes: int, count: int) -> bool:
    """Whether enough is retained; where nothing was learned, nothing can be judged: it passes."""
    if share is None or not learned(holdout_accuracy, classes, count):
        return True
    return share >= least_share(holdout_accuracy, classes)


def least_holdout(classes: int) -> int:
    """How many held-out images it takes to judge by."""
    return max(100, 10 * classes)


def check_holdout(holdout: int, classes: int) -> None:
    """RecipeError where too few images are held out to judge by."""
    least = least_holdout(classes)
    if holdout < least:
        raise RecipeError(
            f"holdout is {holdout}, expected {least} images or more to judge by with {classes} "
            f"classes; pass --holdout {least}, or leave --purified out"
        )
