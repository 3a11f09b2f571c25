"""The short trainings of `stkit check`, and what they are tried against. Values only: no torch."""

from dataclasses import dataclass
from math import inf

from stkit.core.checks import brief, number, whole
from stkit.core.errors import RecipeError
from stkit.recipes.carried import read
from stkit.recipes.catalogue import model_name
from stkit.recipes.probe import PLAIN, spelled
from stkit.recipes.settings import COUNT, setting

AGAINST = ("gray,jpeg-30", "orthogonal")
"""Cheap, one training each, and different in kind: the first takes away colour and fine detail, the
second what a linear model reads. On 10,000 images of CIFAR-10 each gave back nearly all of what SP,
OPS and EM cost the small net (docs/results.md). `auto` would try more, at the cost of its pilots.
"""
IMAGES, AT, FEWEST = 10_000, 32, 2500
"""So many images are looked at where they are of 32x32 pixels or less; of larger ones as many as
have as many pixels, but so many at least."""
SIDE = 64
"""To which larger images are reduced where no size is asked for: the small net takes 80 times as
long at 224 pixels as at 32."""
FIFTHS = 5  # of the images; one is held out
STEPS, LEAST_BATCH = 30, 16
"""Steps that an epoch is to have: of few images a batch is smaller, but not below this."""
HALF = 0.5
"""Of what is above chance: who loses less is hindered, not stopped. Of a loss: who gets less back
has not undone it."""


@dataclass(frozen=True, repr=False)
class Trial:
    """How long the trainings are, on how many of the images, of which a fifth is held out.

    images: None: 10,000 at 32x32 pixels, fewer of larger ones.
    """

    images: int | None = setting(
        None, "Images to look at, a fifth held out.  [default: 10000, above 32 px fewer]",
        limits=COUNT,
    )  # fmt: skip
    epochs: int = setting(10, "Of each training.", limits=COUNT)
    batch_size: int = setting(128, "Images a step at most.", limits=COUNT)
    model: str = "small"

    __repr__ = brief

    def __post_init__(self) -> None:
        model_name(self.model)
        for name in ("epochs", "batch_size") + (("images",) if self.images is not None else ()):
            whole(name.replace("_", "-"), getattr(self, name), 1, inf)

    def count(self, size: int) -> int:
        """How many images of this side are looked at."""
        usual = max(FEWEST, IMAGES * AT**2 // max(AT, size) ** 2)
        return usual if self.images is None else self.images

    def batch(self, trained_on: int) -> int:
        """Images a step, of so many."""
        return min(self.batch_size, max(LEAST_BATCH, trained_on // STEPS))


def against(texts: tuple[str, ...] | list[str]) -> tuple[str, ...]:
    """What to train with besides, each once. RecipeError for what `--augment` does not know."""
    for text in texts:
        if not isinstance(text, str):
            raise RecipeError(f"augment is {text!r}, expected a comma list such as 'gray,jpeg-30'")
        read(text)
    return tuple(dict.fromkeys(texts))


def probes(texts: tuple[str, ...]) -> tuple[str, ...]:
    """The preparations among these, as a probe takes them, after none."""
    return tuple(dict.fromkeys([PLAIN, *(spelled(read(text).prepare) for text in texts)]))


def side(height: int, width: int, size: int | None) -> int:
    """Of the squares that images are looked at as. size: what is asked for, or None."""
    if size is not None:
        number("size", size, 1, inf)
        return size
    return min(SIDE, height, width)
