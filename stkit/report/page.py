"""A report as one HTML page that asks for nothing: no script, style, font or image from elsewhere.

The frame of the page (style, the sorting script, a policy that forbids requests) is `page.html`.
All text from files goes through `escape`.
"""

from collections.abc import Iterable
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import Any

from stkit.core.errors import StkitError
from stkit.recipes.frames import PAPER
from stkit.report import charts, literature, pictures, tables
from stkit.report.gather import Entry, Gathered
from stkit.report.tables import Group

COLUMNS = {
    "dataset": "data set", "poison": "poison", "rate": "rate", "frame": "frame", "model": "model",
    "seed": "seed", "epochs": "epochs", "split": "tested on", "accuracy": "accuracy, %",
    "best": "best epoch, %", "acm": "ACM", "stages": "roll-backs", "seconds": "seconds",
    "speed": "images/s", "memory": "peak memory, GiB",
}  # fmt: skip
"""Of the table of all trainings."""
HOW = "Point at a name or a line to see which is which; a click keeps it, or lets it go."


def page(
    found: Gathered, made: list[Group], paths: Iterable[Path], *, absent: str, with_anchors: bool
) -> str:
    """The whole page.

    paths: the files and folders asked for; data sets are looked for there. absent: what to say
    where no accuracies were taken.
    """
    summary = _summary(made, with_anchors) or f"<p>{escape(absent)}</p>"
    sections = [
        ("accuracies", "Accuracies", summary),
        ("curves", "Curves", _curves(found.entries)),
        ("images", "Images", _images(found.entries, pictures.index(paths))),
        ("trainings", "All trainings", _trainings(found.entries)),
        ("published", "Published numbers", _published(made) if with_anchors else ""),
    ]
    shown = [(key, title, body) for key, title, body in sections if body]
    links = " ".join(f'<a href="#{key}">{title}</a>' for key, title, _ in shown)
    parts = [_head(found), f"<nav>{links}</nav>"]
    parts += [f'<section id="{key}"><h2>{title}</h2>{body}</section>' for key, title, body in shown]
    frame = files("stkit.report").joinpath("page.html").read_text(encoding="utf-8")
    before, after = frame.split("{{body}}")
    before = before.replace("{{title}}", escape(f"stkit: {_datasets(found)}"))
    return before + "\n".join(parts) + after


def _head(found: Gathered) -> str:
    entries = found.entries
    seeds = len({entry.seed for entry in entries})
    versions = sorted({f"stkit {entry.versions.get('stkit')}" for entry in entries})
    parts = [
        f"<h1>What is left of the protection: {escape(_datasets(found))}</h1>",
        f'<p class="soft">{_many(len(entries), "training")}, {_many(seeds, "seed")}; '
        f"{escape(', '.join(versions))}. Tables show means over seeds ± standard deviation; "
        "in brackets the difference to natural training (nt) on the same images. An accuracy is "
        "that of the last weights, where it is not called another.</p>",
    ]
    mixed = found.versions()
    if mixed:
        parts.append(f'<p class="note">Made by different versions: {escape(mixed)}</p>')
    for file, why in found.skipped.items():
        said = escape(f"{Path(file).name}: {why}")
        parts.append(f'<p class="note">Skipped {said}</p>')
    return "\n".join(parts)


def _datasets(found: Gathered) -> str:
    return ", ".join(dict.fromkeys(entry.dataset for entry in found.entries))


def _many(count: int, word: str) -> str:
    return f"{count} {word}{'' if count == 1 else 's'}"


def table(heads: list[str], rows: Iterable[list[Any]], caption: str = "", style: str = "") -> str:
    """A sortable table; style: more classes of its box.

    A cell is text, a number, a pair (text, number to sort by), or None.
    """
    cells = list(rows)
    numbers = [not any(isinstance(row[i], str) for row in cells) for i in range(len(heads))]
    found = "".join(
        f'<th scope="col"{" class=number" if number else ""}><button>{escape(head)}</button></th>'
        for head, number in zip(heads, numbers, strict=True)
    )
    lines = [f"<tr>{''.join(map(_cell, row))}</tr>" for row in cells]
    name = f"<caption>{escape(caption)}</caption>" if caption else ""
    body = "\n".join(lines)
    return (
        f'<div class="{f"wide {style}".strip()}">'
        f'<table class="sortable">{name}<thead><tr>{found}</tr></thead>'
        f"<tbody>\n{body}\n</tbody></table></div>"
    )


def _cell(cell: Any) -> str:
    if cell is None:
        return '<td class="number"></td>'
    if isinstance(cell, tuple):
        return f'<td class="number" data-v="{cell[1]!r}">{cell[0]}</td>'
    if isinstance(cell, (int, float)):
        return f'<td class="number" data-v="{cell!r}">{cell:.4g}</td>'
    return f"<td>{escape(str(cell))}</td>"


def _group(group: Group | None, with_anchors: bool) -> tuple[str, float] | None:
    """A cell of a table of the paper as HTML; published values below it, with their source."""
    if group is None:
        return None
    text = escape(group.text())
    if with_anchors and group.published:
        values = "<br>".join(
            f'<span title="{escape(f"{a.source}: {a.setting}")}">{escape(key)} '
            f"{a.accuracy * 100:.2f}</span>"
            for key, a in group.published.items()
        )
        text += f"<br><small>{values}</small>"
    return text, group.mean


def _summary(made: list[Group], with_anchors: bool) -> str:
    """Poisons across where there is one model, else the paper's first layout; and by rates."""
    models = {group.first.model for group in made}
    rates = {group.first.rate for group in made if group.first.rate}
    layouts = ["1" if len(models) > 1 else "poisons", *(["7"] if len(rates) > 1 else [])]
    return "".join(
        table(
            found.heads,
            [[_group(c, with_anchors) if i >= found.labels else c for i, c in enumerate(row)]
             for row in found.rows],
            found.title,
        )
        for layout in layouts for found in tables.arrange(made, layout) if found.rows
    )  # fmt: skip


def _trainings(entries: list[Entry]) -> str:
    rows = []
    for entry in entries:
        row = entry.row
        memory = row.get("peak_memory")
        rows.append([
            entry.dataset, entry.poison, entry.rate, entry.frame, entry.model, entry.seed,
            row["epochs"], entry.split if "accuracy" in row else "",
            _percent(row.get("accuracy")), _percent(row.get("best_accuracy")),
            row.get("acm"), ", ".join(f"{s['tau']}@{s['epoch']}" for s in row.get("stages") or []),
            row.get("seconds"), row.get("images_per_second"),
            None if memory is None else memory / 2**30,
        ])  # fmt: skip
    return table(list(COLUMNS.values()), rows, style="tall")


def _percent(value: float | None) -> tuple[str, float] | None:
    return None if value is None else (f"{value * 100:.2f}", value)


def _curves(entries: list[Entry]) -> str:
    """For each set of images and model, accuracy by epoch, and ACM by step where it was judged.

    Where lines are more than colours, those of the paper's frames are coloured at first.
    """
    made = tables.groups(entries, None)
    grounds: dict[tuple, list[Group]] = {}
    for group in made:
        grounds.setdefault(group.first.ground, []).append(group)
    names = sorted(dict.fromkeys(group.frame for group in made), key=lambda name: name not in PAPER)
    everywhere = {name: number for number, name in enumerate(names)}
    parts = []
    for here in grounds.values():
        first = here[0].first
        many = len(here) > charts.COLOURS
        on = {group.frame for group in here if many and group.frame in PAPER}
        title = f"{first.data[0]}, {first.called}, {first.model}"
        if not many and len(names) > charts.COLOURS:  # colours of this block's own, none twice
            numbers = {group.frame: number for number, group in enumerate(here)}
        else:
            numbers = everywhere

        each = [
            (numbers[group.frame], group.frame, entry) for group in here for entry in group.entries
        ]
        drawn = [
            charts.chart(
                [charts.Line(n, name, charts.accuracy(entry), [], name in on)
                 for n, name, entry in each],
                title=f"{title}: accuracy by epoch", x="epoch",
                y=f"Accuracy on clean {first.split} images, %", log=False,
            ),
            charts.chart(
                [charts.Line(n, name, *charts.acm(entry), name in on) for n, name, entry in each],
                title=f"{title}: ACM by step", x="step",
                y="ACM as it was judged; dots: rolled back", log=True,
            ),
        ]  # fmt: skip
        if not any(drawn):
            continue
        keys = "".join(_key(group.frame, numbers[group.frame], group.frame in on) for group in here)
        figures = "".join(f"<figure>{svg}</figure>" for svg in drawn if svg)
        parts.append(
            f'<div class="curves{" many" if many else ""}"><h3>{escape(title)}</h3>'
            f'<p class="keys">{keys}</p><div class="charts">{figures}</div></div>'
        )
    return f'<p class="soft">{HOW}</p>{"".join(parts)}' if parts else ""


def _key(name: str, number: int, on: bool) -> str:
    return (
        f'<button class="{charts.styled("key", number, on)}" data-line="{number}" '
        f'aria-pressed="{str(on).lower()}"><i></i>{escape(name)}</button>'
    )


def _images(entries: list[Entry], index: dict[str, Path]) -> str:
    """Strips of the poisons whose files are at hand: clean, as published, the difference."""
    parts, seen = [], set()
    for entry in entries:
        if entry.images in seen or entry.images == entry.parent:
            continue
        seen.add(entry.images)
        if entry.images in index and entry.parent in index:
            parts.append(_strips(entry.called, index[entry.parent], index[entry.images]))
    return f'<div class="charts">{"".join(parts)}</div>' if any(parts) else ""


def _strips(name: str, clean: Path, poisoned: Path) -> str:
    try:
        rows = pictures.rows_of_classes(poisoned)
        before, after = pictures.strip(clean, rows), pictures.strip(poisoned, rows)
        delta, factor = pictures.difference(before, after)
    except (StkitError, OSError, KeyError, ValueError, EOFError):
        return ""  # a file that went away, or no images: the report does without
    shown = "".join(
        f'<img src="{picture.uri()}" alt="{escape(f"{name}, {what}")}">'
        for picture, what in ((before, "clean"), (after, "as published"), (delta, "difference"))
    )
    return (
        f'<figure class="strips">{shown}<figcaption>{escape(name)}: clean, as published, and the '
        f"difference, times {factor:.3g}</figcaption></figure>"
    )


def _published(made: list[Group]) -> str:
    """All that the literature has for these data sets, models and poisons, other frames too."""
    wanted = {
        (g.first.dataset, poison, g.first.model) for g in made for poison in (g.first.published[0],)
    }
    rows = [
        [a.dataset, a.poison, a.rate, a.frame, a.model, _percent(a.accuracy), a.source, a.setting]
        for a in literature.published()
        if (a.dataset, a.poison, a.model) in wanted
    ]
    heads = ["data set", "poison", "rate", "frame", "model", "accuracy, %", "source", "setting"]
    return table(heads, rows) if rows else ""
