"""Accuracies as the ST paper lays them out: means over seeds, differences to natural training.

Its tables have three layouts. 1 and 2: a row a poison and frame, a column a model (CIFAR-10,
CIFAR-100). 4: a row a poison and model, a column a frame. 7 and 8: a row a poison and frame, a
column a poison rate, one table a model. Results of several data sets give a table each.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any

from stkit.recipes.frames import FRAMES
from stkit.recipes.poisons import variants
from stkit.report import literature
from stkit.report.gather import Entry, named_apart

LAYOUTS = ("1", "2", "4", "7", "8")
POISONS = ("clean", *variants())
"""The order of the rows, the paper's; other poisons come after these as they are found."""
MEASURES = {
    "accuracy": "Accuracy on clean {split} images, %",
    "best_accuracy": "Accuracy on clean {split} images, best epoch, %",
    "holdout_accuracy": "Accuracy on validation images (as published), %",
}
"""What a table may show, and its title. Only the first is what papers report, on test images."""


@dataclass
class Group:
    """Trainings that differ in seeds alone, each with what is measured, in [0,1]."""

    entries: list[Entry]
    frame: str  # its name in tables: where two settings share one, with what they differ in
    measure: str = "accuracy"
    difference: float | None = None  # of means, to natural training on the same images

    @property
    def first(self) -> Entry:
        return self.entries[0]

    @property
    def accuracies(self) -> list[float]:
        return [entry.row[self.measure] for entry in self.entries]

    @property
    def mean(self) -> float:
        return fmean(self.accuracies)

    @property
    def deviation(self) -> float | None:
        """Standard deviation over seeds (n - 1); None for one seed."""
        return stdev(self.accuracies) if len(self.accuracies) > 1 else None

    @property
    def published(self) -> dict[str, literature.Anchor]:
        entry = self.first
        if self.measure != "accuracy" or entry.split != "test":
            return {}
        poison, frame = entry.published
        return literature.beside(
            dataset=entry.dataset, poison=poison, rate=entry.rate, frame=frame, model=entry.model
        )

    def text(self, *, with_anchors: bool = False) -> str:
        """The cell of a table, in percent."""
        found = f"{self.mean * 100:.2f}"
        if self.deviation is not None:
            found += f" ± {self.deviation * 100:.2f}"
        if self.difference is not None:
            found += f" ({self.difference * 100:+.2f})"
        if with_anchors and self.published:
            values = (f"{key} {a.accuracy * 100:.2f}" for key, a in self.published.items())
            found += f" [{', '.join(values)}]"
        return found


@dataclass
class Table:
    """A table of the paper: the first `labels` columns are text, the others groups, or None."""

    title: str
    heads: list[str]
    labels: int
    rows: list[list[Any]]

    def texts(self, *, with_anchors: bool) -> list[dict[str, str]]:
        """One dict a row, for people."""

        def text(cell: Any) -> str:
            found = isinstance(cell, Group)
            return cell.text(with_anchors=with_anchors) if found else cell or "-"

        return [dict(zip(self.heads, map(text, row), strict=True)) for row in self.rows]


def groups(entries: Iterable[Entry], measure: str | None = "accuracy") -> list[Group]:
    """The groups there are, in the paper's order; what was not measured is left out.

    measure: a key of MEASURES; None: all trainings, with no numbers.
    """
    found: dict[tuple, dict[tuple, Entry]] = {}
    measured = [e for e in entries if measure is None or e.row.get(measure) is not None]
    for entry in named_apart(measured):
        key = (*_place(entry), *sorted((k, repr(v)) for k, v in entry.setup.items()))
        # one training may be found twice: its result and its checkpoint, or a copy
        found.setdefault(key, {}).setdefault((entry.seed, entry.digest), entry)
    made = [
        Group(sorted(group.values(), key=lambda e: e.seed), next(iter(group.values())).frame,
              measure or "")
        for group in found.values()
    ]  # fmt: skip
    _tell_apart(made)
    for group in made if measure else ():
        group.difference = _difference(group, made)
    seen = list(dict.fromkeys(group.first.poison for group in made))
    names = list(FRAMES)

    def order(group: Group) -> tuple:
        entry = group.first
        poison, frame = entry.published[0], entry.setup["train.frame"]
        return (
            entry.data,
            POISONS.index(poison) if poison in POISONS else len(POISONS), seen.index(entry.poison),
            -entry.rate,
            names.index(frame) if frame in names else len(names), group.frame,
        )  # fmt: skip

    return sorted(made, key=order)


def _place(entry: Entry) -> tuple:
    return *entry.ground, entry.frame


def _tell_apart(made: list[Group]) -> None:
    """Give groups that would share a cell names that say in which settings they differ."""
    for place in {_place(group.first) for group in made}:
        same = [group for group in made if _place(group.first) == place]
        if len(same) == 1:
            continue
        setups = [group.first.setup for group in same]
        keys = sorted({key for setup in setups for key in setup})
        apart = [key for key in keys if len({repr(s.get(key)) for s in setups}) > 1]
        for group in same:
            words = [f"{key.rpartition('.')[2]} {group.first.setup.get(key)}" for key in apart]
            group.frame += f" ({', '.join(dict.fromkeys(words))})"


def _difference(group: Group, made: list[Group]) -> float | None:
    """To natural training on the same images; None where there is not one such, or it is that."""
    natural = [
        other
        for other in made
        if other.first.published[1] == "nt" and other.first.ground == group.first.ground
    ]
    named = [other for other in natural if other.frame == "nt"] or natural
    return None if len(named) != 1 or named[0] is group else group.mean - named[0].mean


def records(made: list[Group], *, with_anchors: bool) -> list[dict[str, Any]]:
    """One row a group, for machines: accuracies in [0,1], keys that do not apply left out."""
    found = []
    for group in made:
        entry = group.first
        row: dict[str, Any] = {
            "dataset": entry.data[0], "split": entry.split, "poison": entry.poison,
            "rate": entry.rate, "frame": group.frame, "model": entry.model,
            "epochs": entry.row["epochs"], "seeds": len(group.entries),
            group.measure: group.mean, "deviation": group.deviation,
            "difference_to_nt": group.difference,
        }  # fmt: skip
        if with_anchors:
            row |= {key: anchor.accuracy for key, anchor in group.published.items()}
        found.append(row)
    return found


def arrange(made: list[Group], layout: str) -> list[Table]:
    """The tables of a layout: one a data set and test, and for 7 and 8 one a model.

    layout: one of the paper's, or "poisons": a row a frame and model, a column a poison.
    """
    tables = []
    for dataset, split in dict.fromkeys(group.first.data for group in made):
        mine = [group for group in made if group.first.data == (dataset, split)]
        title = f"{MEASURES[mine[0].measure].format(split=split)}, {dataset}"
        if layout == "poisons":
            tables.append(_pivot(title, mine, ("frame", "model"), "poison"))
        elif layout in ("1", "2"):
            tables.append(_pivot(title, mine, ("poison", "frame"), "model"))
        elif layout == "4":
            tables.append(_pivot(title, mine, ("poison", "model"), "frame"))
        else:
            for model in dict.fromkeys(group.first.model for group in mine):
                some = [group for group in mine if group.first.model == model]
                tables.append(_rates(f"{title}, {model}, by poison rate", some))
    return tables


def _labels(group: Group) -> dict[str, str]:
    entry = group.first
    return {"poison": entry.called, "frame": group.frame, "model": entry.model}


def _pivot(title: str, made: list[Group], down: tuple[str, str], across: str) -> Table:
    columns = list(dict.fromkeys(_labels(group)[across] for group in made))
    rows: dict[tuple[str, ...], dict[str, Group]] = {}
    for group in made:
        labels = _labels(group)
        rows.setdefault(tuple(labels[key] for key in down), {})[labels[across]] = group
    cells = [[*key, *(row.get(column) for column in columns)] for key, row in rows.items()]
    return Table(title, [*down, *columns], len(down), cells)


def _rates(title: str, made: list[Group]) -> Table:
    """A row a poison and frame, a column a rate; rate 0 are the clean images."""
    clean = {group.frame: group for group in made if group.first.published[0] == "clean"}
    poisoned = [group for group in made if group.first.published[0] != "clean"]
    rates = sorted({group.first.rate for group in poisoned} | ({0.0} if clean else set()))
    rows: dict[tuple[str, str], dict[float, Group]] = {}
    for group in poisoned:
        entry = group.first
        row = rows.setdefault((entry.poison, group.frame), {})
        if group.frame in clean:
            row.setdefault(0.0, clean[group.frame])
        row[entry.rate] = group
    cells = [[*key, *(row.get(rate) for rate in rates)] for key, row in rows.items()]
    return Table(title, ["poison", "frame", *(f"{rate:g}" for rate in rates)], 2, cells)
