"""Trainings that differ in seeds alone, in the paper's order, with the mean of what is measured."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from statistics import fmean, stdev
from typing import Any

from stkit.core.lineage import Poison
from stkit.recipes.frames import FRAMES, NATURAL
from stkit.recipes.poisons import variants
from stkit.report import literature
from stkit.report.gather import named_apart
from stkit.report.result import Result, Row


@dataclass(frozen=True)
class Measure:
    """An accuracy that tables may show: its key for machines, its title, how to read it.

    absent: what to say where none was taken.
    """

    key: str
    title: str
    absent: str
    read: Callable[[Result], float | None]


TAKEN = "no such accuracies; `stkit train` takes them with "
MEASURES = {
    "test": Measure("accuracy", "Accuracy on clean {split} images, %", f"{TAKEN}--test SOURCE",
                    lambda result: result.accuracy),
    "best": Measure("best_accuracy", "Accuracy on clean {split} images, best epoch, %",
                    f"{TAKEN}--test SOURCE", lambda result: result.best_accuracy),
    "holdout": Measure("holdout_accuracy", "Accuracy on validation images (as published), %",
                       f"{TAKEN}--holdout N", lambda result: result.holdout_accuracy),
}  # fmt: skip
"""Only the first is what papers report, on test images."""
TEST = MEASURES["test"]


@dataclass(frozen=True)
class Group:
    """Trainings that differ in seeds alone, each with what is measured, in [0,1]."""

    results: tuple[Result, ...]
    frame: str  # its name in tables: where two settings share one, with what they differ in
    measure: Measure = TEST
    difference: float | None = None  # of means, to natural training on the same images
    table: str = ""  # of the ST paper: published numbers that stand there go before its others

    @property
    def first(self) -> Result:
        """One of them, for what they share."""
        return self.results[0]

    @property
    def accuracies(self) -> list[float]:
        """What is measured, one a seed."""
        values = [self.measure.read(result) for result in self.results]
        return [value for value in values if value is not None]

    @property
    def mean(self) -> float:
        """Mean over seeds."""
        return fmean(self.accuracies)

    @property
    def deviation(self) -> float | None:
        """Standard deviation over seeds (n - 1); None for one seed."""
        return stdev(self.accuracies) if len(self.accuracies) > 1 else None

    @property
    def anchors(self) -> dict[str, literature.Anchor]:
        """What was published for the same place: short name of the source -> its value."""
        result = self.first
        if self.measure is not TEST or result.split != "test":
            return {}
        poison, frame = result.known_as
        return literature.beside(
            dataset=result.dataset, poison=poison, rate=result.rate, frame=frame,
            model=result.model, table=self.table,
        )  # fmt: skip

    @property
    def numbers(self) -> Row:
        """The same for people, in [0,1]."""
        return {key: anchor.accuracy for key, anchor in self.anchors.items()}

    @property
    def with_settings(self) -> Row:
        """The same for machines: by source its accuracy, and the setting that it is of."""
        row: Row = {}
        for key, anchor in self.anchors.items():
            row |= {key: anchor.accuracy, f"{key} setting": anchor.setting}
        return row

    def text(self, *, with_anchors: bool = False) -> str:
        """What stands in a table, in percent."""
        words = f"{self.mean * 100:.2f}"
        if self.deviation is not None:
            words += f" ± {self.deviation * 100:.2f}"
        if self.difference is not None:
            words += f" ({self.difference * 100:+.2f})"
        if with_anchors and self.anchors:
            values = (f"{key} {a.accuracy * 100:.2f}" for key, a in self.anchors.items())
            words += f" [{', '.join(values)}]"
        return words


def grouped(results: Iterable[Result], measure: Measure | None = TEST) -> list[Group]:
    """The groups there are, in the paper's order; what was not measured is left out.

    measure: one of MEASURES; None: all trainings, whether they have it or not.
    """
    sorts: dict[tuple[object, ...], dict[tuple[int, str], Result]] = {}
    measured = [r for r in results if measure is None or measure.read(r) is not None]
    for result in named_apart(measured):
        key = (*_place(result), *sorted((k, repr(v)) for k, v in result.setup.items()))
        # one training may be there twice: its result and its checkpoint, or a copy
        sorts.setdefault(key, {}).setdefault((result.seed, result.digest), result)
    made = [
        Group(tuple(sorted(trainings.values(), key=lambda r: r.seed)),
              next(iter(trainings.values())).frame, measure or TEST)
        for trainings in sorts.values()
    ]  # fmt: skip
    made = _told_apart(made)
    if measure is not None:
        made = [replace(group, difference=_difference(group, made)) for group in made]
    seen = list(dict.fromkeys(group.first.poison for group in made))
    return sorted(made, key=lambda group: _order(group, seen))


def _order(group: Group, seen: list[str]) -> tuple[object, ...]:
    """Clean images first, then the poisons and frames there are, then others as they came."""
    result, frames = group.first, list(FRAMES)
    poison, frame = result.images.poison, result.setup["train.frame"]
    return (
        result.data, _rank(poison), seen.index(result.poison), -result.rate,
        frames.index(frame) if frame in frames else len(frames), group.frame,
    )  # fmt: skip


def _rank(poison: Poison | None) -> int:
    if poison is None:
        return -1
    names = variants()
    return names.index(poison.name) if poison.name in names else len(names)


def _place(result: Result) -> tuple[object, ...]:
    return *result.ground, result.frame


def _told_apart(made: list[Group]) -> list[Group]:
    """Groups that would share a place get names that say in which settings they differ."""
    places: dict[tuple[object, ...], list[Group]] = {}
    for group in made:
        places.setdefault(_place(group.first), []).append(group)
    named = []
    for group in made:
        setups = [other.first.setup for other in places[_place(group.first)]]
        keys = sorted({key for setup in setups for key in setup})
        apart = [key for key in keys if len({repr(s.get(key)) for s in setups}) > 1]
        words = [word(group.first.setup, key) for key in apart]
        name = f"{group.frame} ({', '.join(dict.fromkeys(words))})" if words else group.frame
        named.append(replace(group, frame=name))
    return named


def word(setup: Mapping[str, Any], key: str) -> str:
    """A setting by the last of its names, with its value; of a list, all of them.

    One of a net that was started from says so."""
    path = re.sub(r"(\.\d+)+$", "", key)
    of_list = re.compile(re.escape(path) + r"(\.\d+)*")
    values = [str(value) for name, value in setup.items() if of_list.fullmatch(name)]
    name = path.rpartition(".")[2]
    whose = "its net's " if path.startswith("init.") else ""
    return f"{whose}{name} {','.join(values) or None}"


def natural(group: Group, made: Iterable[Group], *, frame: str = NATURAL) -> Group | None:
    """Natural training on the same images; None where there is not one such."""
    alike = [
        other
        for other in made
        if other.first.known_as[1] == frame and other.first.ground == group.first.ground
    ]
    named = [other for other in alike if other.frame == frame] or alike
    return named[0] if len(named) == 1 else None


def _difference(group: Group, made: list[Group]) -> float | None:
    """To natural training on the same images; None where there is not one such, or it is that."""
    other = natural(group, made)
    return None if other is None or other is group else group.mean - other.mean
