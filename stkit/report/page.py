"""A report as one HTML page that asks for nothing: no script, style, font or image from elsewhere.

The frame of the page (style, the sorting script, a policy that forbids requests) is `page.html`.
All text from files goes through `core.text.html`.
"""

from collections.abc import Iterable
from importlib.resources import files
from pathlib import Path

from stkit.core.errors import StkitError
from stkit.core.text import html
from stkit.recipes.frames import NATURAL
from stkit.report import (
    curves,
    glossary,
    literature,
    missing,
    page_tables,
    pictures,
    samples,
    sentences,
    unanchored,
)
from stkit.report.gather import Gathered
from stkit.report.groups import Group, grouped
from stkit.report.result import Result, percent


def page(
    gathered: Gathered, made: list[Group], paths: Iterable[Path], *, absent: str,
    with_anchors: bool,
) -> str:  # fmt: skip
    """The whole page.

    paths: the files and folders asked for; data sets are looked for there. absent: what to say
    where no accuracies were taken.
    """
    summary = page_tables.summary(made, with_anchors=with_anchors) or f"<p>{html(absent)}</p>"
    sections = [
        ("said", "In short", _said(made)),
        ("accuracies", "Accuracies", summary),
        ("curves", "Curves", curves.curves(gathered.results)),
        ("images", "Images", _images(gathered.results, pictures.index(paths))),
        ("trainings", "All trainings", page_tables.trainings(gathered.results)),
        ("published", "Published numbers", _literature(made) if with_anchors else ""),
        ("words", "Words", _words(gathered.results)),
    ]
    shown = [(key, title, body) for key, title, body in sections if body]
    links = " ".join(f'<a href="#{key}">{title}</a>' for key, title, _ in shown)
    body = [_head(gathered), f'<nav aria-label="Sections">{links}</nav>', "<main>"]
    body += [f'<section id="{key}"><h2>{title}</h2>{body}</section>' for key, title, body in shown]
    body.append("</main>")
    frame = files("stkit.report").joinpath("page.html").read_text(encoding="utf-8")
    before, after = frame.split("{{body}}")
    head, style = before.split("{{style}}")
    head = head.replace("{{title}}", html(f"stkit: {_datasets(gathered)}"))
    return head + curves.style(gathered.results) + style + "\n".join(body) + after


def _head(gathered: Gathered) -> str:
    results = gathered.results
    seeds = len({result.seed for result in results})
    versions = sorted({f"stkit {result.versions.get('stkit')}" for result in results})
    lines = [
        f"<h1>What is left of the protection: {html(_datasets(gathered))}</h1>",
        f'<p class="soft">{_many(len(results), "training")}, {_many(seeds, "seed")}; '
        f"{html(', '.join(versions))}. Tables show means over seeds ± standard deviation; "
        f"in brackets the difference to natural training ({NATURAL}) on the same images. "
        "An accuracy is that of the last weights, where it is not called another. "
        '<a href="#words">What the words mean.</a></p>',
    ]
    mixed = gathered.versions()
    if mixed:
        lines.append(f'<p class="note">Made by different versions: {html(mixed)}</p>')
    for file, why in gathered.skipped.items():
        said = html(f"{Path(file).name}: {why}")
        lines.append(f'<p class="note">Skipped {said}</p>')
    lines += [f'<p class="note">{html(line)}</p>' for line in missing.missing(gathered)]
    return "\n".join(lines)


def _said(made: list[Group]) -> str:
    """What the numbers say, in words."""
    lines = "".join(
        f"<li>{html(line).replace(' %', '&nbsp;%')}</li>" for line in sentences.sentences(made)
    )
    return f'<ul class="said">{lines}</ul>' if lines else ""


def _datasets(gathered: Gathered) -> str:
    return ", ".join(dict.fromkeys(result.dataset for result in gathered.results))


def _many(count: int, word: str) -> str:
    return f"{count} {word}{'' if count == 1 else 's'}"


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
    return "".join(shown)


def _strips(name: str, clean: Path, poisoned: Path) -> str:
    try:
        images = samples.read([clean, poisoned])
    except (StkitError, OSError, KeyError, ValueError, EOFError):
        return ""  # a file that went away, or no images: the report does without
    if images.clean is None or len(images.poisons) != 1:
        return ""  # headers that say otherwise than the results beside them
    before, after = images.clean.images, images.poisons[0].images
    delta = pictures.difference(before, after)
    rings = pictures.rings(images.size, delta)
    rows = (
        (pictures.strip(images.size, before), "clean", "clean", ()),
        (pictures.strip(images.size, after), "as published", "as published", rings),
        (
            pictures.spots(images.size, delta),
            "difference",
            f"difference \N{MULTIPLICATION SIGN} {delta.factor:g}",
            rings,
        ),
    )
    strips = "".join(
        f'<div class="row"><span>{shown}</span><div class="strip">'
        f'<img src="{picture.uri()}" alt="{html(f"{name}, {what}")}">'
        f"{_rings(picture, around)}</div></div>"
        for picture, what, shown, around in rows
    )
    ringed = "; a ring is around each pixel that changed" if rings else ""
    classes = ", ".join(images.classes)
    return (
        f'<figure class="strips"><h3>{html(name)}</h3>{strips}<figcaption>From left to right: '
        f"{html(classes)}{ringed}.</figcaption></figure>"
    )


def _rings(picture: pictures.Strip, rings: Iterable[pictures.Ring]) -> str:
    """Rings over a strip: black in white, they stand out of any image."""
    circles = "".join(
        f'<circle class="{edge}" cx="{ring.x:g}" cy="{ring.y:g}" r="{ring.radius:g}"/>'
        for ring in rings
        for edge in ("outer", "inner")
    )
    box = f"0 0 {picture.width} {picture.height}"
    return f'<svg viewBox="{box}" aria-hidden="true">{circles}</svg>' if circles else ""


def _words(results: list[Result]) -> str:
    """What words and frames are."""
    made = grouped(results, None)
    lists = "".join(
        f"<dl>{''.join(f'<dt>{html(name)}</dt><dd>{html(what)}</dd>' for name, what in each)}</dl>"
        for each in (glossary.words(made).items(), glossary.frames(made).items())
    )
    return f'<div class="lists">{lists}</div>'


def _literature(made: list[Group]) -> str:
    """All that the literature has for these data sets, models and poisons, other frames too."""
    wanted = {(g.first.dataset, g.first.known_as[0], g.first.model) for g in made}
    rows = [
        [a.dataset, a.poison, a.rate, a.frame, a.model, percent(a.accuracy), a.source, a.setting]
        for a in literature.anchors()
        if (a.dataset, a.poison, a.model) in wanted
    ]
    heads = ["data set", "poison", "rate", "frame", "model", "accuracy, %", "source", "setting"]
    why = f"<p>{html(absent)}</p>" if (absent := unanchored.absent(made)) else ""
    return why + (page_tables.table(heads, rows, style="tall prose") if rows else "")
