"""What came out, in words: a sentence per poison, for a page, a terminal or a demo's last lines.

Pure functions over groups, plain text: who shows it makes it harmless for its medium. A difference
is in points of accuracy. One that is under a point, or within the spread of seeds, is not claimed.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import hypot

from stkit.recipes.frames import NATURAL, PAPER
from stkit.report.groups import MEASURES, Group, natural

STAGED = tuple(name for name, frame in PAPER.items() if frame.train.staged is not None)
"""The paper's own answer, named beside the best."""
BARE = f"{NATURAL}+none"
"""Natural training on images as they are; costs are told of it where there is no `nt`."""
LEAST = 1.0  # point; what is less is not claimed
NO_POISON = "No training on poisoned images is among these, so there is no poison to judge."
VALIDATION = (
    "Validation images carry the poison too, so this accuracy does not tell what it costs; "
    "see that on clean test images."
)


@dataclass(frozen=True)
class Difference:
    """Of two means, in points of accuracy; spread: standard deviation, where both have seeds."""

    points: float
    spread: float | None

    @property
    def shows(self) -> bool:
        """Whether it is more than a point, and than the spread."""
        return abs(self.points) >= max(LEAST, self.spread or 0.0)

    @property
    def text(self) -> str:
        """Its size: `42`, or with several seeds `42.0 ± 1.3`."""
        if self.spread is None:
            return f"{abs(self.points):.0f}"
        return f"{abs(self.points):.1f} ± {self.spread:.1f}"


def difference(group: Group, other: Group) -> Difference:
    """By how much `group` is above `other`."""
    pair = group.deviation, other.deviation
    spread = None if pair[0] is None or pair[1] is None else hypot(pair[0], pair[1]) * 100
    return Difference((group.mean - other.mean) * 100, spread)


@dataclass(frozen=True)
class Finding:
    """What a poison does to a model, and what undoes it.

    Attributes:
        natural: natural training on these images; None where there is not one such.
        clean: the same training on clean images.
        best: of the others on these images, the one of the highest accuracy, which also chose it.
        staged: the best of the paper's staged frames.
        price: of `best` on clean images, below natural training there.
        others: how many frames were trained on these images from scratch, besides the natural one.
        lacking: why `natural` or `clean` is None, in words; empty where both are there.
    """

    group: Group  # any of them, for what they share
    natural: Group | None
    clean: Group | None
    best: Group | None
    staged: Group | None
    price: Difference | None
    others: int
    lacking: str

    @property
    def cost(self) -> Difference | None:
        """What the poison costs natural training; None where that is not known."""
        if self.natural is None or self.clean is None:
            return None
        return difference(self.clean, self.natural)

    @property
    def trained(self) -> str:
        """The training that the cost is of, in words."""
        bare = self.natural is not None and self.natural.first.known_as[1] == BARE
        return "natural training without crop and flip" if bare else "natural training"

    @property
    def poison(self) -> str:
        """The poison, and on how many of the images it is."""
        first = self.group.first
        return (
            first.poison
            if first.rate == 1
            else f"{first.poison} on {first.rate * 100:g} % of images"
        )


def findings(made: Sequence[Group]) -> list[Finding]:
    """One for each set of poisoned images and model, in the order of the groups."""
    grounds: dict[tuple[str, str, str, float, str], list[Group]] = {}
    for group in made:
        if group.first.images.poison is not None:
            grounds.setdefault(group.first.ground, []).append(group)
    return [_finding(here, made) for here in grounds.values()]


def _finding(here: list[Group], made: Sequence[Group]) -> Finding:
    plain = natural(here[0], made) or natural(here[0], made, frame=BARE)
    itself = plain.first.known_as[1] if plain else NATURAL
    others = [group for group in here if group.first.known_as[1] != itself and not _given(group)]
    staged = _best(group for group in others if group.frame in STAGED)
    best = _best(others)
    clean = _like(plain, made) if plain else None
    lacking = ""
    if plain is None:
        lacking = _no_natural(here)
    elif clean is None:
        lacking = "what it costs is not known without natural training on clean images by the same "
        lacking += "settings"
    return Finding(
        group=here[0], natural=plain, clean=clean, best=best, staged=staged,
        price=_price(best, clean, made), others=len(others), lacking=lacking,
    )  # fmt: skip


def _no_natural(here: list[Group]) -> str:
    several = [group.frame for group in here if group.first.known_as[1] == NATURAL]
    if several:
        return f"what it costs is not known, as {len(several)} natural trainings differ in settings"
    return "what it costs is not known without natural training on these images"


def _given(group: Group) -> bool:
    """Whether it started from a net that may have seen other images, which undoes no poison."""
    return any(key.startswith("init.") for key in group.first.setup)


def _best(groups: Iterable[Group]) -> Group | None:
    return max(groups, key=lambda group: group.mean, default=None)


def _like(group: Group, made: Sequence[Group]) -> Group | None:
    """The same training on clean images of the same set; None where there is not one such."""
    alike = [
        other
        for other in made
        if other.first.images.poison is None
        and (other.first.data, other.first.model) == (group.first.data, group.first.model)
        and _training(other) == _training(group)
    ]
    named = [other for other in alike if other.frame == group.frame] or alike
    return named[0] if len(named) == 1 else None


def _training(group: Group) -> dict[str, object]:
    """All that decides it but the images."""
    return {k: v for k, v in group.first.setup.items() if k.startswith(("train.", "init."))}


def _price(best: Group | None, clean: Group | None, made: Sequence[Group]) -> Difference | None:
    unpoisoned = _like(best, made) if best else None
    return difference(clean, unpoisoned) if clean and unpoisoned else None


def sentences(made: Sequence[Group]) -> list[str]:
    """What these trainings show, a line a poison, and one of what holds up on all of them.

    Where there are several data sets or models, each line says of which it is. Empty where nothing
    was measured.
    """
    if made and made[0].measure is MEASURES["holdout"]:
        return [VALIDATION]
    all_of = findings(made)
    places = list(dict.fromkeys(map(_place, all_of)))
    apart = [len(set(words)) > 1 for words in zip(*places, strict=True)]
    lines = []
    for place in places:
        here = [one for one in all_of if _place(one) == place]
        before = ", ".join(word for word, differs in zip(place, apart, strict=True) if differs)
        said = [*map(sentence, here), *overall(here, made)]
        lines += [f"{before}: {each}" if before else each for each in said]
    return lines or ([NO_POISON] if made else [])


def _place(one: Finding) -> tuple[str, str, str]:
    data, split = one.group.first.data
    return data, one.group.first.model, f"on {split} images"


def sentence(one: Finding) -> str:
    """What a poison costs, what the best frame gives back and at what price, and the paper's.

    `sp costs natural training 40 points (61.5 % on clean images, 21.3 % on these); gray-jpeg-30,
    the best of 38 other frames, gives back 37 (on clean images it costs 2), st 12.`
    """
    cost = one.cost
    if one.natural is None:
        return f"{one.poison}: {one.lacking}{_reached(one)}."
    if cost is None or one.clean is None:
        start = f"{one.poison} leaves {one.trained} {_percent(one.natural)} ({one.lacking})"
    else:
        levels = f"({_percent(one.clean)} on clean images, {_percent(one.natural)} on these)"
        start = f"{one.poison} {_costs(cost, one.trained)} {levels}"
    return f"{start}; {_answers(one, cost)}."


def _costs(cost: Difference, trained: str) -> str:
    if cost.shows:
        verb = f"costs {trained}" if cost.points > 0 else f"helps {trained} by"
        return f"{verb} {cost.text} point{'' if cost.text == '1' else 's'}"
    if cost.spread is None or abs(cost.points) < LEAST:
        return f"costs {trained} less than a point"
    return f"costs {trained} nothing beyond the spread of seeds, {cost.text} points,"


def _answers(one: Finding, cost: Difference | None) -> str:
    """What the best frame gives back, and the paper's."""
    if one.best is None or one.natural is None:
        return "no other frame was trained on these images from scratch"
    lost = cost is not None and cost.shows and cost.points > 0
    gain = difference(one.best, one.natural)
    name = one.best.frame + (f", the best of {one.others} other frames," if one.others > 1 else "")
    said = f"{name} {_gives(gain, lost=lost)}"
    if cost is not None and lost and gain.shows and gain.points >= cost.points:
        said += ", all that was lost"
    if one.price is not None and gain.shows and gain.points > 0:
        said += f" ({_priced(one.price)})"
    if one.staged is not None and one.staged is not one.best:
        also = difference(one.staged, one.natural)
        alike = gain.shows and also.shows and gain.points > 0 and also.points > 0
        said += f", {one.staged.frame} {also.text if alike else _gives(also, lost=lost)}"
    return said


def _gives(gain: Difference, *, lost: bool) -> str:
    if not gain.shows:
        return "gives nothing back" if lost else "is no better"
    if gain.points < 0:
        return f"is {gain.text} points worse"
    return f"gives back {gain.text}" if lost else f"is {gain.text} points better"


def _priced(price: Difference) -> str:
    if not price.shows:
        return "at no cost that shows on clean images"
    return f"on clean images it {'costs' if price.points > 0 else 'gains'} {price.text}"


def _reached(one: Finding) -> str:
    if one.best is None:
        return ""
    name = one.best.frame + (f", the best of {one.others} frames," if one.others > 1 else "")
    return f"; {name} reaches {_percent(one.best)}"


def _percent(group: Group) -> str:
    return f"{group.mean * 100:.1f} %"


def overall(here: Sequence[Finding], made: Sequence[Group]) -> list[str]:
    """Which frame does best where it does worst, of one data set and model; empty where fewer than
    two poisons, or than two frames that were trained on all of them."""
    grounds = [one.group.first.ground for one in here]
    if len({one.group.first.poison for one in here}) < 2:
        return []
    on: dict[str, dict[object, Group]] = {}
    for group in made:
        if group.first.ground in grounds and not _given(group):
            on.setdefault(group.frame, {})[group.first.ground] = group
    worst = {
        frame: min(groups.values(), key=lambda group: group.mean)
        for frame, groups in on.items()
        if len(groups) == len(grounds)
    }
    best = _best(worst.values())
    if best is None or len(worst) < 2:
        return []
    sets = "both" if len(grounds) == 2 else f"all {len(grounds)} sets"
    said = f"Best on its worst set, of {len(worst)} frames trained on {sets}: {best.frame}, "
    said += f"{_percent(best)} on {best.first.called}"
    plain = worst.get(NATURAL) or worst.get(BARE)
    if plain is not None and plain is not best:
        said += f"; natural training has {_percent(plain)} on its worst, {plain.first.called}"
    return [f"{said}."]
