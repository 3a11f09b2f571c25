"""How a ladder is climbed: which rung a training begins on, and when it leaves it. No torch.

`pilots` and `climb` measure and obey; here it is decided, as pure functions of what was measured.
`Chosen` is what a header records of it.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from stkit.recipes.carried import preparation, rung
from stkit.recipes.ladder import FITTED, MOVED, Ladder
from stkit.recipes.purifiers import GRAY, MIRRORED, SHARE

ENOUGH = 1.5
"""Times chance that a probe reads at least where a share of it says something."""


@dataclass(frozen=True)
class Pilot:
    """What a short training on a rung came to; shares and accuracies in [0,1].

    holdout_accuracy: on the held-out images as they are, or washed where that is more, as where a
    purifier prepares like the rung. purified_accuracy: on the same, washed by each purifier.
    retained_share: the smallest of these over the first. least_share: what it takes. little: see
    `knows_little`.
    """

    rung: str
    holdout_accuracy: float
    purified_accuracy: Mapping[str, float]
    retained_share: float
    least_share: float
    passed: bool
    little: bool = False

    def told(self) -> str:
        """What came of it, for people."""
        kept = f"{self.rung} keeps {self.retained_share:.2f}"
        if self.least_share >= 1:
            return f"{self.rung} has learned nothing to judge"
        noise = ", which is within the noise" if self.passed and self.nearness < 1 else ""
        little = f" of {self.holdout_accuracy:.2f}, which is little" if self.little else ""
        return f"{kept}{little} ({self.least_share:.2f} passes{noise})"

    @property
    def nearness(self) -> float:
        """How much it has of what it takes."""
        return self.retained_share / self.least_share

    @property
    def ended(self) -> bool:
        """Whether it ends the search."""
        return self.passed and not self.little

    @property
    def known(self) -> float:
        """What it tells of images whatever washes them."""
        return self.retained_share * self.holdout_accuracy


@dataclass(frozen=True)
class Switch:
    """A fall in the training: after which epoch, from which rung to which, and the epoch whose
    state came back."""

    epoch: int
    before: str
    after: str
    back_to: int


@dataclass(frozen=True)
class Chosen:
    """All that was decided on the way up a ladder; rung: the one at hand, None while pilots run.

    skipped: rungs that were not tried, and why; None: nobody has asked yet. probe: of each rung
    that random convolutions were asked about, what they read. mirrored: how much of that, above
    chance and on the rung where it is most, is read off mirrored images too. note: where no
    pilot ended the search.
    """

    rung: str | None = None
    pilots: tuple[Pilot, ...] = ()
    skipped: Mapping[str, str] | None = None
    probe: Mapping[str, float] = field(default_factory=dict)
    mirrored: float | None = None
    switches: tuple[Switch, ...] = ()
    note: str | None = None

    def to_json(self) -> dict[str, Any]:
        """As a header records it: what does not apply is left out."""
        switches = [
            {"epoch": s.epoch, "from": s.before, "to": s.after, "back_to": s.back_to}
            for s in self.switches
        ]
        values: dict[str, Any] = {"rung": self.rung, "pilots": [asdict(p) for p in self.pilots]}
        values |= {"switches": switches}
        optional = {
            "skipped": self.skipped, "probe": self.probe or None, "mirrored": self.mirrored,
            "note": self.note,
        }  # fmt: skip
        return values | {key: value for key, value in optional.items() if value is not None}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Chosen":
        """Out of a header whose numbers are numbers (`header.numbers`)."""
        switches = tuple(
            Switch(each["epoch"], each["from"], each["to"], each["back_to"])
            for each in value["switches"]
        )
        return cls(
            value["rung"], tuple(Pilot(**each) for each in value["pilots"]), value.get("skipped"),
            value.get("probe") or {}, value.get("mirrored"), switches, value.get("note"),
        )  # fmt: skip

    def told(self) -> str:
        """What was decided before the training, for people, in a line."""
        tried = ", ".join(each.told() for each in self.pilots)
        skipped = self.skipped if len(self.pilots) > 1 else None
        passed_over = f"; passed over: {', '.join(skipped)}" if skipped else ""
        said = f"{tried}: trains on {self.rung}{passed_over}"
        return said if self.note is None else f"{said}; {self.note}"


def allowed(ladder: Ladder, *, training: int, pilot: int) -> int:
    """How many pilots there may be; both in images that pass through a net in training."""
    return max(ladder.pilots, math.floor(ladder.budget * training / pilot))


def to_try(
    ladder: Ladder, pilots: Sequence[Pilot], skipped: Collection[str], *, most: int
) -> str | None:
    """The rung of the next pilot; None where one has passed that knows more than little, none is
    left, or there may be no more of them."""
    if len(pilots) >= most or any(pilot.ended for pilot in pilots):
        return None
    tried = {pilot.rung for pilot in pilots}
    return next((rung for rung in ladder.rungs if rung not in tried and rung not in skipped), None)


def begun_on(pilots: Sequence[Pilot]) -> Pilot:
    """The pilot on whose rung to train: the first that passed and knows more than little; else, of
    those that passed, the one that knows most; where none has, that which came nearest. Of equal
    ones the mildest."""
    passed = [pilot for pilot in pilots if pilot.passed]
    if not passed:
        return max(pilots, key=lambda pilot: pilot.nearness)
    return next((p for p in passed if p.ended), max(passed, key=lambda pilot: pilot.known))


def knows_little(
    ladder: Ladder, name: str, accuracy: float, read: float | None, *, classes: int
) -> bool:
    """Whether a pilot's accuracy on a rung is too little to end the search: above chance less than
    `ladder.little` of what random convolutions read there.

    What such a pilot knows is no shortcut, but the preparation has taken most of what there was:
    `orthogonal` takes as many directions off an image as there are classes. read: None where that
    was not asked. Never on the lowest rung, which takes nothing.
    """
    chance = 1 / classes
    if read is None or name == ladder.rungs[0]:
        return False
    return accuracy - chance < ladder.little * (read - chance)


def with_pilot(ladder: Ladder, chosen: Chosen, pilot: Pilot) -> Chosen:
    """What was decided, with a pilot more. Where it passed and knows little on a rung that is
    fitted to the set, stronger ones that are take more of the same, and are passed over."""
    pilots, skipped = (*chosen.pilots, pilot), chosen.skipped
    if pilot.passed and pilot.little and _prepares(pilot.rung, FITTED):
        above = ladder.rungs[ladder.rungs.index(pilot.rung) + 1 :]
        why = f"takes more than {pilot.rung}, which left little"
        skipped = {each: why for each in above if _prepares(each, FITTED)} | dict(skipped or {})
    return replace(chosen, pilots=pilots, skipped=skipped)


def decided(ladder: Ladder, chosen: Chosen) -> Chosen:
    """What was decided, with the rung to train on; the note says why where no pilot ended the
    search."""
    pilots, best = chosen.pilots, begun_on(chosen.pilots)
    if best.ended:
        return replace(chosen, rung=best.rung)
    left = len(ladder.rungs) - len({pilot.rung for pilot in pilots} | {*(chosen.skipped or {})})
    beyond = f", the budget left {left} untried" if left else ""
    if best.passed:
        note = f"every pilot that passed knows little{beyond}; {best.rung} knows most"
    else:
        note = f"none of {len(pilots)} pilots passed{beyond}; {best.rung} came nearest"
    return replace(chosen, rung=best.rung, note=note)


def _prepares(name: str, kinds: Collection[str]) -> bool:
    """Whether any of the preparations of a rung is of these kinds."""
    return any(preparation(each)[0] in kinds for each in rung(name).prepare)


def moves(name: str) -> bool:
    """Whether a rung moves pixels."""
    return bool({*MOVED} & {*rung(name).augment})


def spared(
    ladder: Ladder, read: Mapping[str, tuple[float, float]], *, classes: int, mirror: float | None
) -> dict[str, str]:
    """Rungs that leave a shortcut where random convolutions read it, and why.

    read: what these read off the images of each rung that prepares or moves them, and of the
    lowest, and off the same mirrored. Some of it is natural and is read on every rung; of it no
    rung leaves `ladder.left` times as much above chance as another; of images in colour grey may
    take `purifiers.GRAY` besides, and moved pixels whatever they take (of CIFAR-10's 0.23, of
    drawings' more than half): no rung is held against these. mirror: what `survives` says; None
    where a mirror does not judge. Then too little of what is left by shortcuts is read off mirrored
    images. Only those that leave less are tried. Not asked of what is fitted to a whole set: such
    rungs change more of it than a part of it shows.
    """
    if not read:
        return {}
    chance = 1 / classes
    left = {name: direct - chance for name, (direct, _) in read.items()}
    in_place = {name: known for name, known in left.items() if not moves(name)} or left
    in_gray = max(min(in_place.values()), 1e-9)
    in_color = min(
        known / (1 - GRAY * _prepares(name, ("gray",))) for name, known in in_place.items()
    )
    why = {}
    for name, (direct, mirrored) in read.items():
        if direct <= chance or _prepares(name, FITTED) or name == ladder.rungs[0]:
            continue
        least = in_gray if _prepares(name, ("gray",)) else max(in_color, 1e-9)
        times, kept = left[name] / least, (mirrored - chance) / left[name]
        if times > ladder.left:
            why[name] = f"leaves {times:.1f} times what the least leaves to be read by a probe"
        elif mirror is not None and kept < SHARE * mirror:
            why[name] = f"mirrored images keep {kept:.2f} of what a probe reads"
    return why


def survives(read: Mapping[str, tuple[float, float]], *, classes: int) -> float | None:
    """How much of what a probe reads above chance it reads off mirrored images too, on the rung
    where that is most, and 1 at most; None where nothing was read.

    read: off the images of each rung, and off the same mirrored. Where a shortcut is gone what is
    read is of things, which a mirror leaves as they are, unless it makes another class of them.
    Rungs that move pixels, which take what is in its place, are asked where no other shows enough.
    """
    chance = 1 / classes
    shares = {
        name: (mirrored - chance) / (direct - chance)
        for name, (direct, mirrored) in read.items()
        if direct > ENOUGH * chance
    }
    in_place = [share for name, share in shares.items() if not moves(name)]
    most = max(in_place, default=0.0)
    return min(most if most >= MIRRORED else max(shares.values()), 1.0) if shares else None


def kept(washed: Sequence[Mapping[str, float]], *, classes: int) -> list[float]:
    """Of each epoch on a rung, what is left of what was learned: of the accuracy above chance, by
    each purifier, over the best of the same so far; the smallest over purifiers.

    washed: by purifier, at the end of each epoch. Each is set beside itself, as a net that learns
    fine detail keeps less and less of its accuracy under some of them (a blur: 0.95 to 0.6 within
    four epochs), though it has learned no shortcut.
    """
    chance = 1 / classes
    tops: dict[str, float] = {}
    left = []
    for epoch in washed:
        tops = {each: max(tops.get(each, 0.0), w - chance) for each, w in epoch.items()}
        over = [(w - chance) / tops[each] for each, w in epoch.items() if tops[each] > 0]
        left.append(min(over, default=1.0))
    return left


def last_sound(ladder: Ladder, left: Sequence[float]) -> int:
    """The last epoch on a rung that kept `ladder.sound`; the first has lost nothing yet."""
    return max(range(len(left)), key=lambda epoch: (left[epoch] >= ladder.sound, epoch))


def fell(ladder: Ladder, left: Sequence[float], passed: Sequence[bool]) -> bool:
    """Whether a training has fallen into a shortcut on a rung: its last `ladder.falls` epochs have.

    left: what `kept` says of each epoch on this rung so far. passed: whether its retained share
    does. An epoch has fallen where it does not pass and less than `ladder.lost` is left: what was
    learned is lost again. At a high rate a single epoch says little.
    """
    last = range(len(left))[-ladder.falls :]
    fallen = (left[epoch] < ladder.lost and not passed[epoch] for epoch in last)
    return len(left) > ladder.falls and all(fallen)


def after(ladder: Ladder, rung: str, skipped: Collection[str]) -> str | None:
    """The next stronger rung that is not skipped; None on the last."""
    above = ladder.rungs[ladder.rungs.index(rung) + 1 :]
    return next((each for each in above if each not in skipped), None)
