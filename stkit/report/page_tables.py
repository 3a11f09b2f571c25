"""Tables of the page: sortable, scrolling in a box of their own, the best and the worst marked."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import isfinite

from stkit.core.text import html
from stkit.report import tables, unanchored
from stkit.report.groups import Group
from stkit.report.result import COLUMNS, Result, Shown

SHARED = ("data set", "poison", "rate", "frame", "model", "seed", "epochs", "tested on")
"""Columns of all trainings that a line above takes the place of, where all say the same."""
BEST, WORST = "best", "worst"
SIGNS = {BEST: "▲", WORST: "▼"}
DIGITS = 1e4  # numbers from here on have no decimals, smaller ones four digits
MARKED = 3  # frames on the same images, below which none is marked
MARKS = f"{SIGNS[BEST]} best and {SIGNS[WORST]} worst of the frames on the same images."
ROLL_BACKS = "Roll-backs by stage@epoch: 2@5 is one after epoch 5, with which stage 2 began."


@dataclass(frozen=True)
class Value:
    """A value of a table as HTML: what it is sorted by, and whether it is the best or the worst."""

    text: str
    number: float
    mark: str = ""


def table(
    heads: Sequence[str], rows: Iterable[Sequence[Shown | Value]], *, caption: str = "",
    labels: int = 0, style: str = "", notes: Sequence[str] = (),
) -> str:  # fmt: skip
    """A sortable table, and notes under it.

    A value is text, a number, a pair (text, number to sort by), a `Value`, or None. labels: how
    many columns say what a row is of; the first stays where it is when the others scroll. style:
    more classes of its box.
    """
    values = list(rows)
    numbers = [not any(isinstance(row[i], str) for row in values) for i in range(len(heads))]
    head = "".join(
        f'<th scope="col"{" class=number" if number else ""}><button>{html(name)}</button></th>'
        for name, number in zip(heads, numbers, strict=True)
    )
    lines = [
        f"<tr>{''.join(_td(value, label=i < labels) for i, value in enumerate(row))}</tr>"
        for row in values
    ]
    above = f'<p class="caption">{html(caption)}</p>' if caption else ""
    below = "".join(f'<p class="under">{html(note)}</p>' for note in notes)
    body = "\n".join(lines)
    return (
        f'<div class="table">{above}<p class="hint" hidden>Scroll sideways for more columns →</p>'
        f'<div class="{f"wide {style}".strip()}" tabindex="0" role="region" '
        f'aria-label="{html(caption or "table")}">'
        f'<table class="sortable"><thead><tr>{head}</tr></thead>'
        f"<tbody>\n{body}\n</tbody></table></div>{below}</div>"
    )


def _td(value: Shown | Value, *, label: bool) -> str:
    if isinstance(value, Value):
        sign = (
            f'<span class="sign" aria-hidden="true">{SIGNS[value.mark]}</span>'
            f'<span class="unseen">{value.mark} </span>'
            if value.mark else ""
        )  # fmt: skip
        style = f"number {value.mark}".strip()
        return f'<td class="{style}" data-v="{value.number!r}">{sign}{value.text}</td>'
    if value is None:
        return '<td class="number"></td>'
    if isinstance(value, tuple):
        return f'<td class="number" data-v="{value[1]!r}">{value[0]}</td>'
    if isinstance(value, (int, float)):
        digits = f"{value:.4g}" if abs(value) < DIGITS or not isfinite(value) else f"{value:.0f}"
        return f'<td class="number" data-v="{value!r}">{digits}</td>'
    return f'<th scope="row">{html(value)}</th>' if label else f"<td>{html(value)}</td>"


def marks(made: Iterable[Group]) -> dict[int, str]:
    """The best and worst of the groups on the same images, by `id`; none where all are equal."""
    grounds: dict[object, list[Group]] = {}
    for group in made:
        grounds.setdefault(group.first.ground, []).append(group)
    marked: dict[int, str] = {}
    for here in grounds.values():
        means = [group.mean for group in here]
        if len(here) >= MARKED and max(means) > min(means):
            marked |= {id(group): BEST for group in here if group.mean == max(means)}
            marked |= {id(group): WORST for group in here if group.mean == min(means)}
    return marked


def summary(made: list[Group], *, with_anchors: bool) -> str:
    """The tables of accuracies; under the last where published numbers come from, and why some
    are not there."""
    marked, shown = marks(made), tables.overview(made)
    notes = [*tables.sources(made), unanchored.absent(made)] if with_anchors else []
    texts = []
    for each in shown:
        groups = [group for _, row in each.rows for group in row if group is not None]
        under = [MARKS] if any(id(group) in marked for group in groups) else []
        heads, rows, said = _without_shared(each)
        texts.append(table(
            heads,
            [[*labels, *(_value(group, marked, with_anchors) for group in row)]
             for labels, row in rows],
            caption=each.title + said, labels=len(heads) - len(each.columns),
            notes=[*under, *(note for note in notes if note and each is shown[-1])],
        ))  # fmt: skip
    return "".join(texts)


def _without_shared(
    shown: tables.Table,
) -> tuple[list[str], list[tuple[list[str], tuple[Group | None, ...]]], str]:
    """Heads and rows without labels that are the same in all rows, and what to say of those."""
    kept = [
        i
        for i in range(len(shown.labels))
        if i == 0 or len({labels[i] for labels, _ in shown.rows}) > 1
    ]
    heads = [*(shown.labels[i] for i in kept), *shown.columns]
    rows = [([labels[i] for i in kept], groups) for labels, groups in shown.rows]
    gone = [shown.rows[0][0][i] for i in range(len(shown.labels)) if i not in kept]
    return heads, rows, "".join(f", {value}" for value in gone)


def _value(group: Group | None, marked: dict[int, str], with_anchors: bool) -> Value | None:
    """What stands in a table of the paper; published values below, with their source."""
    if group is None:
        return None
    text = html(group.text())
    if with_anchors and group.anchors:
        values = "<br>".join(
            f'<span title="{html(f"{a.source}: {a.setting}")}">{html(key)} '
            f"{a.accuracy * 100:.2f}</span>"
            for key, a in group.anchors.items()
        )
        text += f"<br><small>{values}</small>"
    return Value(text, group.mean, marked.get(id(group), ""))


def trainings(results: list[Result]) -> str:
    """A row a training; what all share stands above."""
    columns = [
        column
        for column in COLUMNS
        if column.heading and any(column.shown(result) not in (None, "") for result in results)
    ]
    shared = {
        column.heading: column.shown(results[0])
        for column in columns
        if column.heading in SHARED and len(results) > 1
        and len({column.shown(result) for result in results}) == 1
    }  # fmt: skip
    columns = [column for column in columns if column.heading not in shared]
    rows = [[column.shown(result) for column in columns] for result in results]
    said = "; ".join(f"{heading} {value}" for heading, value in shared.items() if value != "")
    stages = any(result.stages for result in results)
    return table(
        [column.heading for column in columns], rows, style="tall",
        caption=f"All have {said}" if said else "", notes=[ROLL_BACKS] if stages else (),
    )  # fmt: skip
