"""Accuracy by epoch (Figures 1, 5, 6)."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from stkit.report.plots.asked import Asked, Rows

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ABOUT = "accuracy by epoch"
FILES = "checkpoints, or results of stkit bench"
TAKES = ()


def draw(
    figure: "Figure", paths: Sequence[Path], asked: Asked, *, on_note: Callable[[str], None]
) -> Rows:
    """Draw a line a training; those that differ in seeds alone share a look."""
    from stkit.core.errors import ArtifactError
    from stkit.report import charts
    from stkit.report.plots import style
    from stkit.report.plots.runs import runs

    axes, rows, ends = figure.subplots(), [], {}
    for run in runs(paths, on_note=on_note):
        points, look = charts.accuracy(run.result), style.look(run.number)
        if points:
            axes.plot(*zip(*points, strict=True), color=look.colour, linestyle=look.line)
            ends[run.name] = style.End(run.name, *points[-1], look)
        rows += [run.row() | {"epoch": int(x), "accuracy": y / 100} for x, y in points]
    if not rows:
        raise ArtifactError("found no accuracy in these files; train with --test SOURCE")
    axes.set(ylabel="accuracy on clean test images, %", ylim=(0, 100))
    style.by_epoch(axes)
    style.label_ends(axes, list(ends.values()))
    return rows
