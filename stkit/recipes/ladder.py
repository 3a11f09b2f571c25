"""The ladder of `auto`: preparations from the mildest on, and every number it is climbed by.

    plain -> jpeg-70 -> ... -> ueraser

A *rung* is a list as `--augment` has it. Short trainings of a small net, the *pilots*, say on which
rung a training begins: the mildest one whose retained share passes (`recipes.purifiers`). In the
training itself the share is watched, and a fall of it goes back and on with the next rung.
`training/ladder.py` decides, by these numbers. Values only: no torch.
"""

from dataclasses import dataclass
from math import inf

from stkit.core.checks import brief, number, whole
from stkit.core.errors import RecipeError

AUTO = "auto"
"""In a list as `--augment` has it, and of the frame."""
RUNGS = (
    "plain", "jpeg-70", "gray", "orthogonal", "jpeg-30", "orthogonal-2", "gray,jpeg-30",
    "orthogonal-2,gray", "gray,jpeg-10", "coin", "ueraser",
)  # fmt: skip
"""By what each is held to cost clean images, the mildest first: an order from published numbers of
ResNet-18 (ISS, Sandoval-Segura et al.; `coin` by its cost here). What some cost the small net on
all of CIFAR-10 is in docs/frames.md."""
MOVED = ("coin",)
"""Augmentations that move pixels beside their places. A draw of one shows a probe what it leaves,
and pilots on them crop, as the dark borders that filters leave would stay in their places."""
FITTED = ("orthogonal", "swap")
"""Preparations that are fitted to a whole set, so that a few images do not show what they do."""


@dataclass(frozen=True, repr=False)
class Ladder:
    """The rungs, and how a training climbs them.

    images, steps, batch_size, model: of a pilot, which takes no more steps than the training, and
    no larger a batch. budget: all pilots together, by the images that pass through a net in
    training, of those of the training; `pilots` of them are allowed in any case. holdout: images
    kept out to judge by where none are asked for, a tenth of the set at most.
    left: see `training.ladder.spared`. little: see `training.ladder.knows_little`. sound, lost,
    falls: see `training.ladder.fell` and `last_sound`.
    """

    rungs: tuple[str, ...] = RUNGS
    images: int = 10_000
    steps: int = 390  # five epochs of those images
    batch_size: int = 128
    model: str = "small"
    budget: float = 0.35
    pilots: int = 3
    holdout: int = 1000
    left: float = 1.5
    little: float = 0.5
    sound: float = 0.75
    lost: float = 0.5
    falls: int = 2

    __repr__ = brief

    def __post_init__(self) -> None:
        for name, least in (
            ("images", 1),
            ("steps", 1),
            ("batch_size", 1),
            ("pilots", 1),
            ("falls", 1),
        ):
            whole(f"ladder's {name}", getattr(self, name), least, inf)
        whole("ladder's holdout", self.holdout, 1, inf)
        number("ladder's budget", self.budget, 0, inf)
        number("ladder's left", self.left, 1, inf)
        for name in ("little", "sound", "lost"):
            number(f"ladder's {name}", getattr(self, name), 0, 1)
        if not isinstance(self.rungs, tuple) or len(set(self.rungs)) < max(1, len(self.rungs)):
            raise RecipeError(
                f"the ladder's rungs are {self.rungs!r}, expected a tuple of one or more, each once"
            )
