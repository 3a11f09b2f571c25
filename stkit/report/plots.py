"""Pictures for papers and talks: accuracy by epoch, ACM by step, images. Needs matplotlib.

matplotlib is an extra (`pip install 'stkit[plot]'`) and is imported only when a picture is drawn.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from stkit.core import atomic, header
from stkit.core.errors import ArtifactError, DataError
from stkit.report import charts, pictures, tables
from stkit.report.gather import Entry

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def lines(kind: str, entries: Iterable[Entry], out: Path) -> None:
    """Draw accuracy by epoch or, kind "acm", ACM by step into `out`, whose ending says how.

    A line a training; those that differ in seeds alone share a colour. Endings: .png, .svg, .pdf.
    ArtifactError when there is nothing to draw, without matplotlib, when `out` cannot be written.
    """
    figure = _figure()
    axes = figure.subplots()
    made = tables.groups(entries, None)
    grounds = {group.first.ground for group in made}
    for number, group in enumerate(made):
        label = group.frame if len(grounds) == 1 else _called(group)
        for entry in group.entries:
            points, marks = charts.acm(entry) if kind == "acm" else (charts.accuracy(entry), [])
            if not points:
                continue
            axes.plot(*zip(*points, strict=True), color=f"C{number}", label=label)
            if marks:
                axes.plot(*zip(*marks, strict=True), "o", color=f"C{number}", markersize=4)
            label = "_"  # once in the legend
    if not axes.lines:
        raise ArtifactError(f"found no {kind} in these files; pass checkpoints or results of cells")
    if kind == "acm":
        axes.set(xlabel="step", ylabel="ACM (dots: rolled back)", yscale="log")
    else:
        tested = " or ".join(sorted({group.first.split for group in made}))
        axes.set(xlabel="epoch", ylabel=f"accuracy on clean {tested} images, %", ylim=(0, 100))
    axes.legend(frameon=False)
    _save(figure, out)


def images(paths: Sequence[Path], out: Path) -> None:
    """Draw data set files, a row each: the images that are the first of their class in the first.

    Of two files also the difference. Errors as for `lines`; DataError for sets of different sizes.
    """
    figure = _figure()
    for path in paths:
        header.read(path, "dataset")
    rows = pictures.rows_of_classes(paths[0])
    try:
        strips = [(path.name, pictures.strip(path, rows)) for path in paths]
        if len(strips) == 2:
            delta, factor = pictures.difference(strips[0][1], strips[1][1])
            strips.append((f"difference, times {factor:.3g}", delta))
    except ValueError:
        raise DataError(
            "found data sets of different sizes, expected one and what was made of it"
        ) from None
    widest = max(strip.width / strip.height for _, strip in strips)
    figure.set_size_inches(8, 0.4 + len(strips) * (8 / widest + 0.3))
    places = figure.subplots(len(strips), squeeze=False)[:, 0]
    for axes, (name, strip) in zip(places, strips, strict=True):
        pixels = np.frombuffer(strip.pixels, np.uint8).reshape(strip.height, strip.width, 3)
        axes.imshow(pixels, interpolation="nearest")
        axes.set_title(name, fontsize=9, loc="left")
        axes.set_axis_off()
    _save(figure, out)


def _figure() -> "Figure":
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise ArtifactError(
            "found no matplotlib, which draws the pictures; run: pip install matplotlib"
        ) from None
    return Figure(layout="constrained", dpi=150)


def _save(figure: "Figure", out: Path) -> None:
    with atomic.whole_file(out) as file:
        figure.savefig(file, format=out.suffix[1:])


def _called(group: tables.Group) -> str:
    entry = group.first
    return f"{entry.called} {group.frame} {entry.model}"
