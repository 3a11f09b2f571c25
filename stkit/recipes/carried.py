"""The parts that any frame can carry, and how `--augment jpeg,cg` is read. Values only: no torch.

Preparations are made once, of the published images (`data/prepare.py`); augmentations are drawn
anew for each image at each step (`engine/augment/`); a mix blends the images of a batch
(`engine/mix.py`); `ueraser-max` trains on the worst of five augmented copies; `dropout` acts on the
classifier's input (`models/dropout.py`). Each module names the papers its numbers are from. `auto`
leaves preparations and augmentations to be chosen by a `Ladder`.
"""

from dataclasses import dataclass

from stkit.core.checks import choose, number, whole
from stkit.core.errors import RecipeError
from stkit.recipes.ladder import AUTO, Ladder

PLAIN = ("crop", "flip")
CG = (*PLAIN, "jitter", "random-gray")
AUGMENTS = {"plain": PLAIN, "cg": CG}
AUGMENTATIONS = (
    "crop", "flip", "coin", "autoaugment", "jitter", "random-gray", "plasma", "channel-shuffle",
    "trivial", "cutout",
)  # fmt: skip
"""Every random augmentation, in the order in which they are applied, however they are listed."""
PREPARATIONS: dict[str, tuple[int, int, int] | None] = {
    "gray": None,
    "jpeg": (10, 1, 100),  # quality: Liu et al. 2023 (ISS) take 10
    "bdr": (2, 1, 8),  # bits a channel: ISS take 2
    "gauss": (15, 1, 30),  # sigma in tenths of a pixel: ST paper, A.1
    "equalize": None,
    "mirror": None,
    "orthogonal": (1, 1, 10),  # rounds at most; Sandoval-Segura et al. 2023 have one
    "swap": (1, 1, 10),
}
"""Every preparation, and for `jpeg-50` and the like: the default, the least and the most."""
BARE = ("gauss", "orthogonal", "swap")
"""Preparations that a header names without a number where that is the default."""
MIXES = ("mixup", "cutmix")
Jitter = float | tuple[float, float, float, float]
"""Strength of the colour jitter: a number, that many times SimCLR's, or the four themselves, by how
much brightness, contrast, saturation and hue may change."""
SIMCLR = (0.4, 0.4, 0.4, 0.1)
"""SimCLR's strengths of the four (Chen et al. 2020, at their 0.5)."""
UERASER = (*PLAIN, "plasma", "channel-shuffle", "trivial")
COPIES = 5  # Qin et al. 2023: K = 5 augmented copies in UEraser-Max
DROPOUT = 0.5  # ST paper, C.5
BUNDLES = {"none": (), "plain": PLAIN, "cg": CG, "ueraser": UERASER, "ueraser-max": UERASER}
NAMES = (*BUNDLES, *PREPARATIONS, *AUGMENTATIONS, *MIXES, "dropout", AUTO)
"""All that `read` knows; a preparation with a number may have it appended: `jpeg-50`."""


@dataclass(frozen=True)
class Carried:
    """What a phase carries besides its optimizer, adversary and schedule; see `frames.Phase`.

    ladder: chooses prepare, augment and copies, which are then of its lowest rung as they stand.
    """

    prepare: tuple[str, ...] = ()  # in the order in which they are made
    augment: tuple[str, ...] = PLAIN  # in the order of AUGMENTATIONS
    mix: str | None = None
    copies: int = 1
    dropout: float = 0.0
    ladder: Ladder | None = None

    def __post_init__(self) -> None:
        for name in self.prepare:
            preparation(name)
        for name in self.augment:
            choose("augmentation", name, AUGMENTATIONS)
        if self.mix is not None:
            choose("mix", self.mix, MIXES)
        whole("copies", self.copies, 1, 100)
        number("dropout", self.dropout, 0, 0.99)
        if self.ladder is not None:
            if self.prepare or self.augment != PLAIN or self.copies != 1:
                raise RecipeError(
                    "found a ladder beside preparations, augmentations or copies, which it "
                    "chooses; leave them as by default"
                )
            for name in self.ladder.rungs:
                rung(name)


def preparation(name: str) -> tuple[str, int | None]:
    """Kind and number: jpeg-50 -> ("jpeg", 50), jpeg -> ("jpeg", 10), gray -> ("gray", None).

    RecipeError for an unknown name, and for a number that is not one or out of its range.
    """
    stem, dash, text = name.partition("-")
    limits = PREPARATIONS[choose("preparation", stem, PREPARATIONS)]
    if limits is None:
        if dash:
            raise RecipeError(f"{stem} takes no number, found {name!r}; write {stem}")
        return stem, None
    default, low, high = limits
    if dash and not (text.isascii() and text.isdigit()):
        raise RecipeError(f"found {name!r}, expected {stem}-N with a whole number N")
    value = int(text) if dash else default
    number(stem, value, low, high)
    return stem, value


def named(kind: str, value: int | None) -> str:
    """The name that a header records."""
    limits = PREPARATIONS[kind]
    bare = kind in BARE and limits is not None and value == limits[0]
    return kind if value is None or bare else f"{kind}-{value}"


def listed(text: str) -> list[str]:
    """The names in a comma list, as they are to be looked up."""
    return [name.strip().lower() for name in text.split(",")]


def rung(text: str) -> Carried:
    """What a rung of a ladder carries. RecipeError for what `read` refuses, a mix or dropout, which
    are no rung's, and another ladder."""
    carried = read(text)
    if carried.mix is not None or carried.dropout or carried.ladder is not None:
        raise RecipeError(
            f"the ladder has a rung {text!r}, expected preparations and augmentations alone"
        )
    return carried


def read(text: str) -> Carried:
    """A comma list of `NAMES` as parts; crop and flip are always among them, unless `none` is.

    RecipeError for an unknown name (the nearest is suggested), for two mixes, and for a preparation
    or augmentation beside `auto`, which chooses them.
    """
    prepare, mixes = [], []
    chosen = set(PLAIN)
    names = listed(text)
    for name in names:
        stem = name.partition("-")[0]
        if stem in PREPARATIONS:
            prepare.append(named(*preparation(name)))
        elif name in MIXES:
            mixes.append(name)
        elif name not in ("dropout", AUTO):
            choose("augmentation", name, NAMES)
            chosen |= set(BUNDLES.get(name, (name,)))
    if len(set(mixes)) > 1:
        raise RecipeError(f"found {' and '.join(mixes)}, expected one of them; leave one out")
    if AUTO in names:
        _alone(names)
    if "none" in names:
        chosen -= set(PLAIN) - set(names)
    return Carried(
        prepare=tuple(prepare),
        augment=tuple(name for name in AUGMENTATIONS if name in chosen),
        mix=mixes[0] if mixes else None,
        copies=COPIES if "ueraser-max" in names else 1,
        dropout=DROPOUT if "dropout" in names else 0.0,
        ladder=Ladder() if AUTO in names else None,
    )


def _alone(names: list[str]) -> None:
    """RecipeError where `auto` stands beside what it chooses."""
    others = [name for name in names if name not in (AUTO, "dropout", *MIXES)]
    if others:
        raise RecipeError(
            f"found {AUTO} with {', '.join(others)}, expected it with a mix or dropout at most: it "
            f"chooses preparations and augmentations; leave out {AUTO} or the others"
        )


def check_jitter(strength: Jitter) -> None:
    """RecipeError unless a strength is a number or four, of which the hue's, in turns, is at most
    half a turn."""
    if not isinstance(strength, (tuple, list)):
        number("jitter", strength, 0, 2.5)
        return
    if not isinstance(strength, tuple) or len(strength) != 4:
        raise RecipeError(
            f"jitter is {strength!r}, expected a number, or a tuple of four: brightness, contrast, "
            "saturation, hue"
        )
    for name, value in zip(("brightness", "contrast", "saturation", "hue"), strength, strict=True):
        number(f"jitter of the {name}", value, 0, 0.5 if name == "hue" else 10)
