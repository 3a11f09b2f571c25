"""Accuracy against one setting: gamma, beta, or the poison rate, all else being equal.

A sweep is a line of a picture: trainings that differ in that setting and in seeds alone.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import isfinite
from typing import Any

from stkit.recipes.staged import PURIFIED, Staged
from stkit.report import tables
from stkit.report.groups import Group, grouped
from stkit.report.result import Result


@dataclass(frozen=True)
class Point:
    """The trainings at one value of the setting, one a seed."""

    value: float
    group: Group

    @property
    def low(self) -> float:
        """The lowest accuracy of a seed."""
        return min(self.group.accuracies)

    @property
    def high(self) -> float:
        """The highest accuracy of a seed."""
        return max(self.group.accuracies)


@dataclass(frozen=True)
class Sweep:
    """A line: its name among others, its points by value, and what all of them share but that."""

    name: str
    points: tuple[Point, ...]

    @property
    def one(self) -> Result:
        """One of the trainings, for what they share; of the highest value, so never of rate 0."""
        return self.points[-1].group.first

    def rows(self, key: str) -> list[dict[str, str | int | float | None]]:
        """The numbers, one dict a point; key: the setting. Accuracies in [0,1]."""
        return [
            {
                "dataset": point.group.first.data[0], "split": point.group.first.split,
                "model": self.one.model, "poison": self.one.poison, "line": self.name,
                "setting": key, "value": point.value, "seeds": len(point.group.results),
                "accuracy": point.group.mean, "lowest": point.low, "highest": point.high,
                "deviation": point.group.deviation,
            }
            for point in self.points
        ]  # fmt: skip


def staged(results: Iterable[Result], key: str) -> list[Sweep]:
    """Those of a setting of staged training, `gamma` or `beta`, that have two values at least.

    gamma is the threshold of ACM: that of purified images is a share, on no axis with it.
    """
    lines: dict[tuple[object, ...], list[Point]] = {}
    for group in grouped(results):
        setup = group.first.setup
        own = [name for name in setup if name.endswith(f".staged.{key}")]
        if key == "gamma" and any(setup.get(f"{name[:-5]}indicator") == PURIFIED for name in own):
            continue
        values = {_value(setup, name) for name in own}
        if len(values) == 1:
            rest = sorted((name, repr(v)) for name, v in setup.items() if name not in own)
            point = Point(values.pop(), group)
            lines.setdefault((*group.first.ground, *rest), []).append(point)
    sweeps = [
        Sweep(_called(points[0].group.first), tuple(sorted(points, key=lambda p: p.value)))
        for points in lines.values()
        if len({point.value for point in points}) > 1
    ]
    return _told_apart(sweeps, key)


def _value(setup: Mapping[str, Any], name: str) -> float:
    """A setting by its path; where it was left open, as in some old files, the variant's own."""
    value = setup[name]
    if value is None:
        value = default(setup, name.rpartition(".")[2])
    return float(value)


def default(setup: Mapping[str, Any], key: str) -> float:
    """The default of `gamma` or `beta` for the variant of ACM that trainings were judged by."""
    variants = [str(value) for name, value in setup.items() if name.endswith(".staged.variant")]
    usual = Staged(variant=variants[0] if variants else Staged.variant)
    return usual.beta if key == "beta" else usual.threshold


def fraction(beta: float) -> str:
    """Beta as the paper writes it."""
    return f"1/{round(1 / beta)}"


def _called(training: Result) -> str:
    return f"{training.called} {training.setup['train.frame']}"


def _told_apart(sweeps: Sequence[Sweep], key: str) -> list[Sweep]:
    """Lines that share a name say in which settings they differ."""
    named = []
    for sweep in sweeps:
        alike = [other for other in sweeps if other.name == sweep.name]
        told = [_settings(other, key) for other in alike]
        words = [
            f"{name.rpartition('.')[2]} {fraction(value) if name.endswith('.beta') else value}"
            for name, value in _settings(sweep, key).items()
            if len({repr(other.get(name)) for other in told}) > 1
        ]
        told_name = f"{sweep.name} ({', '.join(dict.fromkeys(words))})" if words else sweep.name
        named.append(replace(sweep, name=told_name))
    return named


def _settings(sweep: Sweep, key: str) -> dict[str, Any]:
    """All that its trainings share, by path."""
    result = sweep.one
    own = {k: v for k, v in result.setup.items() if not k.endswith(f".staged.{key}")}
    return {"data set": result.data[0], "tested on": result.split, "model": result.model, **own}


def by_rate(results: Iterable[Result]) -> list[list[Sweep]]:
    """Those of the poison rate: for each data set, model and poison a line a frame.

    Rate 0 are clean images. Lines of one rate are there too, beside others of several.
    """
    panels: dict[tuple[int, str], list[Sweep]] = {}
    for number, table in enumerate(tables.arrange(grouped(results), "7")):
        for (poison, frame), groups in table.rows:
            at = zip(map(float, table.columns), groups, strict=True)
            points = tuple(Point(rate, group) for rate, group in at if group is not None)
            panels.setdefault((number, poison), []).append(Sweep(frame, points))
    return [lines for lines in panels.values() if any(len(line.points) > 1 for line in lines)]


def drawable(sweep: Sweep) -> Sweep:
    """Without the points that an axis of logarithms has no place for: 0 and infinity."""
    points = tuple(p for p in sweep.points if p.value > 0 and isfinite(p.value))
    return replace(sweep, points=points)
