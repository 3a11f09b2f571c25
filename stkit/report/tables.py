"""Accuracies as the ST paper lays them out: means over seeds, differences to natural training.

Its tables have four layouts. 1 and 2: a row a poison and frame, a column a model (CIFAR-10,
CIFAR-100). 4: a row a poison and model, a column a frame. 5: a row a frame, one table a model and
poison. 7 and 8: a row a poison and frame, a column a poison rate, one table a model. Results of
several data sets give a table each.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from stkit.recipes.frames import NATURAL
from stkit.report import literature
from stkit.report.groups import Group
from stkit.report.result import Row


@dataclass(frozen=True)
class Table:
    """A table of the paper: rows of labels, then of groups, or None where there is nothing."""

    title: str
    labels: tuple[str, ...]
    columns: tuple[str, ...]
    rows: tuple[tuple[tuple[str, ...], tuple[Group | None, ...]], ...]

    @property
    def heads(self) -> list[str]:
        """The names of all columns."""
        return [*self.labels, *self.columns]

    def texts(self, *, with_anchors: bool) -> list[dict[str, str]]:
        """One dict a row, for people."""
        return [
            dict(zip(self.heads, [
                *labels, *(g.text(with_anchors=with_anchors) if g else "-" for g in groups),
            ], strict=True))
            for labels, groups in self.rows
        ]  # fmt: skip


def records(made: list[Group], *, with_anchors: bool) -> list[Row]:
    """One row a group, for machines: accuracies in [0,1]; None where something does not apply."""
    rows = []
    for group in made:
        result = group.first
        row: Row = {
            "dataset": result.data[0], "split": result.split, "poison": result.poison,
            "rate": result.rate, "frame": group.frame, "model": result.model,
            "epochs": result.epochs, "seeds": len(group.results),
            group.measure.key: group.mean, "deviation": group.deviation,
            f"difference_to_{NATURAL}": group.difference,
        }  # fmt: skip
        if with_anchors:
            row |= group.with_settings
        rows.append(row)
    return rows


def of_table(made: Iterable[Group], layout: str) -> list[Group]:
    """The groups with the numbers of that table beside them, where it has some."""
    return [replace(group, table=layout) for group in made]


def arrange(made: list[Group], layout: str) -> list[Table]:
    """The tables of a layout: one a data set and test, for 7 and 8 one a model, for 5 one a model
    and poison.

    layout: one of the paper's, or "poisons": a row a frame and model, a column a poison.
    """
    tables = []
    for dataset, split in dict.fromkeys(group.first.data for group in made):
        mine = [group for group in made if group.first.data == (dataset, split)]
        title = f"{mine[0].measure.title.format(split=split)}, {dataset}"
        if layout == "poisons":
            tables.append(_pivot(title, mine, ("frame", "model"), "poison"))
        elif layout in ("1", "2"):
            tables.append(_pivot(title, mine, ("poison", "frame"), "model"))
        elif layout == "4":
            tables.append(_pivot(title, mine, ("poison", "model"), "frame"))
        elif layout == "5":
            tables += _frames(title, mine)
        else:
            for model in dict.fromkeys(group.first.model for group in mine):
                some = [group for group in mine if group.first.model == model]
                tables.append(_rates(f"{title}, {model}, by poison rate", some))
    return tables


def overview(made: list[Group]) -> list[Table]:
    """What shows most at a glance: poisons across where there is one model, and a table by rates.

    Where there are several models, the paper's first layout.
    """
    models = {group.first.model for group in made}
    rates = {group.first.rate for group in made if group.first.rate}
    layouts = ["1" if len(models) > 1 else "poisons", *(["7"] if len(rates) > 1 else [])]
    return [table for layout in layouts for table in arrange(made, layout) if table.rows]


def sources(made: list[Group]) -> list[str]:
    """Where the published numbers beside these come from, a line each."""
    return list(dict.fromkeys(
        f"{a.key}: {a.source} ({a.setting})" for group in made for a in group.anchors.values()
    ))  # fmt: skip


def _labels(group: Group) -> dict[str, str]:
    result = group.first
    return {"poison": result.called, "frame": group.frame, "model": result.model}


def _pivot(title: str, made: list[Group], down: tuple[str, str], across: str) -> Table:
    columns = tuple(dict.fromkeys(_labels(group)[across] for group in made))
    rows: dict[tuple[str, ...], dict[str, Group]] = {}
    for group in made:
        labels = _labels(group)
        rows.setdefault(tuple(labels[key] for key in down), {})[labels[across]] = group
    lines = tuple((key, tuple(map(row.get, columns))) for key, row in rows.items())
    return Table(title, down, columns, lines)


def _frames(title: str, made: list[Group]) -> list[Table]:
    """A row a frame, those of the paper's table first and in its order; a table a model and poison
    at a rate."""
    places: dict[tuple[str, str], list[Group]] = {}
    for group in made:
        places.setdefault((group.first.model, group.first.called), []).append(group)
    return [
        Table(
            f"{title}, {model}, {poison}", ("frame",), ("accuracy",),
            tuple(((group.frame,), (group,)) for group in sorted(mine, key=_row)),
        )
        for (model, poison), mine in places.items()
    ]  # fmt: skip


def _row(group: Group) -> int:
    frame = group.first.known_as[1]
    order = [anchor.frame for anchor in literature.anchors() if anchor.table == "5"]
    return order.index(frame) if frame in order else len(order)


def _rates(title: str, made: list[Group]) -> Table:
    """A row a poison and frame, a column a rate; rate 0 are the clean images."""
    clean = {group.frame: group for group in made if group.first.images.poison is None}
    poisoned = [group for group in made if group.first.images.poison is not None]
    rates = sorted({group.first.rate for group in poisoned} | ({0.0} if clean else set()))
    rows: dict[tuple[str, ...], dict[float, Group]] = {}
    for group in poisoned:
        result = group.first
        row = rows.setdefault((result.poison, group.frame), {})
        if group.frame in clean:
            row.setdefault(0.0, clean[group.frame])
        row[result.rate] = group
    lines = tuple((key, tuple(map(row.get, rates))) for key, row in rows.items())
    return Table(title, ("poison", "frame"), tuple(f"{rate:g}" for rate in rates), lines)
