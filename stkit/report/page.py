"""A report as one HTML page that asks for nothing: no script, style, font or image from elsewhere.

The frame of the page (style, the sorting script, a policy that forbids requests) is `page.html`.
All text from files goes through `core.text.html`.
"""

from collections.abc import Iterable, Sequence
from importlib.resources import files
from pathlib import Path

from stkit.core.errors import StkitError
from stkit.core.text import html
from stkit.recipes.frames import NATURAL
from stkit.report import curves, literature, pictures, samples, tables
from stkit.report.gather import Gathered
from stkit.report.groups import Group
from stkit.report.result import COLUMNS, Result, Shown, percent


def page(
    gathered: Gathered, made: list[Group], paths: Iterable[Path], *, absent: str,
    with_anchors: bool,
) -> str:  # fmt: skip
    """The whole page.

    paths: the files and folders asked for; data sets are looked for there. absent: what to say
    where no accuracies were taken.
    """
    summary = _summary(made, with_anchors) or f"<p>{html(absent)}</p>"
    sections = [
        ("accuracies", "Accuracies", summary),
        ("curves", "Curves", curves.curves(gathered.results)),
        ("images", "Images", _images(gathered.results, pictures.index(paths))),
        ("trainings", "All trainings", _trainings(gathered.results)),
        ("published", "Published numbers", _literature(made) if with_anchors else ""),
    ]
    shown = [(key, title, body) for key, title, body in sections if body]
    links = " ".join(f'<a href="#{key}">{title}</a>' for key, title, _ in shown)
    body = [_head(gathered), f"<nav>{links}</nav>"]
    body += [f'<section id="{key}"><h2>{title}</h2>{body}</section>' for key, title, body in shown]
    frame = files("stkit.report").joinpath("page.html").read_text(encoding="utf-8")
    before, after = frame.split("{{body}}")
    before = before.replace("{{title}}", html(f"stkit: {_datasets(gathered)}"))
    return before + "\n".join(body) + after


def _head(gathered: Gathered) -> str:
    results = gathered.results
    seeds = len({result.seed for result in results})
    versions = sorted({f"stkit {result.versions.get('stkit')}" for result in results})
    lines = [
        f"<h1>What is left of the protection: {html(_datasets(gathered))}</h1>",
        f'<p class="soft">{_many(len(results), "training")}, {_many(seeds, "seed")}; '
        f"{html(', '.join(versions))}. Tables show means over seeds ± standard deviation; "
        f"in brackets the difference to natural training ({NATURAL}) on the same images. "
        "An accuracy is that of the last weights, where it is not called another.</p>",
    ]
    mixed = gathered.versions()
    if mixed:
        lines.append(f'<p class="note">Made by different versions: {html(mixed)}</p>')
    for file, why in gathered.skipped.items():
        said = html(f"{Path(file).name}: {why}")
        lines.append(f'<p class="note">Skipped {said}</p>')
    return "\n".join(lines)


def _datasets(gathered: Gathered) -> str:
    return ", ".join(dict.fromkeys(result.dataset for result in gathered.results))


def _many(count: int, word: str) -> str:
    return f"{count} {word}{'' if count == 1 else 's'}"


def table(
    heads: Sequence[str], rows: Iterable[Sequence[Shown]], caption: str = "", style: str = ""
) -> str:
    """A sortable table; style: more classes of its box.

    A value is text, a number, a pair (text, number to sort by), or None.
    """
    values = list(rows)
    numbers = [not any(isinstance(row[i], str) for row in values) for i in range(len(heads))]
    head = "".join(
        f'<th scope="col"{" class=number" if number else ""}><button>{html(name)}</button></th>'
        for name, number in zip(heads, numbers, strict=True)
    )
    lines = [f"<tr>{''.join(map(_td, row))}</tr>" for row in values]
    above = f"<caption>{html(caption)}</caption>" if caption else ""
    body = "\n".join(lines)
    return (
        f'<div class="{f"wide {style}".strip()}">'
        f'<table class="sortable">{above}<thead><tr>{head}</tr></thead>'
        f"<tbody>\n{body}\n</tbody></table></div>"
    )


def _td(value: Shown) -> str:
    if value is None:
        return '<td class="number"></td>'
    if isinstance(value, tuple):
        return f'<td class="number" data-v="{value[1]!r}">{value[0]}</td>'
    if isinstance(value, (int, float)):
        return f'<td class="number" data-v="{value!r}">{value:.4g}</td>'
    return f"<td>{html(str(value))}</td>"


def _group(group: Group | None, with_anchors: bool) -> tuple[str, float] | None:
    """What stands in a table of the paper, as HTML; published values below, with their source."""
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
    return text, group.mean


def _summary(made: list[Group], with_anchors: bool) -> str:
    return "".join(
        table(
            each.heads,
            [[*labels, *(_group(group, with_anchors) for group in groups)]
             for labels, groups in each.rows],
            each.title,
        )
        for each in tables.overview(made)
    )  # fmt: skip


def _trainings(results: list[Result]) -> str:
    columns = [
        column
        for column in COLUMNS
        if column.heading and not (column.rare and all(column.read(r) is None for r in results))
    ]
    rows = [[column.shown(result) for column in columns] for result in results]
    return table([column.heading for column in columns], rows, style="tall")


def _images(results: list[Result], index: dict[str, Path]) -> str:
    """Strips of the poisons whose files are at hand: clean, as published, the difference."""
    shown, seen = [], set()
    for result in results:
        images = result.images
        if images.digest in seen or images.digest == images.clean:
            continue
        seen.add(images.digest)
        if images.digest in index and images.clean in index:
            shown.append(_strips(result.called, index[images.clean], index[images.digest]))
    return f'<div class="charts">{"".join(shown)}</div>' if any(shown) else ""


def _strips(name: str, clean: Path, poisoned: Path) -> str:
    try:
        images = samples.read([clean, poisoned])
    except (StkitError, OSError, KeyError, ValueError, EOFError):
        return ""  # a file that went away, or no images: the report does without
    if images.clean is None or len(images.poisons) != 1:
        return ""  # headers that say otherwise than the results beside them
    before, after = images.clean.images, images.poisons[0].images
    delta = pictures.difference(before, after)
    rows = (
        (pictures.strip(images.size, before), "clean"),
        (pictures.strip(images.size, after), "as published"),
        (pictures.spots(images.size, delta), "difference"),
    )
    strips = "".join(
        f'<img src="{picture.uri()}" alt="{html(f"{name}, {what}")}">' for picture, what in rows
    )
    enlarged = "; a square for each pixel that changed" if any(delta.pixels) else ""
    return (
        f'<figure class="strips">{strips}<figcaption>{html(name)}: clean, as published, and the '
        f"difference, times {delta.factor:g}{enlarged}</figcaption></figure>"
    )


def _literature(made: list[Group]) -> str:
    """All that the literature has for these data sets, models and poisons, other frames too."""
    wanted = {(g.first.dataset, g.first.known_as[0], g.first.model) for g in made}
    rows = [
        [a.dataset, a.poison, a.rate, a.frame, a.model, percent(a.accuracy), a.source, a.setting]
        for a in literature.anchors()
        if (a.dataset, a.poison, a.model) in wanted
    ]
    heads = ["data set", "poison", "rate", "frame", "model", "accuracy, %", "source", "setting"]
    return table(heads, rows) if rows else ""
